"""Heads of a volume from its planes across all three axes, written as an entry of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cellmill.arrays.batch import Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.arrays.windows import Windowed
from cellmill.compute.parts import Parts
from cellmill.contract import Progress
from cellmill.inference.predictor import Predictor
from cellmill.inference.tiled import card_grid, predict_tiled
from cellmill.models.card import ModelCard
from cellmill.segmentation.methods import Recipe
from cellmill.segmentation.orientations import depth_for, heads_of_orientations, with_depth


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
    entry says how many there are by its `scale` and its pixel size. The volume and its heads are
    held in memory.

    Args:
        out: the batch that the entry is added to.
        entry: of the image.
        image: `(Z, Y, X, C)` float32.
        predictor: the network.
        card: its card.
        recipes: how each kind of object is found; see `check_orientations`.
        memory_mib: to put tiles together in, in MiB.
        parts: has afterwards what each part of it took.

    Returns:
        How many tiles were not computed, being as another.
    """
    pixels = np.asarray(image[:, :, :, :])
    depth, repeated = len(pixels), 0
    _, *wide = entry.attribute("scale", tuple[float, ...], (1.0, 1.0, 1.0))
    mpp = entry.attribute("source_mpp", tuple[float, ...], None) or entry.mpp
    pixels = with_depth(pixels, depth_for(depth, (wide[0] + wide[1]) / 2, mpp))
    deeper = len(pixels) / depth
    with Progress(entry.name, sum(pixels.shape[:3]), "planes") as bar:

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
                memory=(memory_mib << 20) // 4 * 3,
                parts=parts,
            )
            bar.advance()
            return _named(predictor, made)

        with parts.part("combine"):
            heads = heads_of_orientations(pixels, recipes, heads_of)
    with parts.part("write"):
        out.write(
            entry.name,
            heads,
            axes=dict.fromkeys(heads, "ZYXC"),
            mpp=(entry.mpp[0] / deeper, *entry.mpp[1:]) if entry.mpp else None,
            mpp_source=entry.mpp_source,
            channels=entry.channels,
            attributes={**entry.attributes, "scale": [deeper, *wide]},
        )
    return repeated


def _named(predictor: Predictor, made: Sequence[np.ndarray]) -> dict[str, Windowed]:
    return {head.name: each for head, each in zip(predictor.heads, made, strict=True)}
