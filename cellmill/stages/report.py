"""The stage that shows what was found: overlays and one page for each image."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow.compute
import pyarrow.parquet

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.arrays.files import stage_file, write_text
from cellmill.arrays.windows import Windowed
from cellmill.compute.memory import give_back
from cellmill.contract import (
    HTML,
    GroundTruth,
    Images,
    Input,
    Labels,
    Measurements,
    Output,
    Record,
    Reports,
    Scores,
    for_each_image,
    stage,
)
from cellmill.errors import BadInput
from cellmill.labels.kinds import kinds_in
from cellmill.measurement.table import channel_suffixes
from cellmill.metrics.evaluation import FORMAT as SCORES_FORMAT
from cellmill.reporting.display import show, shown_channels
from cellmill.reporting.image_summary import ImageSummary, summarise_image
from cellmill.reporting.overlay import draw_outlines
from cellmill.reporting.page import render_report
from cellmill.reporting.pictures import encode_png
from cellmill.reporting.subject import Subject, TruthSource, assess
from cellmill.reporting.summary import Summary, render_summary
from cellmill.reporting.timing import stage_totals
from cellmill.reporting.volumes import seen_along_z
from cellmill.stages.shared.time_points import SERIES, T
from cellmill.stages.shared.truth import truth_of
from cellmill.typed_json import read_object


@stage(image="imaging", family="reporting")
def report(
    images: Input[Images],
    labels: Input[Labels],
    measurements: Input[Measurements],
    reports: Output[Reports],
    html: Output[HTML],
    record: Output[Record],
    scores: Input[Scores] | None = None,
    truth: Input[GroundTruth] | None = None,
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
        images: Batch of images, array `image` (Y, X, C), or (Z, Y, X, C) of a volume, which is
            shown along Z, in three cuts and plane by plane; the original pixels.
        labels: Batch with an array a kind of object, as `whole_cell` or `nuclear`, (Y, X) or
            (Z, Y, X) int32.
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
    told = {"stages": totals, "libraries": _libraries(records)}
    with BatchWriter(reports.path, attributes=told) as out:

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
        write_text(html.path, _index(record, summaries, totals))
    skipped = len(sources.labels.entries) - len(summaries)
    reports.metadata["images"], reports.metadata["skipped"] = len(summaries), skipped


def _libraries(records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The versions that stages say they used; one name with several has them all."""
    found: dict[str, dict[str, None]] = {}
    for record in records:
        for name, version in (record.get("libraries") or {}).items():
            found.setdefault(str(name), {})[str(version)] = None
    return {name: ", ".join(versions) for name, versions in sorted(found.items())}


def _index(
    record: Record, summaries: Mapping[str, ImageSummary], totals: list[dict[str, Any]]
) -> str:
    """Render the page of a batch: its images in order, with why those without a page have none."""
    rows = [
        summaries.get(name) or ImageSummary(name, timing.error)
        for name, timing in record.images.items()
    ]
    return render_summary(Summary(rows, totals), f"Batch of {len(rows)} images", links=False)


@dataclass(frozen=True)
class _Sources:
    """The batches that a report is made from."""

    images: Batch
    labels: Batch
    measurements: Batch
    scores: Batch | None
    truth: Batch | None

    def entry_of(self, batch: Batch | None, labels: Entry) -> Entry | None:
        """Return a batch's entry for some labels, none where there is no such batch or entry."""
        return None if batch is None else batch.counterpart(labels, self.labels)

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
    present = kinds_in(entry.arrays, f"labels of image '{entry.name}'")
    found: dict[str, Windowed] = {each: sources.labels.array(entry, each) for each in present}
    card = sources.labels.attributes.get("model") or {}
    scores = _scores(sources, entry, list(found))
    true_entry = sources.entry_of(sources.truth, entry)
    true: dict[str, Windowed] = {}
    if sources.truth is not None and true_entry is not None:
        true = truth_of(sources.truth, true_entry, [c for c in present if c in (scores or found)])
    subject = Subject(
        name=entry.name,
        image=image,
        channel_names=channel_suffixes(image_entry.channels, image.shape[-1]),
        segmentation_channels=[
            *image_entry.attribute("segmentation_channels", tuple[int, ...], (0,))
        ],
        labels=found,
        measurements=_measurements(sources, entry, list(found)),
        truth=true,
        scores=scores,
        mpp=image_entry.mpp,
        mpp_source=image_entry.mpp_source,
        **_scale(entry),
        source=image_entry.attribute("source", str, ""),
        truth_source=_truth_source(sources, entry),
        model=f"{card.get('name', '')} {card.get('version', '')}".strip(),
        methods=_methods(card, present),
        records=records,
        remarks=_remarks(sources, entry, records),
        t=image_entry.attribute(T, int, None),
        time_series=image_entry.attribute(SERIES, str, ""),
    )
    return seen_along_z(subject) if len(image.shape) == 4 else subject


def _scale(entry: Entry) -> dict[str, Any]:
    """What a subject has of the scale that an image was segmented at."""
    scaling = entry.attribute("scaling", Mapping[str, Any], {})
    by, diameter = scaling.get("by", ""), scaling.get("diameter", 0.0)
    known = by in ("diameter", "auto", "mpp") and isinstance(diameter, int | float)
    return {
        "scale": entry.attribute("scale", tuple[float, ...], (1.0, 1.0)),
        "scaled_by": by if known else "",
        "diameter": float(diameter) if known else 0.0,
    }


def _methods(card: Mapping[str, Any], kinds: Sequence[str]) -> tuple[str, ...]:
    """Return the methods by which kinds of object were found, each once; none of what is unsaid."""
    said = card.get("postprocessing") or {}
    named = [str((said.get(kind) or {}).get("method", "")) for kind in kinds]
    return tuple(dict.fromkeys(filter(None, named)))


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
    size = "volume_px" if "volume_px" in table.column_names else "area_px"
    missing = {"compartment", "label", size} - set(table.column_names)
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


def _truth_source(sources: _Sources, entry: Entry) -> TruthSource | None:
    """Return where an image's truth came from, as the stage that read it says."""
    found = sources.entry_of(sources.truth, entry)
    if found is None or not found.attribute("source", str, "") or not found.arrays:
        return None
    return TruthSource(
        found.attribute("source", str, ""),
        found.attribute("pairing", str, ""),
        found.attribute("kind", str, ""),
        found.attribute("decision", str, ""),
    )


def _scores(
    sources: _Sources, entry: Entry, compartments: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Read scores by compartment; none where the entry says that there is no truth."""
    batch, found = sources.scores, sources.entry_of(sources.scores, entry)
    if batch is None or found is None or "json" not in found.files:
        return {}
    path = batch.file(found, "json")
    document = read_object(path, "scores")
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
    document = read_object(record.path, "record")
    if not isinstance(document.get("stage"), str) or not isinstance(document.get("totals"), dict):
        raise BadInput(f"record '{record.path}'", expected="a stage's record", found="other JSON")
    return document
