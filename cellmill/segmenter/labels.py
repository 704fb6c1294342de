"""Labels of an image or a volume from its heads, in memory or beyond a budget tile by tile."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from cellmill.arrays.windows import Windowed, WritableWindowed
from cellmill.segmentation.interface import IMAGE
from cellmill.segmentation.labelling import (
    Facts,
    Layouts,
    fits_memory,
    label_in_memory,
    label_in_tiles,
    write_in_tiles,
)
from cellmill.segmentation.methods import Recipe
from cellmill.segmenter.work import Work


def label_within(
    heads: Mapping[str, Windowed],
    recipes: Mapping[str, Recipe],
    shape: tuple[int, ...],
    mpp: tuple[float, ...] | None,
    work: Work,
    in_memory: bool,
    stitch: float = 0.0,
) -> tuple[Mapping[str, Windowed], Facts]:
    """Label an image or a volume at its own scale.

    Args:
        heads: by name, `(Y', X', C)` or `(Z, Y', X', C)`, and what the network was shown.
        recipes: how each kind of object is found.
        shape: `(Y, X)` or `(Z, Y, X)` of the image itself.
        mpp: µm per pixel of the heads, an axis each; `None` where unknown.
        work: takes the time; its memory decides.
        in_memory: whether labels lie in memory however large they are.
        stitch: see `label_in_memory`; planes that are seen one by one are labelled there.

    Returns:
        Labels by kind of object, and what is said of them.
    """
    made: Mapping[str, WritableWindowed] = {}
    memory_mib = work.memory >> 20

    @contextlib.contextmanager
    def create(layouts: Layouts, facts: Facts) -> Iterator[Mapping[str, WritableWindowed]]:
        nonlocal made
        made = work.labels(layouts, in_memory=in_memory)
        yield made

    with work.step("label"):
        if stitch or fits_memory(recipes, tuple(heads[IMAGE].shape[:-1]), memory_mib):
            return label_in_memory(heads, recipes, shape, mpp=mpp, stitch=stitch)
        segmented, _, side = label_in_tiles(
            heads, recipes, work.workspace, memory_mib=memory_mib, mpp=mpp
        )
        facts = write_in_tiles(
            segmented, shape, create, side=side, memory_mib=memory_mib, axes=len(shape)
        )
    return made, facts
