"""The stage that runs a model's network over preprocessed images, tile by tile."""

from __future__ import annotations

import contextlib
from typing import Literal

import numpy as np

from cellmill.arrays.batch import Batch, BatchWriter, Entry
from cellmill.arrays.rows import check_memory
from cellmill.arrays.windows import Windowed
from cellmill.contract import Dataset, Input, Model, Output, Progress, Record, for_each_image
from cellmill.errors import BadInput
from cellmill.inference.backoff import BackingOff
from cellmill.inference.engines import load_network, memory_errors
from cellmill.inference.savedmodel import gpu_peak_bytes
from cellmill.inference.tiled import predict_tiled
from cellmill.inference.tiles import TileGrid
from cellmill.models.card import ModelCard
from cellmill.models.chosen import heads_for

#: An image of fewer tiles is done before a bar of its own would say anything.
_TILES_WORTH_A_BAR = 64


def predict(
    preprocessed: Input[Dataset],
    model: Input[Model],
    predictions: Output[Dataset],
    record: Output[Record],
    on_bad_image: Literal["fail", "skip"] = "fail",
    batch_size: int = 8,
    device: Literal["auto", "cpu", "gpu"] = "auto",
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32",
    engine: Literal["tensorflow", "openvino"] = "tensorflow",
    compartment: Literal["all", "", "whole-cell", "nuclear", "both"] = "all",
    threads: int = 0,
    memory_mib: int = 1024,
) -> None:
    """Run a model's network over preprocessed images, tile by tile.

    Args:
        preprocessed: Batch with array `image` (Y, X, C) float32, made for this model.
        model: Model folder, a TensorFlow SavedModel with its card.
        predictions: Batch with one array (Y, X, channels) float32 per head that is computed, in a
            Zarr where the image was in one.
        record: What was done, with times and versions.
        on_bad_image: What to do with an image that cannot be used: fail, or skip it and go on.
        batch_size: Tiles predicted at once; halved by itself when memory runs out.
        device: Where the network runs; auto takes a GPU if there is one.
        precision: What convolutions are computed in; the heads are float32 in any case.
        engine: What computes the network; openvino is faster, and runs on CPUs alone.
        compartment: Heads that are not needed to segment this are not computed; all computes every
            head, empty is the model card's default.
        threads: CPU threads; 0 lets the engine choose.
        memory_mib: Memory to put tiles together in, in MiB, beside the network's; a wider image
            is worked on in strips. Results do not depend on it.
    """
    check_memory(memory_mib)
    if batch_size < 1:
        raise BadInput("batch_size", expected="at least 1", found=f"{batch_size}")
    card = ModelCard.load(model.path)
    source = Batch.open(preprocessed.path)
    _check_made_for(source, card)
    computed = card.heads if compartment == "all" else heads_for(card, compartment)
    with record.step("load model"):
        network = load_network(
            model.path,
            card,
            engine=engine,
            device=device,
            precision=precision,
            threads=threads,
            heads=[head.name for head in computed],
        )
    run = BackingOff(network, batch_size, memory_errors(engine))
    repeated: dict[str, int] = {}
    with BatchWriter(predictions.path, attributes={"model": card.to_dict()}) as out:

        def work(entry: Entry) -> None:
            image = source.array(entry, "image")
            _check_image(image, entry, card)
            grid = TileGrid.over(
                (image.shape[0], image.shape[1]),
                card.input.tile,
                overlap=card.tiling.overlap,
                padding=card.tiling.padding,
            )
            in_zarr = bool(entry.arrays["image"].store)
            heads = {
                head.name: ((*grid.shape, head.channels), np.float32, "YXC") for head in computed
            }
            with (
                out.create(
                    entry.name,
                    heads,
                    mpp=entry.mpp,
                    mpp_source=entry.mpp_source,
                    channels=entry.channels,
                    attributes=entry.attributes,
                    container="zarr" if in_zarr else "npz",
                ) as arrays,
                record.step("predict"),
            ):
                outputs = [arrays[name] for name in heads]
                bar = Progress(entry.name, len(grid), "tiles")
                is_long = len(grid) >= _TILES_WORTH_A_BAR
                with bar if is_long else contextlib.nullcontext():
                    repeated[entry.name] = predict_tiled(
                        image,
                        run,
                        grid,
                        outputs,
                        batch_size,
                        bar.advance if is_long else None,
                        unit=_shard() if in_zarr else 1,
                        memory=(memory_mib << 20) // 4 * 3,
                    )

        for_each_image(source, work, writers=[out], record=record, on_bad_image=on_bad_image)
    record.note(
        **network.effect,
        heads=[head.name for head in computed],
        batch_size=run.batch_size,
        memory_retries=run.retries,
        tiles_repeated=sum(repeated.values()),
    )
    if peak := gpu_peak_bytes(network.device):
        record.gpu(network.effect["gpu"], peak)


def _shard() -> int:
    """Side of a Zarr's storage units; TensorStore is imported only where there is a Zarr."""
    from cellmill.arrays.zarr import SHARD

    return SHARD


def _check_made_for(source: Batch, card: ModelCard) -> None:
    """Refuse images that were brought to what another model expects."""
    if "model" not in source.attributes:
        return
    other = ModelCard.from_dict(source.attributes["model"], f"model of '{source.folder}'")
    if (other.input, other.preprocessing) != (card.input, card.preprocessing):
        raise BadInput(
            f"batch '{source.folder}'",
            expected=f"images preprocessed for model '{card.name}' {card.version}",
            found=f"for '{other.name}' {other.version}, with another input or preprocessing",
        )


def _check_image(image: Windowed, entry: Entry, card: ModelCard) -> None:
    channels = len(card.input.channels)
    shape = image.shape
    if len(shape) != 3 or shape[2] != channels or image.dtype != np.float32 or 0 in shape:
        raise BadInput(
            f"image '{entry.name}'",
            expected=f"float32 (Y, X, {channels}) as `preprocess` makes it for '{card.name}'",
            found=f"{image.dtype} {shape}",
        )
