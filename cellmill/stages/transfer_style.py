"""Stage: make a volume of electron microscopy look like another."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal

from cellmill.arrays.files import write_text
from cellmill.arrays.mean_pyramid import MeanPyramid
from cellmill.arrays.resume import key_of
from cellmill.arrays.store import Ledger
from cellmill.contract import Input, Model, Output, Progress, Record, TransferredVolume, stage
from cellmill.errors import BadInput
from cellmill.inference.predictor import Predictor
from cellmill.models.card import ModelCard
from cellmill.models.networks import network_digest
from cellmill.style_transfer.applying import (
    Applied,
    BlockGrid,
    Slices,
    grid_for,
    shard_of,
    transfer_volume,
)
from cellmill.style_transfer.viewing import neuroglancer_link, neuroglancer_state
from cellmill.style_transfer.volumes import StoredVolume, Volume, levels_of, open_volume
from cellmill.style_transfer.writing import FILE_NAME, create_levels, levels_like, marks_of
from cellmill.version import __version__


@stage(image="tensorflow", family="style transfer")
def transfer_style(
    model: Input[Model],
    transferred: Output[TransferredVolume],
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
    shard: int = 0,
    shards: int = 1,
    batch_size: int = 8,
    engine: str = "auto",
    device: Literal["auto", "cpu", "gpu"] = "auto",
    threads: int = 0,
    trust_model: bool = False,
) -> None:
    """Apply a style-transfer network to a volume of any size, block by block, without seams.

    Any block, whichever task makes it, holds what the whole volume's output holds there. A task
    that was killed and is started again goes on after the last block that it wrote.

    Args:
        model: Model folder of a network that makes images; its card says the halo and the axes.
        transferred: Where the result lies, volume.json, with a link to Neuroglancer that shows it
            beside the source; and the result itself if no destination was given.
        record: What was done, with times and versions, and the bytes read for each that was made.
        volume: Path or URI: precomputed, Zarr, N5, DVID, a TIFF stack; (Z, Y, X).
        destination: Path or URI to write to, precomputed, or OME-Zarr if it ends in `.zarr`. Empty:
            OME-Zarr in the output's folder; several shards need a destination.
        mask: Path or URI of a volume of the same shape, 0 where the original's values are kept
            (its background). Empty: none are.
        block: Side of a block in voxels, a multiple of the network's stride. 0 is what the card
            says (of planes 256, of a network of volumes 160) or less, down to half, where that
            has the network see less twice or beyond the volume's end.
        planes: Axes across which planes are fed: z, y, x, or zyx, whose results are averaged; empty
            is what the card says. A network of volumes has none.
        black: Value that becomes 0, for volumes that are not uint8.
        white: Value that becomes 255; 0 with black 0 takes uint8 as it is.
        scale: Of a volume with several resolutions which, 0 is the finest.
        levels: Resolutions that are written, each the mean of 2×2×2 voxels of the one before, or
            of 2×2×1 where sections are thick; 0 as many as it takes until no side is longer than
            512 voxels, 1 the finest alone.
        shard: Which of the tasks this is, from 0.
        shards: Tasks that share the volume's blocks.
        batch_size: Planes a call of the network; a network of volumes takes a block.
        engine: What computes the network; auto takes the fastest that is installed and equal.
        device: Where; auto takes a GPU if there is one.
        threads: CPU threads; 0 lets the engine choose.
        trust_model: Load a network even if it could do more than compute.
    """
    if shards > 1 and not destination:
        raise BadInput("destination", expected="a place that all shards write to", found="none")
    if batch_size < 1:
        raise BadInput("batch_size", expected="at least 1", found=f"{batch_size}")
    grey = levels_of(black, white)
    given = open_volume(volume, levels=grey, scale=scale)
    kept = open_volume(mask, levels=(0, 255)) if mask else None
    grid, card = grid_for(ModelCard.load(model.path), given.shape, block, planes)
    blocks = shard_of(grid.blocks, shard, shards)
    resolutions = levels_like(given, levels)
    place = destination or f"{transferred.path / 'volume.zarr'}"
    transferred.path.mkdir(parents=True, exist_ok=True)
    with record.step("load network"):
        predictor = Predictor(
            model.path,
            card,
            card.heads,
            batch_size=batch_size,
            engine=engine,
            device=device,
            threads=threads,
            trusted=trust_model,
        )
    arrays = create_levels(place, given, grid.side, resolutions)
    # Whatever tells one result from another; not which task makes it.
    asked = (volume, grey, scale, mask, grid.side, grid.planes)
    made_by = (network_digest(model.path), predictor.engine, __version__)
    ledger = Ledger(marks_of(place), key_of(*made_by, *asked))
    ledger.claim()
    pyramid = MeanPyramid(arrays, resolutions, grid.side, ledger)
    with record.step("transfer"), Progress("transferring", len(blocks), "blocks") as progress:
        done = transfer_volume(
            given,
            StoredVolume(arrays[0].translate_to[0, 0, 0], place),
            grid,
            predictor,
            blocks=blocks,
            mask=kept,
            ledger=ledger,
            batch_size=batch_size,
            on_block=_after(pyramid, progress),
        )
    said = _counts(done, grid)
    about: dict[str, Any] = {
        "volume": place,
        "source": volume,
        "black_white": list(grey) if grey else None,
        "scale": scale,
        "shape": list(given.shape),
        "levels": [list(level.shape) for level in resolutions],
        "shard": shard,
        "shards": shards,
        **said,
        **_viewer(volume, place, given),
    }
    write_text(transferred.path / FILE_NAME, json.dumps(about, indent=1) + "\n")
    transferred.metadata.update(shard=shard, shards=shards, blocks=done.blocks)
    record.note(**said, engine=predictor.effect)


def _after(pyramid: MeanPyramid, progress: Progress) -> Callable[[Slices], None]:
    """What follows each block."""

    def settle(block: Slices) -> None:
        pyramid.settle(block)
        progress.advance()

    return settle


def _viewer(volume: str, place: str, given: Volume) -> dict[str, Any]:
    """How a volume is looked at beside its source."""
    state = neuroglancer_state(volume, place, given)
    return {"neuroglancer": neuroglancer_link(state), "neuroglancer_state": state}


def _counts(done: Applied, grid: BlockGrid) -> dict[str, Any]:
    """What a volume's files and the record say of the work."""
    return {
        "blocks": done.blocks,
        "blocks_resumed": done.resumed,
        "blocks_of_background": done.empty,
        "block": grid.side,
        "planes": grid.planes,
        "bytes_read": done.voxels_read,
        "bytes_made": done.voxels,
        "read_amplification": round(done.read_amplification, 3),
    }
