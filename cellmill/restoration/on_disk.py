"""Deconvolution block by block with its objects in files, gone on with after a kill.

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
from cellmill.restoration.blocks import BlockedRichardsonLucy
from cellmill.restoration.deconvolution import Deconvolution, Iteration
from cellmill.restoration.in_blocks import iterate
from cellmill.restoration.sums import Sums

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
    """Compute all iterations, the objects in files of a folder.

    Args:
        work: what is computed.
        folder: of the files, on a local disk; it is made. They are left for whoever calls to
            remove: the image is read from them.
        iterations: how many at most.
        key: what the work is known by; what lies in the folder is gone on with where it has the
            same. Empty: it is begun anew.
        threads: blocks at once; None is `thread_count()`.
        progress: called after each iteration with its number, from 1.

    Returns:
        The object on the acquired window, a view of a file, and the curve.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [folder / f"object-{k}.npy" for k in range(work.objects_read + 1)]
    sums = _done(folder, key)
    measured, first = work.first()
    work = replace(work, level=first)
    if sums is not None:
        objects = [np.load(name, mmap_mode="r+") for name in names]
    else:
        sums = []
        objects = [np.lib.format.open_memmap(name, "w+", np.float32, work.shape) for name in names]
        objects[0][...] = first
    for each in iterate(work, objects, iterations, sums, threads=threads):
        sums.append(each)
        objects[len(sums) % len(objects)].flush()
        state = {"key": key, "sums": [astuple(each) for each in sums]}
        write_text(folder / _STATE, json.dumps(state) + "\n")
        if progress is not None:
            progress(len(sums), each.iteration(measured))
    curve = tuple(each.iteration(measured) for each in sums)
    return Deconvolution(objects[len(sums) % len(objects)][work.acquired_part], curve)


def _done(folder: Path, key: str) -> list[Sums] | None:
    """The iterations that are done of this work; None where none is."""
    try:
        state = json.loads((folder / _STATE).read_text())
        return [Sums(*each) for each in state["sums"]] if key and state["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
