"""The stage that shows what was found: overlays and one page for each image."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.compute
import pyarrow.parquet

from cellmill.arrays.batch import Batch, BatchWriter, Entry
from cellmill.arrays.files import stage_file, write_text
from cellmill.arrays.windows import Windowed
from cellmill.compartments import Compartment, compartments_of, planes_of
from cellmill.contract import HTML, Dataset, Input, Output, Record, for_each_image
from cellmill.errors import BadInput
from cellmill.measurement.table import channel_suffixes
from cellmill.memory import give_back
from cellmill.metrics.evaluation import FORMAT as SCORES_FORMAT
from cellmill.reporting.display import show, shown_channels
from cellmill.reporting.image_summary import ImageSummary, summarise_image
from cellmill.reporting.overlay import draw_outlines
from cellmill.reporting.page import render_report
from cellmill.reporting.pictures import encode_png
from cellmill.reporting.subject import Subject, assess
from cellmill.reporting.summary import Summary, render_summary
from cellmill.reporting.timing import stage_totals


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
    stitch_record: Input[Record] | None = None,
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
        stitch_record: Record of stitching, where the image was segmented in shards.
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
        stitch_record,
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
            give_back()
            with record.step("draw overlay"):
                channels = shown_channels(subject.segmentation_channels, subject.image.shape[2])
                shown = show(subject.image, subject.labels, channels, max_side)
                picture = draw_outlines(shown)
                png = encode_png(picture)
            with out.open(entry.name, "png") as file:
                file.write(png)
            give_back()
            with record.step("write page"):
                page = render_report(subject, assessment, max_side, shown)
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
        with stage_file(html.path) as file:
            shutil.copyfile(reports.path / f"{name}.html", file)
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

    def entry_of(self, batch: Batch | None, labels: Entry) -> Entry | None:
        """Return a batch's entry for some labels: by name, or where there is one of each, that."""
        if batch is None:
            return None
        if len(batch.entries) == len(self.labels.entries) == 1:
            return batch.entries[0]
        return next((each for each in batch.entries if each.name == labels.name), None)

    def passed_on(self) -> list[Entry]:
        """Return the entries of the labels, skipped where measuring had to skip."""
        passed = []
        for entry in self.labels.entries:
            measured = self.entry_of(self.measurements, entry)
            skipped = entry.ok and measured is not None and not measured.ok
            passed.append(measured if measured is not None and skipped else entry)
        return passed


def _subject(sources: _Sources, entry: Entry, records: Sequence[Mapping[str, Any]]) -> Subject:
    image_entry = sources.entry_of(sources.images, entry)
    if image_entry is None:
        raise BadInput(
            f"images '{sources.images.folder}'", expected=f"an entry '{entry.name}'", found="none"
        )
    image = sources.images.array(image_entry, "image")
    present = compartments_of(entry.arrays, f"labels of image '{entry.name}'")
    found: dict[str, Windowed] = {each: sources.labels.array(entry, each) for each in present}
    card = sources.labels.attributes.get("model") or {}
    scores = _scores(sources, entry, list(found))
    return Subject(
        name=entry.name,
        image=image,
        channel_names=channel_suffixes(image_entry.channels, image.shape[2]),
        segmentation_channels=image_entry.attributes.get("segmentation_channels", [0]),
        labels=found,
        measurements=_measurements(sources, entry, list(found)),
        truth=_truth(sources, entry, [c for c in present if c in (scores or found)]),
        scores=scores,
        mpp=image_entry.mpp,
        mpp_source=image_entry.mpp_source,
        source=str(image_entry.attributes.get("source", "")),
        model=f"{card.get('name', '')} {card.get('version', '')}".strip(),
        records=records,
        remarks=_remarks(sources, entry, records),
    )


def _measurements(
    sources: _Sources, entry: Entry, compartments: Sequence[str]
) -> dict[str, dict[str, np.ndarray]]:
    """Read a table of measurements; columns of numbers, missing ones as NaN, by compartment."""
    batch = sources.measurements
    path = batch.file(sources.entry_of(batch, entry) or batch.entry(entry.name), "parquet")
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
    found = {}
    for compartment in compartments:
        mine = table.filter(pyarrow.compute.equal(table["compartment"], compartment))
        found[compartment] = {
            key: mine[key].to_numpy()
            for key in mine.column_names
            if not pyarrow.types.is_string(table.schema.field(key).type)
        }
    return found


def _truth(
    sources: _Sources, entry: Entry, compartments: Sequence[Compartment]
) -> dict[str, Windowed]:
    """Read true labels by compartment, as the stage ``metrics`` reads them."""
    batch, found = sources.truth, sources.entry_of(sources.truth, entry)
    if batch is None or found is None or not found.arrays:
        return {}
    named: dict[str, Windowed] = {
        c: batch.array(found, c) for c in compartments if c in found.arrays
    }
    if named:
        return named
    labels = batch.array(found, "labels")
    planes: dict[str, Windowed] = {}
    for name, plane in planes_of(labels, compartments, f"truth of image '{entry.name}'").items():
        planes[name] = plane
    return planes


def _scores(
    sources: _Sources, entry: Entry, compartments: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Read scores by compartment; none where the entry says that there is no truth."""
    batch, found = sources.scores, sources.entry_of(sources.scores, entry)
    if batch is None or found is None or "json" not in found.files:
        return {}
    path = batch.file(found, "json")
    document = _read_json(path, "scores")
    given = {c: document[c] for c in compartments if document.get(c)}
    for compartment, scores in given.items():
        if not isinstance(scores, dict) or scores.get("format") != SCORES_FORMAT:
            raise BadInput(
                f"scores '{path}', {compartment}", expected=SCORES_FORMAT, found="something else"
            )
    return given


def _remarks(
    sources: _Sources, entry: Entry, records: Sequence[Mapping[str, Any]]
) -> tuple[str, ...]:
    """Return what stages noticed about an image, and why it has no scores if it was skipped."""
    found = []
    for record in records:
        noticed = (record.get("notes") or {}).get("remarks")
        if isinstance(noticed, Mapping):
            found += [f"{line[:1].upper()}{line[1:]}." for line in noticed.get(entry.name, ())]
    scored = sources.entry_of(sources.scores, entry)
    if scored is not None and not scored.ok:
        found.append(f"Not scored: {scored.error}.")
    return tuple(found)


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
