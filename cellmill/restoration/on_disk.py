"""Deconvolution block by block with both objects in files, gone on with after a kill.

What memory holds are the blocks at work. After each iteration the object is on the disk before the
file that counts iterations says so; a process that starts again in the same folder with the same
work goes on from there, with the same bits.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np

from cellmill.arrays.files import write_text
from cellmill.compute.threads import in_threads
from cellmill.restoration.blocks import BlockedRichardsonLucy, Slices
from cellmill.restoration.deconvolution import Deconvolution, Iteration

_STATE = "iterations.json"


def deconvolve_on_disk(
    work: BlockedRichardsonLucy,
    folder: Path,
    iterations: int,
    *,
    key: str = "",
    threads: int | None = None,
    progress: Callable[[int, Iteration], None] | None = None,
) -> Deconvolution:
    """Compute all iterations, the objects in two files of a folder.

    Args:
        work: what is computed.
        folder: of the files, on a local disk; it is made. They are left for whoever calls to
            remove: the image is read from them.
        iterations: how many.
        key: what the work is known by; what lies in the folder is gone on with where it has the
            same. Empty: it is begun anew.
        threads: blocks at once; None is `thread_count()`.
        progress: called after each iteration with its number, from 1.

    Returns:
        The object on the acquired window, a view of a file, and the curve.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [folder / "even.npy", folder / "odd.npy"]
    curve = _done(folder, key)
    measured, first = work.first()
    work = replace(work, level=first)
    if curve is not None:
        objects = [np.load(name, mmap_mode="r+") for name in names]
    else:
        curve = []
        objects = [np.lib.format.open_memmap(name, "w+", np.float32, work.shape) for name in names]
        objects[0][...] = first
    for number in range(len(curve) + 1, iterations + 1):
        last, following = objects[(number - 1) % 2], objects[number % 2]

        def one(
            place: Slices, last: np.ndarray = last, out: np.ndarray = following
        ) -> tuple[float, float, float]:
            found = work.block(last, place)
            out[place] = found.image
            return found.divergence, found.change, found.total

        sums = in_threads(one, work.blocks, threads)
        divergence, change, total = (sum(each) for each in zip(*sums, strict=True))
        curve.append(Iteration(divergence / measured, change / max(total, 1e-30)))
        following.flush()
        state = {"key": key, "curve": [astuple(each) for each in curve]}
        write_text(folder / _STATE, json.dumps(state) + "\n")
        if progress is not None:
            progress(number, curve[-1])
    return Deconvolution(objects[iterations % 2][work.acquired_part], tuple(curve))


def _done(folder: Path, key: str) -> list[Iteration] | None:
    """The iterations that are done of this work; None where none is."""
    try:
        state = json.loads((folder / _STATE).read_text())
        return (
            [Iteration(*each) for each in state["curve"]] if key and state["key"] == key else None
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
