"""The stage that shows what was found: overlays and one page for each image."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet

from cellmill.arrays.batch import Batch, BatchWriter, Entry
from cellmill.arrays.files import write_text
from cellmill.contract import HTML, Dataset, Input, Output, Record, for_each_image
from cellmill.errors import BadInput
from cellmill.measurement.table import channel_suffixes
from cellmill.reporting.display import shown_channels
from cellmill.reporting.image_summary import ImageSummary, summarise_image
from cellmill.reporting.overlay import overlay_png
from cellmill.reporting.page import render_report
from cellmill.reporting.subject import Subject, assess
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
    on_bad_image: Literal["fail", "skip"] = "fail",
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
        on_bad_image: What to do with an image that cannot be shown: fail, or skip it and go on.
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

        for_each_image(
            sources.passed_on(), work, writers=[out], record=record, on_bad_image=on_bad_image
        )
    if len(sources.labels.entries) == 1:
        name = sources.labels.entries[0].name
        write_text(html.path, (reports.path / f"{name}.html").read_text(encoding="utf-8"))
    else:
        rows = [
            summaries.get(name) or ImageSummary(name, timing.error)
            for name, timing in record.images.items()
        ]
        index = render_summary(Summary(rows, totals), f"Batch of {len(rows)} images", links=False)
        write_text(html.path, index)
    skipped = len(sources.labels.entries) - len(summaries)
    reports.metadata["images"], reports.metadata["skipped"] = len(summaries), skipped


@dataclass(frozen=True)
class _Sources:
    """The batches that a report is made from."""

    images: Batch
    labels: Batch
    measurements: Batch
    scores: Batch | None
    truth: Batch | None

    def passed_on(self) -> list[Entry]:
        """Return the entries of the labels, skipped where measuring had to skip."""
        measured = {entry.name: entry for entry in self.measurements.entries}
        return [
            measured[entry.name]
            if entry.ok and entry.name in measured and not measured[entry.name].ok
            else entry
            for entry in self.labels.entries
        ]


def _subject(sources: _Sources, entry: Entry, records: Sequence[Mapping[str, Any]]) -> Subject:
    image_entry = sources.images.entry(entry.name)
    image = sources.images.read(image_entry, "image")
    found = {c: sources.labels.read(entry, c) for c in COMPARTMENTS if c in entry.arrays}
    if not found:
        raise BadInput(
            f"'{entry.name}' in '{sources.labels.folder}'",
            expected=f"an array {' or '.join(COMPARTMENTS)}",
            found=", ".join(entry.arrays) or "no arrays",
        )
    card = sources.labels.attributes.get("model") or {}
    return Subject(
        name=entry.name,
        image=image,
        channel_names=channel_suffixes(image_entry.channels, image.shape[2]),
        segmentation_channels=image_entry.attributes.get("segmentation_channels", [0]),
        labels=found,
        measurements=_measurements(sources.measurements, entry.name, list(found)),
        truth=_truth(sources.truth, entry.name, list(found)),
        scores=_scores(sources.scores, entry.name, list(found)),
        mpp=image_entry.mpp,
        mpp_source=image_entry.mpp_source,
        source=str(image_entry.attributes.get("source", "")),
        model=f"{card.get('name', '')} {card.get('version', '')}".strip(),
        records=records,
        remarks=_remarks(sources, entry.name, records),
    )


def _measurements(
    batch: Batch, name: str, compartments: Sequence[str]
) -> dict[str, dict[str, np.ndarray]]:
    """Read a table of measurements; columns of numbers, missing ones as NaN, by compartment."""
    path = batch.file(batch.entry(name), "parquet")
    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise BadInput(f"measurements '{path}'", expected="Parquet", found=str(error)) from error
    missing = {"compartment", "label", "area_px"} - set(table.column_names)
    if missing:
        raise BadInput(
            f"measurements '{path}'",
            expected=f"columns {', '.join(sorted(missing))}",
            found=", ".join(table.column_names),
        )
    kinds = np.asarray(table["compartment"].to_pylist(), dtype=object)
    numbers = {
        key: table[key].to_numpy()
        for key in table.column_names
        if not pyarrow.types.is_string(table.schema.field(key).type)
    }
    return {c: {k: v[kinds == c] for k, v in numbers.items()} for c in compartments}


def _truth(batch: Batch | None, name: str, compartments: Sequence[str]) -> dict[str, np.ndarray]:
    """Read true labels by compartment: two are whole cells, then nuclei; one is of all alike."""
    entry = None if batch is None else _entry(batch, name)
    if batch is None or entry is None or "labels" not in entry.arrays:
        return {}
    labels = batch.read(entry, "labels")
    if labels.ndim == 2:
        return dict.fromkeys(compartments[:1], labels)
    return {c: labels[..., COMPARTMENTS.index(c)] for c in compartments}


def _scores(
    batch: Batch | None, name: str, compartments: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Read scores by compartment; none where the entry says that there is no truth."""
    entry = None if batch is None else _entry(batch, name)
    if batch is None or entry is None or "json" not in entry.files:
        return {}
    document = _read_json(batch.file(entry, "json"), "scores")
    return {c: document[c] for c in compartments if "matching" in (document.get(c) or {})}


def _remarks(
    sources: _Sources, name: str, records: Sequence[Mapping[str, Any]]
) -> tuple[str, ...]:
    """Return what stages noticed about an image, and why it has no scores if it was skipped."""
    found = []
    for record in records:
        noticed = (record.get("notes") or {}).get("remarks")
        if isinstance(noticed, Mapping):
            found += [f"{line[:1].upper()}{line[1:]}." for line in noticed.get(name, ())]
    scored = None if sources.scores is None else _entry(sources.scores, name)
    if scored is not None and not scored.ok:
        found.append(f"Not scored: {scored.error}.")
    return tuple(found)


def _entry(batch: Batch, name: str) -> Entry | None:
    return next((entry for entry in batch.entries if entry.name == name), None)


def _read_record(record: Record) -> dict[str, Any]:
    document = _read_json(record.path, "record")
    if not isinstance(document.get("stage"), str) or not isinstance(document.get("totals"), dict):
        raise BadInput(f"record '{record.path}'", expected="a stage's record", found="other JSON")
    return document


def _read_json(path: Path, what: str) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{what} '{path}'", expected="JSON", found=str(error)) from error
    if not isinstance(document, dict):
        raise BadInput(f"{what} '{path}'", expected="a JSON object", found=type(document).__name__)
    return document
