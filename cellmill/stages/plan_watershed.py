"""The stage that settles how predicted slides are segmented, from what hangs on all of them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Literal

import numpy as np

from cellmill.arrays.batch import Batch, BatchWriter, Entry
from cellmill.arrays.files import write_text
from cellmill.arrays.resume import fingerprint
from cellmill.arrays.store import packed
from cellmill.arrays.zarr import create_zarr
from cellmill.contract import Artifact, Dataset, Input, Output, Record, for_each_image
from cellmill.contract.merging import merge_records
from cellmill.contract.recording import to_json
from cellmill.models.chosen import card_of, chosen_parameters
from cellmill.segmentation import WatershedParameters, watershed_parameters
from cellmill.segmentation.tile_markers import maxima_statistics
from cellmill.segmentation.tiled import tile_side
from cellmill.slides.plan import SlidePlan
from cellmill.slides.watershed import check_parts, flooded_marks


def plan_watershed(
    plan: Input[Dataset],
    predicted: Input[list[Dataset]],
    predict_records: Input[list[Record]],
    watershed: Output[Dataset],
    predict_record: Output[Artifact],
    record: Output[Record],
    maxima_algorithm: Literal["", "h_maxima", "peak_local_max"] = "",
    radius: int = -1,
    maxima_threshold: float = -1.0,
    interior_threshold: float = -1.0,
    maxima_smooth: float = -1.0,
    interior_smooth: float = -1.0,
    small_objects_threshold: int = -1,
    small_objects_fraction: float = -1.0,
    fill_holes_threshold: int = -1,
    pixel_expansion: int = -1,
    label_erosion: int = 0,
    exclude_border: int = 0,
    memory_mib: int = 1024,
) -> None:
    """Settle how slides are segmented, and take what hangs on the whole slide.

    Which maxima count hangs on the least and greatest value of the whole map. They are taken here,
    once all shards are predicted, so that each shard is segmented as the whole is.

    Args:
        plan: The slides' plan, its arrays filled by predict_shard.
        predicted: What predict_shard gave for each shard.
        predict_records: Its record for each shard.
        watershed: The plan, with how to segment.
        predict_record: Record of prediction, all shards added up.
        record: What was done, with times and versions.
        maxima_algorithm: How markers are found; empty is the card's.
        radius: Neighbourhood of a maximum, or least distance of two for peak_local_max, in pixels
            at the model's scale; -1 is the card's.
        maxima_threshold: Least height of a maximum, or for peak_local_max the value it exceeds;
            -1 is the card's.
        interior_threshold: Cells lie where the interior map exceeds this; -1 is the card's.
        maxima_smooth: Sigma of a Gaussian on the maxima map, in pixels; -1 is the card's.
        interior_smooth: Sigma of a Gaussian on the interior map, in pixels; -1 is the card's.
        small_objects_threshold: Objects with fewer pixels, at the model's scale, are dropped; -1 is
            the card's.
        small_objects_fraction: Objects below this part of the median area of those left are
            dropped too (below half of it, where the image's border cuts them), 0 for none; -1 is
            the card's.
        fill_holes_threshold: Holes with fewer pixels are filled; -1 is the card's.
        pixel_expansion: By how many pixels the interior map is dilated; -1 is the card's.
        label_erosion: Pixels taken off every object's edge.
        exclude_border: Markers this near to the border, in pixels, are left out; counts for
            peak_local_max only.
        memory_mib: Memory to work in, in MiB, beyond what the program itself takes.
    """
    plans = Batch.open(plan.path)
    for part in predicted:
        check_parts(plans, Batch.open(part.path))
    card = card_of(plans.attributes, f"plan '{plans.folder}'")
    numbers = {
        "radius": radius,
        "maxima_threshold": maxima_threshold,
        "interior_threshold": interior_threshold,
        "maxima_smooth": maxima_smooth,
        "interior_smooth": interior_smooth,
        "small_objects_threshold": small_objects_threshold,
        "small_objects_fraction": small_objects_fraction,
        "fill_holes_threshold": fill_holes_threshold,
        "pixel_expansion": pixel_expansion,
    }
    side = tile_side(memory_mib)
    effect: dict[str, WatershedParameters] = {}
    with BatchWriter(watershed.path, attributes=plans.attributes) as out:

        def work(entry: Entry) -> None:
            made = SlidePlan.of(entry.attributes, entry.name)
            chosen = chosen_parameters(card, made.compartments, numbers, maxima_algorithm)
            statistics: dict[str, np.ndarray] = {}
            for name, parameters in chosen.items():
                effect[name] = watershed_parameters(
                    parameters, label_erosion=label_erosion, exclude_border=exclude_border
                )
                with record.step("statistics"):
                    found = maxima_statistics(
                        plans.array(entry, f"{name}_maxima"), effect[name], side
                    )
                statistics |= {f"{name}_{key}": a for key, a in found.to_arrays().items()}
            about = hashlib.sha256(json.dumps([fingerprint(), entry.name]).encode()).hexdigest()
            with record.step("make arrays"):
                for name in made.compartments:
                    flooded_marks(made, name, about).claim()
                create_zarr(
                    f"{made.store}/flooded.zarr",
                    dict.fromkeys(made.compartments, (made.shape, np.int64, "YX")),
                    shard=side,
                    work=about,
                )
            out.refer(
                entry,
                plans,
                watershed={
                    "fingerprint": about,
                    "side": side,
                    "parameters": {name: dataclasses.asdict(each) for name, each in effect.items()},
                },
            )
            with out.open(entry.name, "statistics") as file:
                file.write(packed(**statistics))

        for_each_image(plans, work, writers=[out], record=record)
    write_text(predict_record.path, to_json(merge_records([r.path for r in predict_records])))
    record.note(watershed={name: dataclasses.asdict(each) for name, each in effect.items()})
