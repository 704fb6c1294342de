"""The stages that segment slides in shards, and those that segment images whole, run by hand."""

import json
import random
from pathlib import Path

from cellmill.arrays.batch import Batch
from cellmill.contract.cli import main


def run(stage, **flags):
    """Run a stage in this process, as its command line does; return its exit code."""
    given = [stage]
    for name, value in flags.items():
        values = value if isinstance(value, list) else [value]
        given += [f"--{name.replace('_', '-')}", *map(str, values)]
    return main(given)


def opened(folder, items, **flags):
    """Read images into a batch under the folder."""
    places = {"images": folder / "images", "truth": folder / "truth"}
    return run("tiff_to_npz", items=json.dumps(items), **places, **flags)


def whole(
    folder,
    images,
    model,
    compartment="",
    on_bad_image="fail",
    read="predictions",
    diameter="",
    **flags,
):
    """Segment images whole, from predictions or what was preprocessed; the batch of labels."""
    skip = {"on_bad_image": on_bad_image}
    at = {name: folder / name for name in ("preprocessed", "predictions", "labels")}
    given = {"images": images, "model": model, "preprocessed": at["preprocessed"]}
    scale = {"diameter": diameter, "compartment": compartment}
    assert not run("preprocess", **given, **scale, **skip)
    given = {"preprocessed": at["preprocessed"], "predictions": at["predictions"], "model": model}
    assert not run("predict", **given, **skip)
    given = {"predictions": at[read], "labels": at["labels"], "compartment": compartment}
    assert not run("postprocess", **given, **skip, **flags)
    return Batch.open(at["labels"])


def plan(folder, images, model, **flags):
    """Plan slides; return the exit code."""
    places = {"plan": folder / "plan", "record": folder / "plan.json"}
    return run("plan_slide", images=images, model=model, **places, **flags)


def shards_of(folder):
    """How many tasks the planned slides ask for."""
    entries = [entry for entry in Batch.open(folder / "plan").entries if entry.ok]
    return max(len(entry.attributes["plan"]["shards"]) for entry in entries)


def predicted(folder, images, model, order=None, **flags):
    """Predict all shards, in an order drawn from a seed."""
    numbers = _shuffled(shards_of(folder), order)
    for shard in numbers:
        places = {"predicted": folder / f"p{shard}", "record": folder / f"p{shard}.json"}
        made = {"plan": folder / "plan", "images": images, "model": model}
        assert not run("predict_shard", **made, **places, shard=shard, **flags)
    return [folder / f"p{k}" for k in range(len(numbers))]


def settled(folder, **flags):
    """Settle how the slides are segmented."""
    count = shards_of(folder)
    return run(
        "plan_segmentation",
        plan=folder / "plan",
        predicted=[folder / f"p{k}" for k in range(count)],
        predict_records=[folder / f"p{k}.json" for k in range(count)],
        segmentation=folder / "segmentation",
        predict_record=folder / "predict.json",
        **flags,
    )


def segmented(folder, order=None, **flags):
    """Segment all shards, in an order drawn from a seed."""
    for shard in _shuffled(shards_of(folder), order):
        places = {"segmented": folder / f"s{shard}", "record": folder / f"s{shard}.json"}
        assert not run(
            "segment_shard", segmentation=folder / "segmentation", **places, shard=shard, **flags
        )


def stitched(folder, **flags):
    """Settle the seams; return the exit code."""
    count = shards_of(folder)
    return run(
        "stitch",
        segmentation=folder / "segmentation",
        segmented=[folder / f"s{k}" for k in range(count)],
        segment_records=[folder / f"s{k}.json" for k in range(count)],
        labels=folder / "labels",
        segment_record=folder / "segment.json",
        record=folder / "stitch.json",
        **flags,
    )


def in_shards(folder, images, model, *, memory_mib=1024, order=None, **flags):
    """Segment slides in shards; return the batch of labels and what stitching noted."""
    folder.mkdir(parents=True, exist_ok=True)
    memory = {"memory_mib": memory_mib}
    assert not plan(folder, images, model, **flags, **memory)
    predicted(folder, images, model, order, **memory)
    assert not settled(folder, **memory)
    segmented(folder, order, **memory)
    assert not stitched(folder, **memory)
    return Batch.open(folder / "labels"), noted(folder / "stitch.json")


def noted(record: Path):
    """What a stage noted in its record."""
    return json.loads(record.read_text())["notes"]


def _shuffled(count, seed):
    numbers = [*range(count)]
    if seed is not None:
        random.Random(seed).shuffle(numbers)
    return numbers
