"""The stage that runs a model's network over one shard of a slide."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.arrays.windows import Box, WritableWindowed, copy_parts, is_intact
from cellmill.contract import (
    Images,
    Input,
    Model,
    Output,
    PlannedSlides,
    PredictedShard,
    Progress,
    Record,
    for_each_image,
    stage,
)
from cellmill.inference.network import NETWORK
from cellmill.inference.predictor import Predictor
from cellmill.inference.tiled import card_grid, predict_tiled, tiles_of
from cellmill.models.card import Head, ModelCard
from cellmill.models.chosen import card_of, check_made_for
from cellmill.preprocessing import NormalisedImage, network_input
from cellmill.segmentation.interface import IMAGE
from cellmill.segmentation.methods import recipes_of
from cellmill.stages.shared.notes import note_predictor
from cellmill.stages.shared.slides.maps import (
    ChannelsOf,
    box_named,
    name_of,
    predicted_marks,
    remaining,
)
from cellmill.stages.shared.slides.plan import (
    UNIT,
    MapSource,
    SlidePlan,
    check_shard,
    map_sources,
)


@stage(image="tensorflow", family="slides")
def predict_shard(
    plan: Input[PlannedSlides],
    images: Input[Images],
    model: Input[Model],
    predicted: Output[PredictedShard],
    record: Output[Record],
    shard: int,
    batch_size: int = 8,
    device: Literal["auto", "cpu", "gpu"] = "auto",
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32",
    engine: str = "auto",
    threads: int = 0,
    memory_mib: int = 1024,
    trust_model: bool = False,
) -> None:
    """Normalise one shard of a slide and run a model's network over it.

    What is predicted equals, bit for bit, that part of the whole slide's prediction. Heads that the
    planned method does not read are not computed. Tiles without anything in them are predicted once
    for all. A task that was interrupted goes on where it was.

    Args:
        plan: The slides' plan, from plan_slide; its arrays are filled.
        images: The batch of images that was planned.
        model: Model folder, a network (TensorFlow SavedModel or ONNX) with its card.
        predicted: Batch without arrays: says which shard is done.
        record: What was done, with times and versions.
        shard: Number of the shard, from 0.
        batch_size: Tiles predicted at once; halved by itself when memory runs out.
        device: Where the network runs; auto takes a GPU if there is one.
        precision: What convolutions are computed in; the heads are float32 in any case.
        engine: What computes the network: tensorflow, openvino or onnxruntime; auto takes the
            fastest that is installed and gives the same heads.
        threads: CPU threads; 0 lets the engine choose.
        memory_mib: Memory to work in, in MiB, beyond what the program and the network take.
        trust_model: Load a network even if it has operations that could do more than compute:
            read files, or run code.
    """
    check_shard(shard)
    card = ModelCard.load(model.path)
    plans, pixels = Batch.open(plan.path), Batch.open(images.path)
    check_made_for(card, plans.attributes, f"plan '{plans.folder}'")
    # What is kept is as the plan's card says: the plan may read other heads than the model's card.
    planned = card_of(plans.attributes, f"plan '{plans.folder}'")
    computed = _heads(planned, plans)
    # A method that reads nothing but the image needs no network.
    predictor: Predictor | None = None
    if computed:
        with record.step("load model"):
            predictor = Predictor(
                model.path,
                card,
                computed,
                batch_size=batch_size,
                engine=engine,
                device=device,
                precision=precision,
                threads=threads,
                trusted=trust_model,
            )
        engine = predictor.engine
    with BatchWriter(predicted.path) as out:

        def work(entry: Entry) -> None:
            made = SlidePlan.of(entry.attributes, entry.name)
            # Another engine or precision gives other numbers: what is made of them is made anew.
            out.annotate(entry.name, shard=shard, engine=engine, precision=precision)
            if shard >= len(made.shards):
                return
            box = made.shards[shard]
            image = _shown(pixels, card, made)
            grid = card_grid(card, made.shape)
            ledger = predicted_marks(made, engine, precision)
            ledger.claim()
            kept = _kept(plans, entry, planned, made)
            outputs = _outputs(made, computed, kept, lambda part: ledger.mark(name_of(part)))
            left = _left(box, ledger.done(), kept, _sources(planned, made))
            if IMAGE in kept:
                with record.step("keep image"):
                    shown = ChannelsOf((*made.shape, image.shape[2]), kept[IMAGE])
                    copy_parts(image, left, shown, UNIT)
            if predictor is None:
                for part in left:
                    ledger.mark(name_of(part))
                return
            tiles = sum(math.prod(map(len, tiles_of(grid, part))) for part in left)
            asked: dict[str, Any] = {"heads": computed, "unit": UNIT, "memory": memory_mib << 20}
            bar = Progress(entry.name, tiles, "tiles")
            with record.side_by_side(NETWORK) as parts, bar as progress:
                asked |= {"on_tiles": progress.advance, "parts": parts}
                skipped = sum(
                    predict_tiled(image, predictor, grid, outputs, batch_size, window=part, **asked)
                    for part in left
                )
            out.annotate(entry.name, tiles=tiles, equal_tiles=skipped)

        for_each_image(plans, work, writers=[out], record=record)
    if predictor:
        note_predictor(predictor, record)


def _shown(pixels: Batch, card: ModelCard, made: SlidePlan) -> NormalisedImage:
    """A slide as the network is shown it."""
    return network_input(
        pixels.array(pixels.entry(made.name), "image"),
        card,
        channels=made.channels,
        shape=made.shape,
        normalisation=made.normalisation,
        what=f"image '{made.name}'",
    )


def _heads(card: ModelCard, plans: Batch) -> list[Head]:
    """The heads whose channels some slide of the plan keeps."""
    read = {
        source.head
        for entry in plans.entries
        if entry.ok
        for source in _sources(card, SlidePlan.of(entry.attributes, entry.name)).values()
    }
    return [head for head in card.heads if head.name in read or not read]


def _sources(card: ModelCard, made: SlidePlan) -> dict[str, MapSource]:
    return map_sources(card, recipes_of(card, made.compartments))


def _kept(
    plans: Batch, entry: Entry, card: ModelCard, made: SlidePlan
) -> dict[str, list[tuple[int | slice, WritableWindowed]]]:
    """Which channels of each head are kept, and where they go."""
    kept: dict[str, list[tuple[int | slice, WritableWindowed]]] = {}
    for key, source in _sources(card, made).items():
        array = plans.store(entry, key, write=True)
        kept.setdefault(source.head, []).append((source.channels, array))
    return kept


def _left(
    shard: Box,
    marks: Iterable[str],
    kept: Mapping[str, Sequence[tuple[int | slice, WritableWindowed]]],
    sources: Mapping[str, MapSource],
) -> list[Box]:
    """Which parts of a shard are to be predicted: those not marked, or not there any more."""
    strides = {source.head: source.stride for source in sources.values()}
    marked = [part for part in map(box_named, marks) if part.common(shard)]
    return remaining(shard, (part for part in marked if _is_there(part, kept, strides)))


def _is_there(
    part: Box,
    kept: Mapping[str, Sequence[tuple[int | slice, WritableWindowed]]],
    strides: Mapping[str, int],
) -> bool:
    """Whether what was kept of a part is still as it was written."""
    for head, arrays in kept.items():
        stride = strides[head]
        window = Box(
            part.y0 // stride, -(-part.y1 // stride), part.x0 // stride, -(-part.x1 // stride)
        )
        if not all(is_intact(array, window.slices) for _, array in arrays):
            return False
    return True


def _outputs(
    made: SlidePlan,
    heads: Sequence[Head],
    kept: Mapping[str, Sequence[tuple[int | slice, WritableWindowed]]],
    on_written: Callable[[Box], None],
) -> list[ChannelsOf]:
    """Where each head's channels go; that which is written last says when a part is whole."""
    last = max(reversed(heads), key=lambda head: head.stride, default=None)

    def whole(part: Box) -> None:
        assert last
        y, x = made.shape
        stop_y, stop_x = min(part.y1 * last.stride, y), min(part.x1 * last.stride, x)
        on_written(Box(part.y0 * last.stride, stop_y, part.x0 * last.stride, stop_x))

    return [
        ChannelsOf(
            head.shape_over(made.shape), kept.get(head.name, ()), whole if head is last else None
        )
        for head in heads
    ]
