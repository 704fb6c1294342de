"""The stage that runs a model's network over one shard of a slide."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

from cellmill.arrays.batch import Batch, BatchWriter, Entry
from cellmill.arrays.windows import Box, WritableWindowed
from cellmill.contract import Dataset, Input, Model, Output, Progress, Record, for_each_image
from cellmill.inference.backoff import BackingOff
from cellmill.inference.engines import load_network, memory_errors
from cellmill.inference.savedmodel import gpu_peak_bytes
from cellmill.inference.tiled import predict_tiled, tiles_of
from cellmill.inference.tiles import TileGrid
from cellmill.models.card import Head, ModelCard
from cellmill.models.chosen import check_made_for
from cellmill.preprocessing import network_input
from cellmill.slides.maps import ChannelsOf, box_named, name_of, predicted_marks, remaining
from cellmill.slides.plan import UNIT, SlidePlan, check_shard, map_sources


def predict_shard(
    plan: Input[Dataset],
    images: Input[Dataset],
    model: Input[Model],
    predicted: Output[Dataset],
    record: Output[Record],
    shard: int,
    batch_size: int = 8,
    device: Literal["auto", "cpu", "gpu"] = "auto",
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32",
    engine: Literal["tensorflow", "openvino"] = "tensorflow",
    threads: int = 0,
    memory_mib: int = 1024,
) -> None:
    """Normalise one shard of a slide and run a model's network over it.

    What is predicted equals, bit for bit, that part of the whole slide's prediction. Heads that no
    planned compartment needs are not computed. Tiles without anything in them are predicted once
    for all. A task that was interrupted goes on where it was.

    Args:
        plan: The slides' plan, from plan_slide; its arrays are filled.
        images: The batch of images that was planned.
        model: Model folder, a TensorFlow SavedModel with its card.
        predicted: Batch without arrays: says which shard is done.
        record: What was done, with times and versions.
        shard: Number of the shard, from 0.
        batch_size: Tiles predicted at once; halved by itself when memory runs out.
        device: Where the network runs; auto takes a GPU if there is one.
        precision: What convolutions are computed in; the heads are float32 in any case.
        engine: What computes the network; openvino is faster, and runs on CPUs alone.
        threads: CPU threads; 0 lets the engine choose.
        memory_mib: Memory to work in, in MiB, beyond what the program and the network take.
    """
    check_shard(shard)
    card = ModelCard.load(model.path)
    plans, pixels = Batch.open(plan.path), Batch.open(images.path)
    check_made_for(card, plans.attributes, f"plan '{plans.folder}'")
    computed = _heads(card, plans)
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
    with BatchWriter(predicted.path) as out:

        def work(entry: Entry) -> None:
            made = SlidePlan.of(entry.attributes, entry.name)
            # Another engine or precision gives other numbers: what is made of them is made anew.
            out.annotate(entry.name, shard=shard, engine=engine, precision=precision)
            if shard >= len(made.shards):
                return
            box = made.shards[shard]
            source = pixels.entry(entry.name)
            image = network_input(
                pixels.array(source, "image"),
                card,
                channels=made.channels,
                mpp=source.mpp if made.resized else None,
                normalisation=made.normalisation,
                what=f"image '{entry.name}'",
            )
            grid = TileGrid.over(
                made.shape,
                card.input.tile,
                overlap=card.tiling.overlap,
                padding=card.tiling.padding,
            )
            ledger = predicted_marks(made, engine, precision)
            ledger.claim()
            outputs = _outputs(
                plans, entry, card, made, computed, lambda part: ledger.mark(name_of(part))
            )
            done = [part for part in map(box_named, ledger.done()) if part.common(box)]
            left = remaining(box, done)
            tiles = sum(math.prod(map(len, tiles_of(grid, part))) for part in left)
            with record.step("predict"), Progress(entry.name, tiles, "tiles") as progress:
                skipped = sum(
                    predict_tiled(
                        image,
                        run,
                        grid,
                        outputs,
                        batch_size,
                        progress.advance,
                        window=part,
                        unit=UNIT,
                        memory=memory_mib << 20,
                    )
                    for part in left
                )
            out.annotate(entry.name, tiles=tiles, equal_tiles=skipped)

        for_each_image(plans, work, writers=[out], record=record)
    record.note(**network.effect, batch_size=run.batch_size, memory_retries=run.retries)
    if peak := gpu_peak_bytes(network.device):
        record.gpu(network.effect["gpu"], peak)


def _heads(card: ModelCard, plans: Batch) -> list[Head]:
    """The heads whose channels some slide of the plan keeps."""
    kept = {
        head
        for entry in plans.entries
        if entry.ok
        for head, _ in map_sources(
            card, SlidePlan.of(entry.attributes, entry.name).compartments
        ).values()
    }
    return [head for head in card.heads if head.name in kept or not kept]


def _outputs(
    plans: Batch,
    entry: Entry,
    card: ModelCard,
    made: SlidePlan,
    heads: Sequence[Head],
    on_written: Callable[[Box], None],
) -> list[ChannelsOf]:
    """Where each head's channels go; the last head's say when a part is written whole."""
    kept: dict[str, list[tuple[int, WritableWindowed]]] = {head.name: [] for head in heads}
    for key, (head, channel) in map_sources(card, made.compartments).items():
        kept[head].append((channel, plans.store(entry, key, write=True)))
    last = heads[-1].name
    return [
        ChannelsOf(
            (*made.shape, head.channels), kept[head.name], on_written if head.name == last else None
        )
        for head in heads
    ]
