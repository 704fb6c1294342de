"""The stage that runs a model's network over preprocessed images, tile by tile."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Literal

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.arrays.rows import check_memory
from cellmill.arrays.windows import Box, copy_parts, sections_of
from cellmill.contract import (
    Input,
    Model,
    Output,
    Predictions,
    Preprocessed,
    Record,
    for_each_image,
    stage,
)
from cellmill.errors import BadInput
from cellmill.inference.blocks import with_tile
from cellmill.inference.network import NETWORK
from cellmill.inference.predictor import Predictor
from cellmill.models.card import Head, ModelCard
from cellmill.models.chosen import (
    check_made_for,
    chosen_compartments,
)
from cellmill.segmentation.methods import (
    Recipe,
    check_card,
    heads_read,
    reads_image,
    recipes_of,
)
from cellmill.segmentation.orientations import check_orientations
from cellmill.stages.shared.heads import check_image, fill_heads, head_arrays
from cellmill.stages.shared.notes import note_predictor
from cellmill.stages.shared.turned import write_turned
from cellmill.typed_json import WrongField

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
    orientations: int = 1,
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
        orientations: Of a volume and a network of planes: 3 shows it planes across Z, Y and X, and
            method cellpose adds up what it gives; 1 shows it those across Z.
    """
    check_memory(memory_mib)
    own = ModelCard.load(model.path)
    source = Batch.open(preprocessed.path)
    check_made_for(own, source.attributes, f"batch '{source.folder}'")
    card = _with_tile(own, tile)
    recipes, heads = _read(card, compartment, method, parameters, orientations)
    keep_image = any(reads_image(recipe) for recipe in recipes.values())
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
            check_image(image, entry, card, heads)
            if orientations > 1 and predictor is not None:
                check_orientations(orientations, card, recipes, volume=len(image.shape) == 4)
                with record.side_by_side(NETWORK) as parts:
                    repeated[entry.name] = write_turned(
                        out, entry, image, predictor, card, recipes, memory_mib, parts
                    )
                return
            kept_image = image if keep_image else None
            with contextlib.ExitStack() as entered:
                with record.step("write"):
                    outputs, kept = entered.enter_context(
                        head_arrays(out, entry, card, heads, kept_image)
                    )
                if kept is not None:
                    with record.step("keep image"):
                        whole = Box(0, image.shape[-3], 0, image.shape[-2])
                        stacks = sections_of(image, 3), sections_of(kept, 3)
                        for plane, target in zip(*stacks, strict=True):
                            copy_parts(plane, [whole], target, _BLOCK)
                if predictor is not None:
                    with record.side_by_side(NETWORK) as parts:
                        repeated[entry.name] = fill_heads(
                            predictor, card, image, entry, outputs, memory_mib, parts
                        )
                with record.step("write"):
                    entered.close()

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
    card: ModelCard, compartment: str, method: str, parameters: Mapping[str, Any], orientations: int
) -> tuple[Mapping[str, Recipe], tuple[Head, ...]]:
    """How objects will be found, and the heads to compute for it, in the card's order."""
    check_card(card)
    kinds = card.compartments if compartment == "all" else chosen_compartments(card, compartment)
    recipes = recipes_of(card, kinds, method=method, parameters=parameters)
    check_orientations(orientations, card, recipes)
    every = compartment == "all" and orientations == 1
    return recipes, card.heads if every else heads_read(card, recipes.values())
