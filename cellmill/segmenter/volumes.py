"""A volume in, labels out: its planes prepared by one contrast, seen one by one or as a whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from cellmill.arrays.windows import Windowed
from cellmill.models.card import ModelCard
from cellmill.preprocessing import prepare_volume
from cellmill.segmentation.interface import IMAGE
from cellmill.segmentation.labelling import Facts
from cellmill.segmentation.methods import Recipe
from cellmill.segmentation.orientations import (
    depth_for,
    heads_of_orientations,
    with_depth,
)
from cellmill.segmentation.planes import STITCH_THRESHOLD
from cellmill.segmenter.labels import label_within
from cellmill.segmenter.source import Source
from cellmill.segmenter.work import Work


def label_volume(
    source: Source,
    card: ModelCard,
    recipes: Mapping[str, Recipe],
    shape: tuple[int, int],
    predict: Callable[[Windowed, Work], Mapping[str, Windowed]],
    work: Work,
    stitch: float = STITCH_THRESHOLD,
    orientations: int = 1,
    anisotropy: float = 0.0,
    *,
    in_memory: bool = True,
) -> tuple[Mapping[str, Windowed], Facts, Mapping[str, Windowed], tuple[str, ...]]:
    """Segment a volume.

    Args:
        source: of a volume.
        card: of the model.
        recipes: how each kind of object is found.
        shape: `(Y, X)` of a plane at the network's scale.
        predict: gives the heads of a plane `(Y', X', C)`, or of the volume if the network sees
            volumes; none where no network is needed.
        work: takes the times.
        stitch: of a network of planes: intersection over union from which objects of neighbouring
            planes are one.
        orientations: along how many axes the volume is cut into planes, 1 or 3; see
            `check_orientations`.
        anisotropy: of three, how often a pixel's side goes into the distance of planes; 0: as the
            voxel size says.
        in_memory: whether labels lie in memory however large they are.

    Returns:
        Labels `(Z, Y, X)` by kind of object, what is said of them, the heads with Z before, and
        what a user should know. Of three orientations heads have as many planes as make voxels
        as deep as wide.
    """
    first = source.stack[0]
    depth, scale = len(source.stack), (shape[0] / first.shape[0], shape[1] / first.shape[1])
    with work.step("normalise"):
        ready = prepare_volume(
            source.stack, card, shape=shape, memory=work.memory, what=source.what
        )
        planes = work.volume("pixels", ready.shape)
        for z in range(depth):
            planes[z] = ready.plane(z)
    pixels: Windowed = planes
    maps: Mapping[str, Windowed]
    turned = orientations > 1
    if turned:
        made = depth_for(depth, (scale[0] + scale[1]) / 2, source.mpp, anisotropy)
        pixels = with_depth(pixels, made)
        maps = heads_of_orientations(
            pixels, recipes, lambda plane: predict(plane, work), work.volume
        )
    elif card.input.sees_volumes:
        maps = predict(pixels, work)
    else:
        found = [predict(plane, work) for plane in planes]
        maps = {name: np.stack([np.asarray(each[name]) for each in found]) for name in found[0]}
    own = None
    if source.mpp:
        deep = source.mpp[0] * depth / pixels.shape[0]
        own = (deep, source.mpp[1] / scale[0], source.mpp[2] / scale[1])
    labels, facts = label_within(
        {**maps, IMAGE: pixels},
        recipes,
        (depth, first.shape[0], first.shape[1]),
        own,
        work,
        in_memory,
        stitch=stitch if maps and not (turned or card.input.sees_volumes) else 0.0,
    )
    return labels, facts, maps, ready.notes
