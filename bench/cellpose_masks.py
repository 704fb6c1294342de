"""Cellpose's masks step against cellpose 3.1.1.3's own: processor time, and memory for each pixel.

`make bench-cellpose [BENCH='--sides 2048 4096 --repeats 3']`

Maps are made of mosaics of real masks: an object's own flows and a logit, both with noise. Each of
the two runs in a process of its own; ours after the reference on the same maps, with the
reference's rule, so that masks can be compared. The fastest run counts. Memory is what a process
takes above its maps.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from bench.maps import mosaic
from cellmill.arrays.files import write_text
from cellmill.compute.memory import peak_rss
from cellmill.compute.threads import thread_count
from cellmill.labels.numbering import canonical_labels
from cellmill.segmentation.cellpose import CellposeParameters, flows_of, segment_flows
from launch import ROOT
from launch.images.environments import environment

_WARMING = 256


def main(argv: Sequence[str] | None = None) -> int:
    """Time both at each size; print a table and write it as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.cellpose_masks", description=main.__doc__
    )
    parser.add_argument("--sides", type=int, nargs="+", default=[2048, 4096], metavar="PIXELS")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "bench")
    parser.add_argument("--ours", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.ours:
        _ours(given.ours, given.repeats)
        return 0
    print(f"{'side':>5} {'objects':>8} {'':>9} {'cpu s':>7} {'wall s':>7} {'B/px':>5}")
    rows = [_row(side, given.repeats) for side in given.sides]
    machine = {"processor": platform.processor(), "threads": thread_count()}
    document = {"machine": machine, "rows": rows}
    write_text(given.output / "cellpose.json", json.dumps(document, indent=1) + "\n")
    return 0


def _row(side: int, repeats: int) -> dict[str, Any]:
    """Time both on one mosaic."""
    with tempfile.TemporaryDirectory(prefix="cellmill-bench-") as name:
        folder = Path(name)
        _write_maps(side, folder)
        reference = str(environment("cellpose3"))
        script = str(ROOT / "bench" / "cellpose_masks_side.py")
        subprocess.run([reference, script, name, str(repeats)], check=True, stderr=sys.stderr)
        ours = [sys.executable, "-m", "bench.cellpose_masks", "--ours", name]
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run([*ours, "--repeats", str(repeats)], check=True, env=environ)
        found = {who: json.loads((folder / f"{who}.json").read_text()) for who in _BOTH}
        masks, labels = np.load(folder / "masks.npy"), np.load(folder / "labels.npy")
    differing = int((canonical_labels(masks) != labels).sum())
    for who, measured in found.items():
        measured["bytes_per_pixel"] = measured.pop("bytes") / side**2
        print(
            f"{side:5} {int(labels.max()):8} {who:>9} {measured['cpu']:7.2f} "
            f"{measured['wall']:7.2f} {measured['bytes_per_pixel']:5.1f}"
        )
    ratio = found["reference"]["cpu"] / found["ours"]["cpu"]
    load = os.getloadavg()[0]
    print(f"{'':14} {ratio:.1f}× the processor time, {differing} px differ, load {load:.1f}")
    return {"side": side, "objects": int(labels.max()), "differing": differing, **found}


_BOTH = ("reference", "ours")


def _write_maps(side: int, folder: Path) -> None:
    """Make flows `(2, Y, X)` and a logit of a mosaic, with noise."""
    rng = np.random.default_rng(side)
    labels = mosaic(side)
    probability = np.where(labels > 0, 4, -4) + rng.normal(0, 2, labels.shape)
    noise = rng.normal(0, 1.5, (*labels.shape, 2))
    flows = ndimage.gaussian_filter(5 * flows_of(labels) + noise, (0.8, 0.8, 0))
    np.save(folder / "flows.npy", np.moveaxis(flows, -1, 0).astype(np.float32))
    np.save(folder / "probability.npy", ndimage.gaussian_filter(probability, 0.7).astype("f4"))


def _ours(folder: Path, repeats: int) -> None:
    """Time ours on maps that lie in a folder, in this process."""
    flows = np.ascontiguousarray(np.moveaxis(np.load(folder / "flows.npy"), 0, -1))
    probability = np.load(folder / "probability.npy")
    parameters = CellposeParameters(rule="reference")
    corner = slice(_WARMING), slice(_WARMING)
    segment_flows(flows[corner].copy(), probability[corner].copy(), parameters)
    before, times = _rss(), []
    for _ in range(repeats):
        begun = time.process_time(), time.perf_counter()
        labels = segment_flows(flows, probability, parameters)
        times.append((time.process_time() - begun[0], time.perf_counter() - begun[1]))
    found = {"cpu": min(times)[0], "wall": min(times)[1], "bytes": peak_rss() - before}
    np.save(folder / "labels.npy", labels)
    write_text(folder / "ours.json", json.dumps(found))


def _rss() -> int:
    """Bytes that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    sys.exit(main())
