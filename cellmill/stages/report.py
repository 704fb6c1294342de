"""The stage that shows what was found: overlays and one page for each image."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow.parquet

from cellmill.arrays.batch import Batch, BatchWriter, Entry
from cellmill.arrays.files import write_text
from cellmill.contract import HTML, Dataset, Input, Output, Record, for_each_image
from cellmill.errors import BadInput
from cellmill.reporting.image_summary import ImageSummary, summarise_image
from cellmill.reporting.overlay import overlay_png
from cellmill.reporting.page import Subject, assess, render_report, shown_channels
from cellmill.reporting.summary import Summary, render_summary
from cellmill.reporting.timing import stage_totals

COMPARTMENTS = ("whole_cell", "nuclear")


def report(
    images: Input[Dataset],
    labels: Input[Dataset],
    measurements: Input[Dataset],
    reports: Output[Dataset],
    html: Output[HTML],
    record: Output[Record],
    scores: Input[Dataset] | None = None,
    truth: Input[Dataset] | None = None,
    conversion_record: Input[Record] | None = None,
    preprocess_record: Input[Record] | None = None,
    predict_record: Input[Record] | None = None,
    postprocess_record: Input[Record] | None = None,
    measure_record: Input[Record] | None = None,
    metrics_record: Input[Record] | None = None,
    max_side: int = 4096,
) -> None:
    """Show what was found: cells outlined on their images, and a page for each image.

    A page is whole in itself: the image with outlines to switch, zoom and point at, measurements,
    accuracy where there is truth, quality, and each stage's time and memory.

    Args:
        images: Batch of images, array `image` (Y, X, C), the original pixels.
        labels: Batch with arrays `whole_cell` and `nuclear`, or one of them, (Y, X) int32.
        measurements: Batch with a file `<name>.parquet` per image, one row an object.
        reports: Batch with files `<name>.html`, the page, and `<name>.png`, the overlay, per
            image; attributes hold what a summary needs.
        html: The page of the image, or an index where there are several.
        record: What was done, with times and versions.
        scores: Batch with a file `<name>.json` per image, scores against truth.
        truth: Batch of true label images, array `labels`; entries without arrays have none.
        conversion_record: Record of the stage that read the images.
        preprocess_record: Record of preprocessing.
        predict_record: Record of prediction.
        postprocess_record: Record of post-processing.
        measure_record: Record of measuring.
        metrics_record: Record of scoring.
        max_side: Longest side of overlays and of the pages' pictures in px; larger images are
            shown reduced by a whole factor.
    """
    if max_side < 16:
        raise BadInput("parameter max_side", expected="16 px or more", found=f"{max_side}")
    given = (
        conversion_record,
        preprocess_record,
        predict_record,
        postprocess_record,
        measure_record,
        metrics_record,
    )
    records = [_read_record(each) for each in given if each is not None]
    sources = _Sources(
        images=Batch.open(images.path),
        labels=Batch.open(labels.path),
        measurements=Batch.open(measurements.path),
        scores=None if scores is None else Batch.open(scores.path),
        truth=None if truth is None else Batch.open(truth.path),
    )
    summaries: dict[str, ImageSummary] = {}
    pages: dict[str, str] = {}
    totals = stage_totals(records)
    with BatchWriter(reports.path, attributes={"stages": totals}) as out:

        def work(entry: Entry) -> None:
            with record.step("read"):
                subject = _subject(sources, entry, records)
            with record.step("assess"):
                assessment = assess(subject)
            with record.step("draw overlay"):
                shown = shown_channels(subject.segmentation_channels, subject.image.shape[2])
                picture = overlay_png(subject.image, subject.labels, shown, max_side)
            with out.open(entry.name, "png") as file:
                file.write(picture)
            with record.step("write page"):
                page = render_report(subject, assessment, max_side)
            with out.open(entry.name, "html") as file:
                file.write(page.encode("utf-8", "replace"))
            with record.step("summarise"):
                summary = summarise_image(subject, assessment, picture)
            out.annotate(entry.name, summary=summary.to_attributes())
            summaries[entry.name] = summary
            pages.clear()  # only a lone page is shown again; the rest need not be kept
            pages[entry.name] = page

        for_each_image(sources.passed_on(), work, writers=[out], record=record)
    if len(sources.labels.entries) == 1:
        write_text(html.path, next(iter(pages.values())).encode("utf-8", "replace").decode())
    else:
        rows = [
            summaries.get(entry.name) or ImageSummary(entry.name, entry.error)
            for entry in sources.passed_on()
        ]
        index = render_summary(Summary(rows, totals), f"Batch of {len(rows)} images", links=False)
        write_text(html.path, index)
    skipped = len(sources.labels.entries) - len(summaries)
    reports.metadata["images"], reports.metadata["skipped"] = len(summaries), skipped
