"""Hands damaged and hostile files to every reader: one line, or pixels; nothing else.

`python -m tests.fuzz [--cases 10000] [--seed 0] [--target NAME …]`

Each case is a seed file with some of its bytes, or some values of its JSON, replaced at random,
read in a process of its own within a time and a memory limit. A reader may give an array of
numbers or refuse the file with `CellmillError`; any other exception, a signal, more time or more
memory is a finding. The file of a finding is kept and its path is printed. Undamaged seeds must be
read, so that a reader that refuses everything is a finding too.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import pickle
import random
import resource
import shutil
import signal
import sys
import tarfile
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from cellmill.arrays.batch import Batch
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.errors import CellmillError
from cellmill.io.images import read_image
from cellmill.io.truth import read_truth
from cellmill.models.archive import extract
from cellmill.models.card import ModelCard
from cellmill.models.shipped import default_model
from cellmill.segmentation.methods import check_card

SECONDS = 30
#: Beyond what the process held when the case began.
MEMORY = 1 << 30
_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 255, 1 << 40, 10**30, 0.5, -1e308, float("nan"), float("inf")),
    *("", "a", "../x", "/etc/passwd", "a" * 5000, "\0", "\u202e=1+1", [], [[]], {}, {"a": 1}),
)


@dataclass(frozen=True)
class Target:
    """A reader, and how its cases are made.

    Attributes:
        seeds: files that it reads rightly, by suffix.
        damage: what is done to one of them.
        read: reads the damaged file from a path; what it returns is looked at by `_is_right`.
    """

    seeds: Callable[[], dict[str, bytes]]
    damage: Callable[[bytes, random.Random], bytes]
    read: Callable[[Path], Any]


def damaged_bytes(data: bytes, rng: random.Random) -> bytes:
    """Change, remove or repeat a few spans; most often near the beginning, where structure is."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        length = max(1, min(len(out), int(rng.expovariate(1 / 4)) + 1))
        near = rng.random() < 0.7
        place = rng.randrange(max(1, min(len(out), 600) if near else len(out)))
        kind = rng.random()
        if kind < 0.6:
            out[place : place + length] = rng.randbytes(length)
        elif kind < 0.75:
            out[place : place + length] = bytes([rng.choice((0, 255, 127))]) * length
        elif kind < 0.85:
            del out[place : place + length]
        elif kind < 0.95:
            out[place:place] = out[place : place + length]
        else:
            del out[place:]
    return bytes(out)


def damaged_json(data: bytes, rng: random.Random) -> bytes:
    """Replace, remove or add a few values anywhere in a document."""
    document = json.loads(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = [*_places(document)]
        holder, key = rng.choice(places)
        kind = rng.random()
        if kind < 0.75:
            holder[key] = rng.choice(_VALUES)
        elif kind < 0.9:
            del holder[key]
        elif isinstance(holder, dict):
            holder[rng.choice(("new", "__class__", "a" * 300))] = rng.choice(_VALUES)
        else:
            holder.append(holder[key])
    return json.dumps(document).encode()


def damaged_document(data: bytes, rng: random.Random) -> bytes:
    """Damage a JSON document's values, or now and then its text."""
    return damaged_json(data, rng) if rng.random() < 0.85 else damaged_bytes(data, rng)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    for key in [*keys]:
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from _places(value[key])


def _tiffs() -> dict[str, bytes]:
    image = np.arange(48 * 40, dtype=np.uint16).reshape(48, 40)
    forms: dict[str, dict[str, Any]] = {
        "plain": {},
        "tiled": {"tile": (16, 16), "compression": "zlib", "predictor": True},
        "lzw": {"compression": "lzw", "rowsperstrip": 5},
        "big": {"bigtiff": True},
        "imagej": {"imagej": True, "resolution": (2, 2), "metadata": {"unit": "um"}},
        "ome": {"ome": True, "metadata": {"axes": "CYX", "PhysicalSizeX": 0.5}},
    }
    found = {}
    for name, options in forms.items():
        file = io.BytesIO()
        pixels = np.stack([image, image + 1]) if name == "ome" else image
        tifffile.imwrite(file, pixels, photometric="minisblack", **options)
        found[f"{name}.tif"] = file.getvalue()
    return found


def _ome_xml() -> dict[str, bytes]:
    return {"xml.ome.tif": _tiffs()["ome.tif"]}


def _damaged_xml(data: bytes, rng: random.Random) -> bytes:
    start, stop = data.index(b"<OME"), data.index(b"</OME>") + 6
    text = damaged_bytes(data[start:stop], rng)[: stop - start]
    return data[:start] + text.ljust(stop - start) + data[stop:]


def _batch(folder: Path) -> None:
    image = np.arange(30 * 20 * 2, dtype=np.uint16).reshape(30, 20, 2)
    with BatchWriter(folder) as out:
        out.write("a", {"image": image}, axes={"image": "YXC"}, channels=["x", "y"], mpp=(0.5, 0.5))


def _from_batch(name: str) -> Callable[[], dict[str, bytes]]:
    def seeds() -> dict[str, bytes]:
        with tempfile.TemporaryDirectory() as folder:
            _batch(Path(folder))
            return {name: (Path(folder) / name).read_bytes()}

    return seeds


def _read_in_batch(path: Path) -> Any:
    folder = path.parent / f"{path.name}.batch"
    _batch(folder)
    shutil.copyfile(path, folder / path.name.split("-", 1)[1])
    batch = Batch.open(folder)
    return [batch.read(entry, key) for entry in batch.entries for key in entry.arrays]


def _zarr() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        _zarr_store(Path(folder) / "a.zarr")
        return {"zarr.json": (Path(folder) / "a.zarr" / "image" / "0" / "zarr.json").read_bytes()}


def _zarr_store(place: Path) -> None:
    from cellmill.arrays.zarr import create_zarr

    made = create_zarr(str(place), {"image": ((30, 20), np.uint16, "YX")})
    made["image"][0:30, 0:20] = np.arange(600, dtype=np.uint16).reshape(30, 20)


def _read_zarr(path: Path) -> Any:
    from cellmill.arrays.zarr import open_zarr

    place = path.parent / f"{path.name}.zarr"
    _zarr_store(place)
    shutil.copyfile(path, place / "image" / "0" / "zarr.json")
    return np.asarray(open_zarr(str(place / "image" / "0"), "YX")[0:30, 0:20])


def _card() -> dict[str, bytes]:
    return {"model.json": (default_model() / "model.json").read_bytes()}


def _read_card(path: Path) -> Any:
    folder = path.parent / f"{path.name}.model"
    folder.mkdir()
    shutil.copyfile(path, folder / "model.json")
    check_card(ModelCard.load(folder))
    return np.zeros(1)


def _labels() -> dict[str, bytes]:
    labels = np.zeros((40, 30), np.int32)
    labels[3:9, 4:12], labels[20:30, 5:25] = 1, 2
    tiff, npy, npz = io.BytesIO(), io.BytesIO(), io.BytesIO()
    tifffile.imwrite(tiff, labels)
    np.save(npy, labels)
    np.savez_compressed(npz, labels=labels)
    import cv2

    png = cv2.imencode(".png", labels.astype(np.uint16))[1].tobytes()
    return {
        "labels.tif": tiff.getvalue(),
        "labels.npy": npy.getvalue(),
        "labels.npz": npz.getvalue(),
        "labels.png": png,
    }


def _read_labels(path: Path) -> Any:
    with path.open("rb") as file:
        truth = read_truth(file, str(path))
    return np.zeros(truth.shape)


def _archives() -> dict[str, bytes]:
    tar, packed = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w:gz") as archive:
        for name in ("model/model.json", "model/saved_model.pb"):
            info = tarfile.TarInfo(name)
            info.size = 100
            archive.addfile(info, io.BytesIO(bytes(100)))
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/model.json", b"{}" * 50)
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model/model.json"), io.BytesIO())
    return {
        "a.tar.gz": tar.getvalue(),
        "a.zip": packed.getvalue(),
        "a.tar": plain.getvalue(),
    }


def _read_archive(path: Path) -> Any:
    folder = path.parent / f"{path.name}.out"
    folder.mkdir()
    extract(path, folder)
    inside = folder.resolve()
    for found in folder.rglob("*"):
        assert found.resolve().is_relative_to(inside), f"{found} leads out"
    return np.zeros(1)


def _read_tiff(path: Path) -> Any:
    return read_image(str(path)).pixels


TARGETS: dict[str, Target] = {
    "tiff": Target(_tiffs, damaged_bytes, _read_tiff),
    "ome_xml": Target(_ome_xml, _damaged_xml, _read_tiff),
    "npz": Target(_from_batch("a.npz"), damaged_bytes, _read_in_batch),
    "manifest": Target(_from_batch("manifest.json"), damaged_document, _read_in_batch),
    "zarr": Target(_zarr, damaged_document, _read_zarr),
    "card": Target(_card, damaged_document, _read_card),
    "labels": Target(_labels, damaged_bytes, _read_labels),
    "archive": Target(_archives, damaged_bytes, _read_archive),
}


def run_case(target: Target, path: Path) -> tuple[str, str]:
    """Read a file in a process of its own.

    Returns:
        `read` or `refused`, and what is wrong: empty, or the traceback, signal or limit.
    """
    outcome: tuple[str, str] = in_child(lambda: _read(target, path))
    return outcome


def in_child(work: Callable[[], Any]) -> Any:
    """Do work in a process of its own: TensorStore's threads would not come along into another.

    Returns:
        What the work gave; `failed` and why, where the process did not end by itself.
    """
    receive, send = os.pipe()
    child = os.fork()
    if not child:
        os.close(receive)
        with os.fdopen(send, "wb") as pipe:
            pickle.dump(work(), pipe)
        os._exit(0)
    os.close(send)
    with os.fdopen(receive, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if said and not status:
        return pickle.loads(said)
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if number == signal.SIGALRM:
        return "failed", f"took more than {SECONDS} s"
    return "failed", f"ended by signal {number}" if number else f"exit code {status >> 8}"


def _read(target: Target, path: Path) -> tuple[str, str]:
    signal.alarm(SECONDS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY,) * 2)
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        try:
            found = target.read(path)
        except CellmillError as error:
            return ("failed", f"two lines: {error}") if "\n" in str(error) else ("refused", "")
        except BaseException:
            return "failed", traceback.format_exc()
    arrays = found if isinstance(found, list) else [found]
    right = all(isinstance(a, np.ndarray) and a.dtype.kind in "biuf" for a in arrays)
    return ("read", "") if right else ("failed", f"no array of numbers: {found!r}"[:300])


def fuzz(name: str, cases: int, seed: int, kept: Path) -> tuple[Counter[str], list[str]]:
    """Run cases of one target; the files of findings go into a folder.

    Returns:
        How many were read, refused and failed; and a line for each finding.
    """
    target = TARGETS[name]
    seeds: dict[str, bytes] = in_child(target.seeds)
    outcomes: Counter[str] = Counter()
    findings: list[str] = []
    for number in range(-len(seeds), cases):
        rng = random.Random(f"{seed}/{name}/{number}")
        whole = number < 0
        original = sorted(seeds)[number] if whole else rng.choice(sorted(seeds))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{number}-{original}"
            data = seeds[original]
            path.write_bytes(data if whole else target.damage(data, rng))
            outcome, wrong = run_case(target, path)
            if whole and outcome == "refused":
                outcome, wrong = "failed", "refused undamaged"
            outcomes[outcome] += 1
            if wrong:
                kept.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, kept / f"{name}-{path.name}")
                findings.append(f"{name}, case {number} ({kept / path.name}):\n{wrong}")
    return outcomes, findings


def main(argv: Sequence[str] | None = None) -> int:
    """Fuzz every target; return 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=main.__doc__)
    parser.add_argument("--cases", type=int, default=10_000, help="in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", action="append", choices=[*TARGETS])
    parser.add_argument("--kept", type=Path, default=Path("outputs/fuzz"))
    given = parser.parse_args(argv)
    names = given.target or [*TARGETS]
    found = 0
    for name in names:
        started = time.perf_counter()
        outcomes, findings = fuzz(name, -(-given.cases // len(names)), given.seed, given.kept)
        seconds = time.perf_counter() - started
        print(f"{name:10s} {dict(sorted(outcomes.items()))} in {seconds:.0f} s", flush=True)
        for finding in findings:
            print(finding)
        found += len(findings)
    print(f"{found} findings")
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
