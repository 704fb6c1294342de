"""Heads of a volume from its planes across all three axes, written as an entry of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cellmill.arrays.batch import Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.arrays.store import remove
from cellmill.arrays.temporary import temporary_arrays
from cellmill.arrays.windows import Windowed
from cellmill.compute.parts import Parts
from cellmill.contract import Progress
from cellmill.inference.predictor import Predictor
from cellmill.inference.tiled import card_grid, predict_tiled
from cellmill.models.card import ModelCard
from cellmill.segmentation.methods import Recipe
from cellmill.segmentation.orientations import (
    combine_seen,
    combined_shapes,
    depth_for,
    see_orientations,
    seen_shapes,
    with_depth,
)


def write_turned(
    out: BatchWriter,
    entry: Entry,
    image: Windowed,
    predictor: Predictor,
    card: ModelCard,
    recipes: Mapping[str, Recipe],
    memory_mib: int,
    parts: Parts,
) -> int:
    """Show a network a volume's planes across each axis, and write what that gives together.

    Planes are added or averaged, so that voxels are as deep as wide by the image's pixel size; the
    entry says how many there are by its `scale` and its pixel size. The volume is read some planes
    at a time; what the network gives lies in a file until it is put together.

    Args:
        out: the batch that the entry is added to.
        entry: of the image.
        image: `(Z, Y, X, C)` float32.
        predictor: the network.
        card: its card.
        recipes: how each kind of object is found; see `check_orientations`.
        memory_mib: to read planes, and to put tiles and orientations together in, in MiB.
        parts: has afterwards what each part of it took.

    Returns:
        How many tiles were not computed, being as another.
    """
    depth, repeated, memory = image.shape[0], 0, memory_mib << 20
    _, *wide = entry.attribute("scale", tuple[float, ...], (1.0, 1.0, 1.0))
    mpp = entry.attribute("source_mpp", tuple[float, ...], None) or entry.mpp
    pixels = with_depth(image, depth_for(depth, (wide[0] + wide[1]) / 2, mpp))
    deeper = pixels.shape[0] / depth
    scratch = Path(out.scratch(entry.name))
    # What a run that was killed left there is of no use, and as large.
    remove(f"{scratch}")
    with (
        Progress(entry.name, sum(pixels.shape[:3]), "planes") as bar,
        temporary_arrays(scratch, seen_shapes(recipes, pixels.shape), np.float32) as seen,
    ):

        def heads_of(plane: np.ndarray) -> Mapping[str, Windowed]:
            nonlocal repeated
            grid = card_grid(card, (plane.shape[0], plane.shape[1]))
            made = [np.zeros(head.shape_over(grid.shape), np.float32) for head in predictor.heads]
            repeated += predict_tiled(
                plane,
                predictor,
                grid,
                made,
                predictor.batch_size,
                heads=predictor.heads,
                memory=memory // 4 * 3,
                parts=parts,
            )
            bar.advance()
            return _named(predictor, made)

        with parts.part("turn"):
            see_orientations(pixels, heads_of, seen, memory // 8)
        shapes = combined_shapes(recipes, pixels.shape)
        with (
            parts.part("combine"),
            out.create(
                entry.name,
                {name: (shape, np.float32, "ZYXC") for name, shape in shapes.items()},
                mpp=(entry.mpp[0] / deeper, *entry.mpp[1:]) if entry.mpp else None,
                mpp_source=entry.mpp_source,
                channels=entry.channels,
                attributes={**entry.attributes, "scale": [deeper, *wide]},
            ) as heads,
        ):
            combine_seen(seen, recipes, heads, memory // 2)
    remove(f"{scratch}")
    return repeated


def _named(predictor: Predictor, made: Sequence[np.ndarray]) -> dict[str, Windowed]:
    return {head.name: each for head, each in zip(predictor.heads, made, strict=True)}
