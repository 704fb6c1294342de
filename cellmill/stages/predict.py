"""The stage that runs a model's network over preprocessed images, tile by tile."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.arrays.rows import check_memory
from cellmill.arrays.windows import Box, Windowed, WritableWindowed, copy_parts, sections_of
from cellmill.contract import (
    Input,
    Model,
    Output,
    Predictions,
    Preprocessed,
    Progress,
    Record,
    for_each_image,
    stage,
)
from cellmill.errors import BadInput
from cellmill.inference.blocks import with_tile
from cellmill.inference.predictor import Predictor
from cellmill.inference.tiled import card_grid, predict_tiled
from cellmill.inference.tiles import TileGrid
from cellmill.models.card import Head, ModelCard
from cellmill.models.chosen import (
    check_made_for,
    check_sees_planes,
    chosen_compartments,
)
from cellmill.segmentation.interface import IMAGE
from cellmill.segmentation.methods import check_card, heads_read, reads_image, recipes_of
from cellmill.segmentation.planes import PLANE_BY_PLANE
from cellmill.stages.shared.notes import note_predictor
from cellmill.typed_json import WrongField

#: An image of fewer tiles is done before a bar of its own would say anything.
_TILES_WORTH_A_BAR = 64
#: Side of the blocks that are copied at once, pixels.
_BLOCK = 2048


@stage(image="tensorflow", family="segmentation")
def predict(
    preprocessed: Input[Preprocessed],
    model: Input[Model],
    predictions: Output[Predictions],
    record: Output[Record],
    on_bad_image: Literal["fail", "skip"] = "fail",
    batch_size: int = 8,
    device: Literal["auto", "cpu", "gpu"] = "auto",
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32",
    engine: str = "auto",
    tile: int = 0,
    compartment: str = "all",
    method: str = "",
    parameters: dict = {},
    threads: int = 0,
    memory_mib: int = 1024,
    trust_model: bool = False,
) -> None:
    """Run a model's network over preprocessed images, tile by tile.

    A model without a network hands the images on, for a method that finds objects in them.

    Args:
        preprocessed: Batch with array `image` (Y, X, C) float32, made for this model; or
            (Z, Y, X, C) of a volume, whose planes are predicted each, or which is predicted as a
            whole by a network that sees volumes.
        model: Model folder, a network (TensorFlow SavedModel or ONNX) with its card; or a card
            alone.
        predictions: Batch with one array (Y, X, channels) float32 per head that is computed, with
            Z before of a volume, its sides divided by the head's stride, in a Zarr where the image
            was in one and the network sees planes; and `image`, the image itself, where the method
            reads it.
        record: What was done, with times and versions.
        on_bad_image: What to do with an image that cannot be used: fail, or skip it and go on.
        batch_size: Tiles predicted at once; halved by itself when memory runs out.
        device: Where the network runs; auto takes a GPU if there is one.
        precision: What convolutions are computed in; the heads are float32 in any case.
        engine: What computes the network: tensorflow, openvino or onnxruntime; auto takes the
            fastest that is installed and gives the same heads.
        tile: Side of the tiles in pixels, or of the blocks in voxels, in place of the card's, where
            the network takes any; 0 is the card's.
        compartment: Heads that are not needed to segment this are not computed; all computes every
            head, empty is the model card's default.
        method: How objects will be found, if not by the card's method: it may read other heads, or
            the image itself, and needs no network then.
        parameters: Parameters of the method in place of the card's, by name, as a JSON object;
            those that name heads count here.
        threads: CPU threads; 0 lets the engine choose.
        memory_mib: Memory to put tiles together in, in MiB, beside the network's; a wider image
            is worked on in strips. Results do not depend on it.
        trust_model: Load a network even if it has operations that could do more than compute:
            read files, or run code.
    """
    check_memory(memory_mib)
    own = ModelCard.load(model.path)
    source = Batch.open(preprocessed.path)
    check_made_for(own, source.attributes, f"batch '{source.folder}'")
    card = _with_tile(own, tile)
    heads, keep_image = _read(card, compartment, method, parameters)
    predictor: Predictor | None = None
    if heads:
        with record.step("load model"):
            predictor = Predictor(
                model.path,
                card,
                heads,
                batch_size=batch_size,
                engine=engine,
                device=device,
                precision=precision,
                threads=threads,
                trusted=trust_model,
            )
    repeated: dict[str, int] = {}
    with BatchWriter(predictions.path, attributes={"model": card.to_dict()}) as out:

        def work(entry: Entry) -> None:
            image = source.array(entry, "image")
            _check_image(image, entry, card, heads)
            planes = sections_of(image, 3)
            in_blocks = predictor is not None and card.input.sees_volumes
            kept_image = image if keep_image else None
            with _arrays(out, entry, heads, kept_image, in_blocks) as (outputs, kept):
                if kept is not None:
                    with record.step("keep image"):
                        whole = Box(0, image.shape[-3], 0, image.shape[-2])
                        for plane, target in zip(planes, sections_of(kept, 3), strict=True):
                            copy_parts(plane, [whole], target, _BLOCK)
                if predictor is not None and in_blocks:
                    _predict_blocks(predictor, image, outputs, entry, record)
                elif predictor is not None:
                    grid = card_grid(card, (image.shape[-3], image.shape[-2]))
                    repeated[entry.name] = _predict_planes(
                        predictor, grid, planes, outputs, entry, record, memory_mib
                    )

        for_each_image(source, work, writers=[out], record=record, on_bad_image=on_bad_image)
    if predictor:
        note_predictor(predictor, record, tiles_repeated=sum(repeated.values()))


def _with_tile(card: ModelCard, side: int) -> ModelCard:
    """The card with tiles of that side; as it is for 0."""
    if not side:
        return card
    try:
        return with_tile(card, (side,) * len(card.input.tile))
    except WrongField as wrong:
        raise BadInput("tile", expected=wrong.expected, found=f"{side}") from None


def _read(
    card: ModelCard, compartment: str, method: str, parameters: Mapping[str, Any]
) -> tuple[tuple[Head, ...], bool]:
    """The heads to compute, in the card's order, and whether the image itself is read."""
    check_card(card)
    kinds = card.compartments if compartment == "all" else chosen_compartments(card, compartment)
    recipes = recipes_of(card, kinds, method=method, parameters=parameters)
    heads = card.heads if compartment == "all" else heads_read(card, recipes.values())
    return heads, any(reads_image(recipe) for recipe in recipes.values())


def _predict_planes(
    predictor: Predictor,
    grid: TileGrid,
    planes: Sequence[Windowed],
    outputs: Sequence[WritableWindowed],
    entry: Entry,
    record: Record,
    memory_mib: int,
) -> int:
    """Predict an image, or the planes of a volume; how many tiles were not, being as another."""
    count, repeated = len(grid) * len(planes), 0
    bar = Progress(entry.name, count, "tiles")
    is_long = count >= _TILES_WORTH_A_BAR
    stacks = [sections_of(output, 3) for output in outputs]
    with record.step("predict"), bar if is_long else contextlib.nullcontext():
        for z, plane in enumerate(planes):
            repeated += predict_tiled(
                plane,
                predictor,
                grid,
                [stack[z] for stack in stacks],
                predictor.batch_size,
                bar.advance if is_long else None,
                heads=predictor.heads,
                unit=_shard() if entry.arrays["image"].container == "zarr" else 1,
                memory=(memory_mib << 20) // 4 * 3,
            )
    return repeated


def _predict_blocks(
    predictor: Predictor,
    image: Windowed,
    outputs: Sequence[WritableWindowed],
    entry: Entry,
    record: Record,
) -> None:
    """Predict a volume by a network that sees volumes."""
    count = predictor.block_count(tuple(image.shape[:3]))
    bar = Progress(entry.name, count, "blocks")
    is_long = count > 1
    with record.step("predict"), bar if is_long else contextlib.nullcontext():
        predictor.predict_volume(image, outputs, bar.advance if is_long else None)


@contextlib.contextmanager
def _arrays(
    out: BatchWriter,
    entry: Entry,
    heads: Sequence[Head],
    image: Windowed | None,
    in_blocks: bool,
) -> Iterator[tuple[list[WritableWindowed], WritableWindowed | None]]:
    """Make the entry of an image's heads, an array each, and of the image itself, to be filled."""
    shape = entry.arrays["image"].shape[:-1]
    # A network that is given planes has heads of each; blocks cross a store's units.
    depth = () if in_blocks else shape[:-2]
    axes = "ZYXC" if len(shape) == 3 else "YXC"
    layout: dict[str, tuple[tuple[int, ...], type, str]] = {
        head.name: ((*depth, *head.shape_over(shape[len(depth) :])), np.float32, axes)
        for head in heads
    }
    if image is not None:
        layout[IMAGE] = (tuple(image.shape), np.float32, axes)
    with out.create(
        entry.name,
        layout,
        mpp=entry.mpp,
        mpp_source=entry.mpp_source,
        channels=entry.channels,
        attributes={**entry.attributes, **({PLANE_BY_PLANE: True} if depth and heads else {})},
        container="npz" if in_blocks else entry.arrays["image"].container,
    ) as arrays:
        yield [arrays[head.name] for head in heads], arrays.get(IMAGE)


def _shard() -> int:
    """Side of a Zarr's storage units; TensorStore is imported only where there is a Zarr."""
    from cellmill.arrays.zarr import SHARD

    return SHARD


def _check_image(image: Windowed, entry: Entry, card: ModelCard, heads: Sequence[Head]) -> None:
    channels = len(card.input.channels)
    shape = image.shape
    if heads and len(shape) == 3:
        check_sees_planes(card)
    if len(shape) not in (3, 4) or shape[-1] != channels or image.dtype != np.float32 or 0 in shape:
        raise BadInput(
            f"image '{entry.name}'",
            expected=f"float32 (Y, X, {channels}) as `preprocess` makes it for '{card.name}'",
            found=f"{image.dtype} {shape}",
        )
