"""The stage that takes a slide's statistics and cuts it into shards, one for each task."""

from __future__ import annotations

import hashlib
import json
from typing import Literal, NamedTuple

import numpy as np

from cellmill.arrays.batch import Batch, BatchWriter, Entry
from cellmill.arrays.channels import selected_channels
from cellmill.arrays.files import absolute_place
from cellmill.arrays.resume import fingerprint
from cellmill.contract import Dataset, Input, Model, Output, Record, for_each_image
from cellmill.errors import BadInput
from cellmill.models.card import ModelCard
from cellmill.models.chosen import chosen_compartments
from cellmill.preprocessing import network_input
from cellmill.slides.maps import planned_marks
from cellmill.slides.plan import UNIT, SlidePlan, map_sources, shard_boxes


class Shards(NamedTuple):
    """Numbers of the shards, 0 and up: what the tasks of a loop are given."""

    shards: list


def plan_slide(
    images: Input[Dataset],
    model: Input[Model],
    plan: Output[Dataset],
    record: Output[Record],
    compartment: Literal["", "whole-cell", "nuclear", "both"] = "",
    store: str = "",
    most_shards: int = 16,
    match_mpp: bool = True,
    memory_mib: int = 1024,
    on_bad_image: Literal["fail", "skip"] = "fail",
) -> Shards:
    """Take the statistics of whole slides and cut them into shards, one for each task.

    Normalisation hangs on the whole image (percentiles, extremes): they are taken here, once, so
    that each shard is normalised as the whole is. The arrays into which predictions go are made.

    Args:
        images: Batch of images, array `image` (Y, X, C).
        model: Model folder; its card says which channels, scale and normalisation it expects.
        plan: Batch with arrays `<compartment>_maxima` and `<compartment>_interior` (Y', X')
            float32, to be filled by predict_shard; its attributes hold each slide's plan.
        record: What was done, with times and versions.
        compartment: What will be segmented; empty is the model card's default.
        store: Folder or URI under which the slides' large arrays go; all tasks must reach it. Empty
            is beside the output `plan`.
        most_shards: At most so many shards; a slide has fewer if it is small.
        match_mpp: Segment at the model's microns per pixel; an image whose own is unknown is taken
            as it is.
        memory_mib: Memory to work in, in MiB, beyond what the program itself takes.
        on_bad_image: What to do with an image that cannot be used: fail, or skip it and go on.

    Returns:
        shards: Numbers of the shards, from 0, for a loop over them; as many as the slide that is
            cut into most has.
    """
    if most_shards < 1:
        raise BadInput("most_shards", expected="at least 1", found=f"{most_shards}")
    card = ModelCard.load(model.path)
    compartments = chosen_compartments(card, compartment)
    source = Batch.open(images.path)
    root = absolute_place(store or f"{plan.uri or plan.path}.store")
    with BatchWriter(plan.path, attributes={"model": card.to_dict()}) as out:

        def work(entry: Entry) -> None:
            image = source.array(entry, "image")
            wanted = [channel.name for channel in card.input.channels]
            channels = selected_channels(image, entry, wanted, card.name).channels
            with record.step("statistics"):
                prepared = network_input(
                    image,
                    card,
                    channels=channels,
                    mpp=entry.mpp if match_mpp else None,
                    memory=memory_mib << 20,
                    what=f"image '{entry.name}'",
                )
            shape = (prepared.shape[0], prepared.shape[1])
            about = [fingerprint(), entry.name]
            made = SlidePlan(
                name=entry.name,
                shape=shape,
                channels=channels,
                resized=match_mpp,
                normalisation=prepared.normalisation,
                compartments=compartments,
                shards=tuple(shard_boxes(shape, most_shards)),
                fingerprint=hashlib.sha256(json.dumps(about).encode()).hexdigest(),
                store=f"{root}/{entry.name}",
            )
            planned_marks(made).claim()
            scale = [shape[0] / image.shape[0], shape[1] / image.shape[1]]
            with (
                record.step("make arrays"),
                out.create(
                    entry.name,
                    dict.fromkeys(map_sources(card, compartments), (shape, np.float32, "YX")),
                    mpp=(entry.mpp[0] / scale[0], entry.mpp[1] / scale[1]) if entry.mpp else None,
                    mpp_source=entry.mpp_source,
                    attributes={
                        **entry.attributes,
                        "source_shape": [*image.shape[:2]],
                        "source_mpp": [*entry.mpp] if entry.mpp else None,
                        "scale": scale,
                        "plan": made.to_dict(),
                    },
                    container="zarr",
                    store=made.store,
                ),
            ):
                pass

        for_each_image(source, work, writers=[out], record=record, on_bad_image=on_bad_image)
    plans = [entry.attributes["plan"] for entry in out.entries if entry.ok]
    shards = max(len(made["shards"]) for made in plans)
    record.note(shards=shards, unit_px=UNIT, store=root)
    return Shards(list(range(shards)))
