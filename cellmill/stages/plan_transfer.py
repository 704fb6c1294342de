"""The stage that makes the place for a transferred volume and shares its blocks among tasks."""

from __future__ import annotations

import json
from typing import Literal, NamedTuple

from cellmill.arrays.files import absolute_place, write_text
from cellmill.contract import Input, Model, Output, Record, TransferredVolume, stage
from cellmill.errors import BadInput
from cellmill.models.card import ModelCard
from cellmill.style_transfer.applying import grid_for
from cellmill.style_transfer.volumes import levels_of, open_volume
from cellmill.style_transfer.writing import create_levels, levels_like

FILE_NAME = "plan.json"


class Planned(NamedTuple):
    """What the tasks of all shards are told."""

    target: str
    shards: list
    tasks: int


@stage(image="imaging", family="style transfer")
def plan_transfer(
    model: Input[Model],
    place: Output[TransferredVolume],
    record: Output[Record],
    volume: str,
    destination: str = "",
    mask: str = "",
    block: int = 0,
    planes: Literal["", "z", "y", "x", "zyx"] = "",
    black: float = 0.0,
    white: float = 0.0,
    scale: int = 0,
    levels: int = 0,
    most_shards: int = 16,
) -> Planned:
    """Make the place for what a style-transfer network makes of a volume, and share its blocks.

    Network, volume, mask and blocks are held against each other before any task begins.

    Args:
        model: Model folder of a network that makes images; its card says the halo and the axes.
        place: Folder with plan.json; and with the result, volume.zarr, which transfer_style fills,
            if no destination was given.
        record: What was done, with times and versions.
        volume: Path or URI: precomputed, Zarr, N5, DVID, a TIFF stack; (Z, Y, X).
        destination: Path or URI to write to, precomputed, or OME-Zarr if it ends in `.zarr`; all
            tasks must reach it. Empty: OME-Zarr in the folder `place`.
        mask: Path or URI of a volume of the same shape, 0 where the original's values are kept.
        block: Side of a block in voxels, a multiple of the network's stride; 0 is what the card
            says.
        planes: Axes across which planes are fed: z, y, x, or zyx; empty is what the card says. A
            network of volumes has none.
        black: Value that becomes 0, for volumes that are not uint8.
        white: Value that becomes 255; 0 with black 0 takes uint8 as it is.
        scale: Of a volume with several resolutions which, 0 is the finest.
        levels: Resolutions that are written; 0 as many as it takes until no side is longer than 512
            voxels, 1 the finest alone.
        most_shards: At most so many tasks; a volume of fewer blocks has fewer.

    Returns:
        target: Where the result lies.
        shards: Numbers of the tasks, from 0, for a loop over them.
        tasks: How many there are.
    """
    if most_shards < 1:
        raise BadInput("most_shards", expected="at least 1", found=f"{most_shards}")
    given = open_volume(volume, levels=levels_of(black, white), scale=scale)
    if mask and (shape := open_volume(mask, levels=(0, 255)).shape) != given.shape:
        raise BadInput(f"mask '{mask}'", expected=f"shape {given.shape}", found=f"{shape}")
    grid, _ = grid_for(ModelCard.load(model.path), given.shape, block, planes)
    resolutions = levels_like(given, levels)
    where = absolute_place(destination or f"{place.uri or place.path}/volume.zarr")
    with record.step("make volume"):
        create_levels(where, given, grid.side, resolutions)
    count = min(most_shards, len(grid.blocks))
    said = {
        "volume": where,
        "source": volume,
        "shape": [*given.shape],
        "levels": [[*level.shape] for level in resolutions],
        "block": grid.side,
        "planes": grid.planes,
        "blocks": len(grid.blocks),
        "shards": count,
        "read_amplification": round(grid.amplification(), 3),
    }
    write_text(place.path / FILE_NAME, json.dumps(said, indent=1) + "\n")
    place.metadata.update(blocks=len(grid.blocks), shards=count)
    record.note(**said)
    return Planned(where, [*range(count)], count)
