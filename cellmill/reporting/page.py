"""The report of one image: a page that is whole in itself."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from PIL import Image

from cellmill.reporting.accuracy import Accuracy, accuracy_of
from cellmill.reporting.cells import Column, columns_of, title_of, with_truth
from cellmill.reporting.charts import histogram
from cellmill.reporting.display import (
    MAX_SIDE,
    compose,
    reduce_channels,
    reduce_labels,
    reduction,
    shown_channels,
)
from cellmill.reporting.overlay import check_shapes, colour_of, encode_png, outline_png
from cellmill.reporting.packing import pack_columns, pack_labels
from cellmill.reporting.quality import (
    ChannelQuality,
    ObjectQuality,
    channel_quality,
    object_quality,
)
from cellmill.reporting.text import MISSING, fixed, number, percent
from cellmill.reporting.timing import image_seconds, stage_rows, stage_totals
from cellmill.version import __version__

#: A base picture whose PNG is larger than this travels as JPEG.
PNG_LIMIT = 4 << 20
_JPEG_QUALITY = 92
_SATURATED_WARNING = 0.01
_OUTLIER_WARNING = 0.05
OBJECTS = {"whole_cell": "Cell", "nuclear": "Nucleus"}
OBJECTS_PLURAL = {"whole_cell": "cells", "nuclear": "nuclei"}
_QUALITY_HEADS = ("Min", "Max", "Mean", "Saturated", "Zero", "Focus")


@dataclass(frozen=True)
class Subject:
    """What a report is about.

    Attributes:
        name: the image's name.
        image: ``(Y, X, C)``, the original pixels; may be a memory map.
        channel_names: one name for each of C.
        segmentation_channels: indices into C as handed to the model, -1 for a blank one.
        labels: ``(Y, X)`` label images by compartment.
        measurements: by compartment, columns ``(n,)`` by name, with ``label`` and ``area_px``.
        truth: ``(Y, X)`` label images by compartment; none where there is none.
        scores: by compartment, what ``cellmill.metrics.evaluate`` says; none without truth.
        mpp: pixel size (y, x) in microns, None where unknown.
        mpp_source: where it came from.
        source: where the image came from.
        model: name and version of the model, empty where unknown.
        records: the records of the stages, in order.
    """

    name: str
    image: np.ndarray
    channel_names: Sequence[str]
    segmentation_channels: Sequence[int]
    labels: Mapping[str, np.ndarray]
    measurements: Mapping[str, Mapping[str, np.ndarray]]
    truth: Mapping[str, np.ndarray] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    mpp: tuple[float, float] | None = None
    mpp_source: str = "unknown"
    source: str = ""
    model: str = ""
    records: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Assessment:
    """The quality of a subject: of its channels, by index, and of its objects, by compartment."""

    channels: Mapping[int, ChannelQuality]
    objects: Mapping[str, ObjectQuality]


def assess(subject: Subject) -> Assessment:
    """Measure the quality of a subject's segmented channels (all, if none is named) and objects."""
    height, width, count = subject.image.shape
    named = [c for c in dict.fromkeys(subject.segmentation_channels) if 0 <= c < count]
    return Assessment(
        channels={
            c: channel_quality(subject.image[..., c]) for c in (named or range(min(count, 1)))
        },
        objects={
            compartment: object_quality(table["area_px"], (height, width), subject.mpp)
            for compartment, table in subject.measurements.items()
        },
    )


def render_report(
    subject: Subject, assessment: Assessment | None = None, max_side: int = MAX_SIDE
) -> str:
    """Write the report of one image.

    Args:
        subject: what it is about.
        assessment: its quality, where it has been measured already.
        max_side: an image with a longer side is shown reduced by a whole factor.

    Returns:
        HTML that asks nothing of the network. It works from a file, in a sandboxed frame, and
        without its script (then without zoom and pointing).

    Raises:
        BadInput: image and labels are not of one shape.
    """
    check_shapes(subject.image, {**subject.labels})
    check_shapes(subject.image, {f"truth {k}": v for k, v in subject.truth.items()})
    assessment = assessment or assess(subject)
    factor = reduction(subject.image.shape, max_side)
    shown = shown_channels(subject.segmentation_channels, subject.image.shape[2])
    names = [_channel_name(subject, c) for c in shown]
    base = compose(reduce_channels(subject.image, shown, factor))
    layers = [*_layers(subject, names, factor, truth=True), *_layers(subject, names, factor)]
    accuracies = [accuracy_of(c, scores) for c, scores in subject.scores.items()]
    totals = stage_totals(subject.records)
    rows, whole = stage_rows(
        totals, image_seconds(subject.records, subject.name), subject.records
    )
    picture, lossless = data_uri(base)
    page = {
        "name": subject.name,
        "version": __version__,
        "facts": _facts(subject, names),
        "warnings": _warnings(subject, assessment),
        "figures": _figures(subject, assessment, accuracies),
        "layers": sorted(layers, key=lambda layer: layer["truth"]),
        "has_truth": bool(subject.truth),
        "channels": names,
        "alt": _alt(subject, assessment),
        "image": picture,
        "width": base.shape[1],
        "height": base.shape[0],
        "caption": _caption(names, factor, lossless, subject),
        "accuracies": accuracies,
        "distributions": _distributions(subject, names),
        "quality_heads": _QUALITY_HEADS,
        "quality": [_quality_row(subject, c, q) for c, q in assessment.channels.items()],
        "objects": [{"title": _plural(c).capitalize()} for c in assessment.objects],
        "object_rows": _object_rows(subject, assessment),
        "mpp_text": mpp_text(subject.mpp, subject.mpp_source),
        "stages": rows,
        "stage_total": whole,
        "stages_by_image": True,
        "stages_title": "Whole batch" if _many_images(subject.records) else "Whole stage",
        "stages_note": "Time and memory of this page’s own stage are in its record.",
        "viewer": _viewer(subject, base.shape, names, layers, factor),
    }
    return render("report.html.jinja", page, script="report.js")


def render(template: str, page: Mapping[str, Any], script: str) -> str:
    """Fill a template of this package, with its style sheet and a script written into the page."""
    return _environment().get_template(template).render(
        page=page, style=_asset("report.css"), script=_asset(script)
    )


def data_uri(pixels: np.ndarray) -> tuple[str, bool]:
    """Return a picture as a data URI: PNG, or JPEG where that would be too large.

    Returns:
        The URI, and whether it shows every pixel as it is.
    """
    png = encode_png(pixels)
    if len(png) <= PNG_LIMIT:
        return _uri(png, "png"), True
    return _uri(jpeg(pixels, _JPEG_QUALITY), "jpeg"), False


def jpeg(pixels: np.ndarray, quality: int) -> bytes:
    """Return uint8 greys ``(Y, X)`` or RGB ``(Y, X, 3)`` as a JPEG file, colours not subsampled."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def mpp_text(mpp: tuple[float, float] | None, source: str) -> str:
    """Say a pixel size and where it came from."""
    if mpp is None:
        return "unknown"
    if math.isclose(*mpp, rel_tol=1e-6):
        return f"{number(mpp[1], 4)} µm/px ({source})"
    return f"{number(mpp[1], 4)} × {number(mpp[0], 4)} µm/px, x × y ({source})"


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("cellmill.reporting", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _asset(name: str) -> Markup:
    return Markup((files("cellmill.reporting") / name).read_text(encoding="utf-8"))


def _uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _layers(
    subject: Subject, shown: Sequence[str], factor: int, truth: bool = False
) -> list[dict[str, Any]]:
    images = subject.truth if truth else subject.labels
    layers = []
    for compartment in sorted(images, key=lambda name: name == "nuclear"):
        labels = reduce_labels(images[compartment], factor)
        colour = colour_of(compartment, truth)
        packed = pack_labels(labels)
        table = None if truth else subject.measurements.get(compartment)
        if table is not None and compartment in subject.truth:
            table = with_truth(table, images[compartment], subject.truth[compartment])
        columns = columns_of(table, shown) if table is not None else []
        title = _plural(compartment)
        layers.append(
            {
                "key": f"truth-{compartment}" if truth else compartment,
                "title": f"Truth, {title}" if truth else f"{title.capitalize()}, segmented",
                "object": f"True {_singular(compartment).lower()}"
                if truth
                else _singular(compartment),
                "truth": truth,
                "colour": colour,
                "picture": _uri(outline_png(labels, colour), "png"),
                "packed": packed.data,
                "table": pack_columns([c.values for c in columns]) if columns else "",
                "runs": packed.runs,
                "labelBytes": packed.label_bytes,
                "lengthBytes": packed.length_bytes,
                "diameter": _median_diameter(labels),
                "rows": len(columns[0].values) if columns else 0,
                "fields": [_field(c) for c in columns],
            }
        )
    return layers


def _median_diameter(labels: np.ndarray) -> float:
    areas = np.unique(labels[labels > 0], return_counts=True)[1]
    return float(2 * np.sqrt(np.median(areas) / np.pi)) if areas.size else 0.0


def _field(column: Column) -> dict[str, Any]:
    return {
        "title": column.title,
        "unit": column.unit,
        "kind": "yes-no" if column.yes_no else "number",
        "brief": column.brief,
    }


def _viewer(
    subject: Subject,
    shape: Sequence[int],
    names: Sequence[str],
    layers: Sequence[Mapping[str, Any]],
    factor: int,
) -> dict[str, Any]:
    """What the page's script is told; ``layers`` in the order they are drawn."""
    carried = ("key", "object", "truth", "colour", "diameter", "runs", "labelBytes", "lengthBytes")
    return {
        "width": shape[1],
        "height": shape[0],
        "factor": factor,
        "mpp": subject.mpp,
        "channels": list(names),
        "layers": [{key: layer[key] for key in (*carried, "rows", "fields")} for layer in layers],
    }


def _facts(subject: Subject, names: Sequence[str]) -> list[str]:
    height, width, _ = subject.image.shape
    facts = [
        f"{width:,} × {height:,} px",
        str(subject.image.dtype),
        " and ".join(names) or "no channel",
        f"pixel size {mpp_text(subject.mpp, subject.mpp_source)}",
    ]
    if subject.model:
        facts.append(f"model {subject.model}")
    if subject.source:
        facts.append(f"from {subject.source}")
    return facts


def _figures(
    subject: Subject, assessment: Assessment, accuracies: Sequence[Accuracy]
) -> list[dict[str, str]]:
    figures = []
    scale = 1.0 if subject.mpp is None else subject.mpp[0] * subject.mpp[1]
    unit = "px" if subject.mpp is None else "µm²"
    for index, (compartment, objects) in enumerate(assessment.objects.items()):
        name, one = _plural(compartment), _singular(compartment).lower()
        figures.append(_figure(name.capitalize(), number(objects.count)))
        if objects.count:
            title = f"Median {one} area"
            figures.append(_figure(title, number(objects.median_area_px * scale), unit))
        if objects.count and index == 0:
            title = f"Median {one} diameter"
            figures.append(_figure(title, number(objects.median_diameter_px), "px"))
        if objects.per_mm2 is not None and index == 0:
            figures.append(_figure("Density", number(objects.per_mm2), f"{name}/mm²"))
    for accuracy in accuracies:
        suffix = f", {accuracy.title.lower()}" if len(accuracies) > 1 else ""
        figures.append(_figure(f"F1 at IoU 0.5{suffix}", accuracy.f1_50))
        figures.append(_figure(f"AP at IoU 0.5{suffix}", accuracy.ap_50))
    return figures


def _figure(title: str, value: str, unit: str = "") -> dict[str, str]:
    return {"title": title, "value": value, "unit": unit}


def _warnings(subject: Subject, assessment: Assessment) -> list[str]:
    lines = []
    if subject.mpp is None:
        diameters = [
            f"{number(q.median_diameter_px)} px for {_plural(c)}"
            for c, q in assessment.objects.items()
            if q.count
        ]
        found = f" The median diameter found is {' and '.join(diameters)}." if diameters else ""
        lines.append(
            "The pixel size is unknown, so the image was segmented at its own scale and nothing is "
            f"given in microns.{found} If that is not near the size of the cells the model was "
            "trained on, give the pixel size (MPP)."
        )
    for index, quality in assessment.channels.items():
        name = _channel_name(subject, index)
        if quality.empty:
            lines.append(f"Channel {name} is empty: every pixel is {number(quality.minimum)}.")
        elif (quality.saturated_fraction or 0) > _SATURATED_WARNING:
            lines.append(
                f"Channel {name} is saturated in {percent(quality.saturated_fraction)} of its "
                "pixels: intensities there are lower bounds."
            )
    for compartment, objects in assessment.objects.items():
        name = _plural(compartment)
        if not objects.count:
            lines.append(f"No {name} were found.")
        elif objects.outliers > _OUTLIER_WARNING * objects.count:
            lines.append(
                f"{objects.outliers:,} of {objects.count:,} {name} are far larger or smaller than "
                "the rest: look for merged or broken ones."
            )
    return lines


def _distributions(subject: Subject, names: Sequence[str]) -> list[dict[str, Any]]:
    charts = []
    for compartment, table in subject.measurements.items():
        known_scale = subject.mpp is not None and "area_um2" in table
        wanted = [("area_um2", "Area, µm²") if known_scale else ("area_px", "Area, px")]
        wanted += [(f"mean_{name}", f"Mean intensity, {name}") for name in names]
        for key, label in wanted:
            if key not in table:
                continue
            quantum = {"area_px": 1.0, "area_um2": math.prod(subject.mpp or (1, 1))}.get(key, 0.0)
            svg = histogram(table[key], label, counted=_plural(compartment), quantum=quantum)
            if svg:
                title = f"{_singular(compartment)}: {title_of(key).lower()}"
                if key.startswith("mean_"):
                    title = f"{_singular(compartment)}: mean {key.removeprefix('mean_')}"
                charts.append({"title": title, "svg": Markup(svg)})
    return charts


def _quality_row(subject: Subject, index: int, quality: ChannelQuality) -> dict[str, Any]:
    saturated = quality.saturated_fraction
    cells = [
        (number(quality.minimum), quality.empty),
        (number(quality.maximum), quality.empty),
        (number(quality.mean), False),
        (percent(saturated), (saturated or 0) > _SATURATED_WARNING),
        (percent(quality.zero_fraction), quality.empty and quality.minimum == 0),
        (fixed(quality.focus, 3) if not quality.empty else MISSING, False),
    ]
    return {
        "name": _channel_name(subject, index),
        "cells": [{"text": text, "flag": flag} for text, flag in cells],
    }


def _object_rows(subject: Subject, assessment: Assessment) -> list[dict[str, Any]]:
    objects = assessment.objects.values()
    rows = [
        ("Count", [number(q.count) for q in objects]),
        ("Per mm²", [number(q.per_mm2) for q in objects]),
        ("Median area, px", [number(q.median_area_px) for q in objects]),
        ("Median diameter, px", [number(q.median_diameter_px) for q in objects]),
        ("Area outliers", [number(q.outliers) for q in objects]),
    ]
    touching = [table.get("touches_edge") for table in subject.measurements.values()]
    if all(column is not None for column in touching):
        rows.append(("Touch the edge", [number(int(np.sum(column))) for column in touching]))
    return [{"title": title, "cells": cells} for title, cells in rows]


def _caption(names: Sequence[str], factor: int, lossless: bool, subject: Subject) -> str:
    parts = []
    if len(names) == 2:
        parts.append(f"{names[0]} in magenta, {names[1]} in green.")
    parts.append("Contrast is stretched between the 0.5th and 99.5th percentiles.")
    if factor > 1:
        parts.append(
            f"Shown reduced 1 : {factor}; outlines are of the reduced label image, so objects "
            f"under {factor} px may not show. Measurements are of the full image."
        )
    if not lossless:
        parts.append("The picture is JPEG-compressed for this page.")
    if subject.truth:
        parts.append("Truth is outlined in dashes.")
    return " ".join(parts)


def _alt(subject: Subject, assessment: Assessment) -> str:
    counts = [f"{q.count:,} {_plural(c)}" for c, q in assessment.objects.items()]
    return f"Image {subject.name} with outlines of {' and '.join(counts) or 'no objects'}."


def _channel_name(subject: Subject, index: int) -> str:
    names = subject.channel_names
    return (names[index] if index < len(names) else "") or f"channel {index}"


def _singular(compartment: str) -> str:
    return OBJECTS.get(compartment, compartment.replace("_", " ").capitalize())


def _plural(compartment: str) -> str:
    return OBJECTS_PLURAL.get(compartment, compartment.replace("_", " "))


def _many_images(records: Sequence[Mapping[str, Any]]) -> bool:
    return any(len(record.get("images", ())) > 1 for record in records)
