"""What every stage of a volume holds in memory, of a stack and of one with twice the planes.

`python -m bench.volume_stages [--planes 24] [--side 1024] [--memory-mib 256] [--container zarr]`
`python -m bench.volume_stages --orientations 3 --side 512`

Synthetic nuclei of known truth, repeated, so that every plane has as many. Each stage of
`make run Z=all` with the network of planes that ships runs in a process of its own; its memory is
the most that this held, interpreter and libraries included. What grows from one depth to the other
is divided by the voxels that came to it. With three orientations the network is one convolution,
whose flows go up the slope of the light (`bench.slopes`), and stages end with labels.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from bench.slide import aside, run
from bench.slopes import write_slopes
from cellmill.compute.threads import thread_count
from cellmill.datasets.phantoms import spheres
from cellmill.segmentation.orientations import ORIENTATIONS
from launch import ROOT

#: Voxels of the stack that is repeated, and their size in µm.
_BLOCK = (24, 256, 256)
_VOXEL = (1.0, 0.5, 0.5)
_NAMES = (
    *("images", "truth", "model", "preprocessed", "predictions", "labels", "label_images"),
    *("measurements", "exports", "scores", "metrics", "reports", "html"),
)


def write_stack(folder: Path, shape: tuple[int, int, int]) -> None:
    """Write a stack of nuclei, uint16, and its truth, uint32, plane by plane."""
    light, labels = spheres(_BLOCK, _VOXEL, count=60, radius_um=(4, 7), gap_um=0.5, seed=3)
    random = np.random.default_rng(0)
    sides = [-(-side // part) for side, part in zip(shape[1:], _BLOCK[1:], strict=True)]
    count = int(labels.max())
    tiles = np.arange(sides[0] * sides[1], dtype=np.uint32).reshape(sides) * count
    offsets = tiles.repeat(_BLOCK[1], 0).repeat(_BLOCK[2], 1)[: shape[1], : shape[2]]

    def planes(truth: bool) -> Iterator[np.ndarray]:
        for z in range(shape[0]):
            turn, place = divmod(z, _BLOCK[0])
            if truth:
                plane = np.tile(labels[place].astype(np.uint32), sides)[: shape[1], : shape[2]]
                more = offsets + np.uint32(turn * tiles.size * count)
                yield np.where(plane > 0, plane + more, 0).astype(np.uint32)
            else:
                plane = np.tile(light[place], sides)[: shape[1], : shape[2]]
                yield random.poisson(40 + 900 * plane).astype(np.uint16)

    sizes = {f"PhysicalSize{axis}": size for axis, size in zip("ZYX", _VOXEL, strict=True)}
    about: dict[str, Any] = {"shape": shape, "metadata": {"axes": "ZYX", **sizes}, "ome": True}
    for name, dtype, truth in (("stack", np.uint16, False), ("truth", np.uint32, True)):
        tifffile.imwrite(folder / f"{name}.ome.tif", planes(truth), dtype=dtype, **about)


def stages(
    shape: tuple[int, int, int],
    folder: Path,
    memory_mib: int,
    container: str,
    exports: str,
    orientations: int = 1,
) -> Iterator[tuple[str, float, int]]:
    """Run all stages of a stack: name, seconds and peak bytes of each."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    aside(write_stack, folder, shape)
    memory = {"memory_mib": memory_mib}
    at = {name: folder / name for name in _NAMES}
    items = [{"image": f"{folder}/stack.ome.tif", "truth": f"{folder}/truth.ome.tif"}]
    if orientations > 1:
        aside(write_slopes, at["model"])
    else:
        run("fetch_model", folder, model=at["model"])
    reading = {"items": json.dumps(items), "z": "all", "container": container}
    turned = {"compartment": "", "orientations": orientations}
    listed: list[tuple[str, str, dict[str, Any]]] = [
        ("tiff_to_npz", "images truth", reading | memory),
        ("preprocess", "images model preprocessed", memory),
        ("predict", "preprocessed model predictions", memory | turned),
        ("postprocess", "predictions labels", memory),
        ("export_labels", "labels label_images", memory),
        ("measure", "images labels measurements", memory),
        ("export_results", "images labels measurements exports", memory | {"formats": exports}),
        ("metrics", "labels truth scores metrics", memory),
        ("report", "images labels measurements scores truth reports html", {}),
    ]
    for stage, names, flags in listed[: 4 if orientations > 1 else None]:
        yield stage, *run(stage, folder, **{name: at[name] for name in names.split()}, **flags)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print the table, write `volume_stages.json`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--planes", type=int, default=24)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--memory-mib", type=int, default=256)
    parser.add_argument("--container", choices=("npz", "zarr"), default="npz")
    parser.add_argument("--exports", default="anndata,spatialdata")
    parser.add_argument("--orientations", type=int, choices=ORIENTATIONS, default=1)
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "bench")
    parser.add_argument("--keep", action="store_true", help="keep the deeper stack's folder")
    given = parser.parse_args(arguments)
    folder = given.output / "volume_stages"
    found: dict[str, list[tuple[float, int]]] = {}
    for planes in (given.planes, 2 * given.planes):
        shape = (planes, given.side, given.side)
        settings = (given.memory_mib, given.container, given.exports, given.orientations)
        for stage, seconds, peak in stages(shape, folder, *settings):
            found.setdefault(stage, []).append((seconds, peak))
            print(f"  {stage}, {planes} planes: {seconds:.1f} s", file=sys.stderr, flush=True)
    voxels = given.planes * given.side**2
    rows = []
    for stage, ((short, less), (long, more)) in found.items():
        rows.append(
            {
                "stage": stage,
                "seconds": [short, long],
                "peak_mib": [less / 2**20, more / 2**20],
                "bytes_per_voxel": (more - less) / voxels,
            }
        )
        print(
            f"{stage:14} {short:6.1f} s {long:6.1f} s {less / 2**20:6.0f} MiB "
            f"{more / 2**20:6.0f} MiB {(more - less) / voxels:6.2f} B/voxel"
        )
    shown = ("planes", "side", "memory_mib", "container", "exports", "orientations")
    about = {"threads": thread_count(), **{name: getattr(given, name) for name in shown}}
    path = given.output / "volume_stages.json"
    path.write_text(json.dumps({"settings": about, "rows": rows}, indent=1) + "\n")
    if not given.keep:
        shutil.rmtree(folder)
    print(f"written to {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
