"""The stage that makes what one condition of a benchmark is measured on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.arrays.channels import distinct_names
from cellmill.benchmark.conditions import Condition
from cellmill.benchmark.rows import WARM_UP, repeat_names
from cellmill.benchmark.subjects import (
    is_mosaic,
    square,
    square_labels,
    thinned,
    with_channels,
)
from cellmill.contract import GroundTruth, Images, Input, Output, Record, stage
from cellmill.errors import BadInput


class Numbers(NamedTuple):
    """What of the condition is a number, for the tasks that follow."""

    batch_size: int
    tile: int


@stage(image="imaging", family="benchmarking")
def benchmark_images(
    images: Input[Images],
    truth: Input[GroundTruth],
    subjects: Output[Images],
    subjects_truth: Output[GroundTruth],
    record: Output[Record],
    condition: dict,
) -> Numbers:
    """Cut a square from an image's centre, or lay a mosaic of it, and repeat it for a benchmark.

    Each stage that follows works through the batch in one process: the first image is the warm-up,
    the others are the repeats that count.

    Args:
        images: Batch of images, array `image` (Y, X, C); the first that is good is used.
        truth: Batch with array `labels` (Y, X) or (Y, X, C) of the same image, or an entry without
            arrays.
        subjects: Batch of the square, array `image` (side, side, C), `warm_up` and then
            `repeat_1` and so on.
        subjects_truth: Batch with the truth of the warm-up, where there is one.
        record: What was done, with times and versions.
        condition: What is measured under, as `cellmill.benchmark.conditions.Condition`.

    Returns:
        batch_size: Tiles predicted at a time.
        tile: Side of the network's tiles in pixels; 0 for the card's.
    """
    asked = Condition.of(condition)
    source, truths = Batch.open(images.path), Batch.open(truth.path)
    entry = next((entry for entry in source.entries if entry.ok), None)
    if entry is None:
        raise BadInput("images", expected="a good one", found="none")
    with record.step("cut"):
        image = source.array(entry, "image")
        if len(image.shape) != 3:
            raise BadInput(
                f"image '{entry.name}'", expected="one plane, (Y, X, C)", found=f"{image.shape}"
            )
        shape = (image.shape[0], image.shape[1])
        pixels = square(np.asarray(image), asked.side)
        labels = _labels(truths, truths.counterpart(entry, source), asked.side)
        if asked.kept < 1:
            if labels is None or labels.ndim != 2:
                expected, found = "truth of one plane, which says what objects are", "none"
                raise BadInput("benchmark density", expected=expected, found=found)
            pixels, labels = thinned(pixels, labels, asked.kept)
        own = pixels.shape[2]
        pixels = with_channels(pixels, asked.channels)
    mosaic = is_mosaic(shape, asked.side)
    attributes = {**entry.attributes, "mosaic": mosaic, "source_image": entry.name}
    names = entry.channels
    if pixels.shape[2] > own:
        attributes.setdefault("segmentation_channels", [*range(own)])
        extra = range(own, pixels.shape[2])
        repeated = [*names, *(names[c % own] for c in extra)] if names else []
        names = tuple(distinct_names(repeated))
    with (
        record.step("write"),
        BatchWriter(subjects.path) as out,
        BatchWriter(subjects_truth.path) as truth_out,
    ):
        for name in repeat_names(asked.repeats):
            out.write(
                name,
                {"image": pixels},
                axes={"image": "YXC"},
                mpp=entry.mpp,
                mpp_source=entry.mpp_source,
                channels=names,
                attributes=attributes,
            )
            given = {"labels": labels} if name == WARM_UP and labels is not None else {}
            axes = {key: "YXC"[: each.ndim] for key, each in given.items()}
            truth_out.write(name, given, axes=axes)
    record.note(condition=asked.to_dict(), mosaic=mosaic)
    return Numbers(asked.batch_size, asked.tile)


def _labels(truths: Batch, entry: Entry | None, side: int) -> np.ndarray | None:
    """The truth of the square; None where there is none."""
    if entry is None or "labels" not in entry.arrays:
        return None
    labels = np.asarray(truths.read(entry, "labels"))
    if labels.ndim == 2:
        return square_labels(labels, side)
    return np.stack([square_labels(plane, side) for plane in np.moveaxis(labels, -1, 0)], axis=-1)
