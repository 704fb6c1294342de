"""The report of one image: a page that is whole in itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from cellmill.compute.memory import give_back
from cellmill.labels.kinds import plural, singular
from cellmill.reporting.accuracy import Accuracy, accuracy_of
from cellmill.reporting.cells import title_of
from cellmill.reporting.channels import other_channels
from cellmill.reporting.charts import histogram
from cellmill.reporting.costs import run_cost
from cellmill.reporting.display import MAX_SIDE, Shown, check_shapes, show, shown_channels
from cellmill.reporting.layers import layers_of, viewer_data
from cellmill.reporting.pictures import picture_uri
from cellmill.reporting.quality import ChannelQuality
from cellmill.reporting.subject import (
    SATURATED_WARNING,
    Assessment,
    Subject,
    assess,
    channel_name,
    mpp_text,
    warnings_of,
)
from cellmill.reporting.text import MISSING, channel_title, fixed, number, percent
from cellmill.reporting.timing import image_seconds, stage_rows, stage_totals
from cellmill.terminal import printable
from cellmill.version import __version__

_QUALITY_HEADS = ("Min", "Max", "Mean", "Saturated", "Zero", "Focus")


def render_report(
    subject: Subject,
    assessment: Assessment | None = None,
    max_side: int = MAX_SIDE,
    shown: Shown | None = None,
) -> str:
    """Write the report of one image.

    Args:
        subject: what it is about.
        assessment: its quality, where it has been measured already.
        max_side: an image with a longer side is shown reduced by a whole factor.
        shown: image and labels as `show` reduces them within that bound, where they are at hand.

    Returns:
        HTML that asks nothing of the network. It works from a file, in a sandboxed frame, and
        without its script (then without zoom and pointing).

    Raises:
        BadInput: image and labels are not of one shape.
    """
    check_shapes(subject.image, {f"truth {k}": v for k, v in subject.truth.items()})
    assessment = assessment or assess(subject)
    channels = shown_channels(subject.segmentation_channels, subject.image.shape[2])
    names = [channel_name(subject, c) for c in channels]
    shown = shown or show(subject.image, subject.labels, channels, max_side)
    base, factor = shown.base, shown.factor
    layers = layers_of(subject, names, shown, truth=True)
    give_back()
    layers += layers_of(subject, names, shown)
    give_back()
    titles = [channel_title(name) for name in names]
    one = "voxel" if subject.volume else "pixel"
    accuracies = [accuracy_of(c, scores, one) for c, scores in subject.scores.items()]
    totals = stage_totals(subject.records)
    many = _many_images(subject.records)
    cost = run_cost(totals, 0 if many else subject.image.shape[0] * subject.image.shape[1] / 1e9)
    spent = image_seconds(subject.records, subject.name)
    rows, whole = stage_rows(totals, spent, subject.records, cost)
    picture, lossless = picture_uri(base)
    more = other_channels(subject, channels)
    page = {
        "name": subject.name,
        "version": __version__,
        "facts": _facts(subject, titles),
        "warnings": warnings_of(subject, assessment),
        "figures": _figures(subject, assessment, accuracies),
        "layers": sorted(layers, key=lambda layer: layer["truth"]),
        "has_truth": bool(subject.truth),
        "channels": titles,
        "channel_colours": ("#f0f", "#0f0") if len(titles) == 2 else ("#fff",),
        "more_channels": more,
        "alt": _alt(subject, assessment),
        "image": picture,
        "width": base.shape[1],
        "height": base.shape[0],
        "caption": _caption(titles, factor, lossless, subject, bool(more)),
        "accuracies": accuracies,
        "distributions": _distributions(subject, names),
        "volume": subject.volume,
        "quality_heads": _QUALITY_HEADS,
        "quality": [_quality_row(subject, c, q) for c, q in assessment.channels.items()],
        "objects": [{"title": plural(c).capitalize()} for c in assessment.objects],
        "object_rows": _object_rows(subject, assessment),
        "mpp_text": mpp_text(subject.mpp, subject.mpp_source),
        "stages": rows,
        "stage_total": whole,
        "stages_by_image": True,
        "stages_title": "Whole batch" if many else "Whole stage",
        "stages_note": f"Time and memory of this page’s own stage are in its record. {cost.note}",
        "viewer": viewer_data(subject, base.shape, titles, layers, factor)
        | {"more": [{"key": each.key, "colour": each.colour} for each in more]},
    }
    return render("report.html.jinja", page, script="report.js")


def render(template: str, page: Mapping[str, Any], script: str = "") -> str:
    """Fill a template of this package, with its style sheet and a script written into the page."""
    code = _asset(script) if script else ""
    style = _asset("report.css")
    return _environment().get_template(template).render(page=page, style=style, script=code)


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("cellmill.reporting", "."),
        autoescape=True,
        finalize=_shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _shown(value: Any) -> Any:
    """Return what a template writes, a text without characters that would turn it round."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return "\n".join(map(printable, value.split("\n")))
    return value


@cache
def _asset(name: str) -> Markup:
    return Markup((files("cellmill.reporting") / name).read_text(encoding="utf-8"))


def _facts(subject: Subject, names: Sequence[str]) -> list[str]:
    height, width, _ = subject.image.shape
    volume = subject.volume
    depth = f" × {volume.shape[0]:,} planes" if volume else ""
    size = f"pixel size {mpp_text(subject.mpp, subject.mpp_source)}"
    if volume and volume.mpp:
        sides = " × ".join(number(side, 4) for side in volume.mpp[::-1])
        size = f"voxel size {sides} µm, x × y × z ({subject.mpp_source})"
    facts = [
        f"{width:,} × {height:,} px{depth}",
        str(subject.image.dtype),
        " and ".join(names) or "no channel",
        size,
    ]
    if subject.scaled_by and subject.scale != (1.0, 1.0):
        facts.append(_scale_fact(subject))
    if subject.model:
        found_by = "".join(f", {method.replace('_', ' ')}" for method in subject.methods)
        facts.append(f"model {subject.model}{found_by}")
    if subject.source:
        facts.append(f"from {subject.source}")
    if subject.truth_source is not None:
        truth = subject.truth_source
        why = f", paired by {truth.pairing}" if truth.pairing else ""
        facts.append(f"truth from {truth.source}{why}; {truth.decision or 'labels'}")
    return facts


def _scale_fact(subject: Subject) -> str:
    """At how many times its size an image was segmented, and why."""
    factor = math.sqrt(math.prod(subject.scale))
    diameter = f"{number(subject.diameter)} px"
    why = {
        "diameter": f"for a given diameter of {diameter}",
        "auto": f"for an estimated diameter of {diameter}",
        "mpp": "by its pixel size",
    }[subject.scaled_by]
    return f"segmented at {factor:.3g} times its size, {why}"


def _figures(
    subject: Subject, assessment: Assessment, accuracies: Sequence[Accuracy]
) -> list[dict[str, str]]:
    figures = []
    volume = subject.volume
    scale = math.prod((volume.mpp if volume else subject.mpp) or ())
    plain, measured = ("voxels", "µm³") if volume else ("px", "µm²")
    unit = plain if subject.mpp is None else measured
    for index, (compartment, objects) in enumerate(assessment.objects.items()):
        name, one = plural(compartment), singular(compartment)
        figures.append(_figure(name.capitalize(), number(objects.count)))
        if objects.count:
            title = f"Median {one} {'volume' if volume else 'area'}"
            figures.append(_figure(title, number(objects.median_area_px * scale), unit))
        if objects.count and index == 0 and not volume:
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


def _distributions(subject: Subject, names: Sequence[str]) -> list[dict[str, Any]]:
    charts = []
    for compartment, table in subject.measurements.items():
        wanted = [_size_shown(subject)]
        wanted += [(f"mean_{name}", f"Mean intensity, {channel_title(name)}") for name in names]
        for key, label in wanted:
            if key not in table:
                continue
            voxel = subject.volume.mpp if subject.volume else None
            quantum = {
                "area_px": 1.0,
                "area_um2": math.prod(subject.mpp or (1, 1)),
                "volume_px": 1.0,
                "volume_um3": math.prod(voxel or (1, 1)),
            }.get(key, 0.0)
            svg = histogram(table[key], label, counted=plural(compartment), quantum=quantum)
            if svg:
                title = f"{singular(compartment).capitalize()}: {title_of(key).lower()}"
                if key.startswith("mean_"):
                    title = (
                        f"{singular(compartment).capitalize()}: mean "
                        f"{channel_title(key.removeprefix('mean_'))}"
                    )
                charts.append({"title": title, "svg": Markup(svg)})
    return charts


def _size_shown(subject: Subject) -> tuple[str, str]:
    """The column of sizes that is charted, and its title."""
    if subject.volume:
        return (
            ("volume_px", "Volume, voxels")
            if subject.mpp is None
            else ("volume_um3", "Volume, µm³")
        )
    return ("area_px", "Area, px") if subject.mpp is None else ("area_um2", "Area, µm²")


def _quality_row(subject: Subject, index: int, quality: ChannelQuality) -> dict[str, Any]:
    saturated = quality.saturated_fraction
    cells = [
        (number(quality.minimum), quality.empty),
        (number(quality.maximum), quality.empty),
        (number(quality.mean), False),
        (percent(saturated), (saturated or 0) > SATURATED_WARNING),
        (percent(quality.zero_fraction), quality.empty and quality.minimum == 0),
        (fixed(quality.focus, 3) if not quality.empty else MISSING, False),
    ]
    return {
        "name": channel_title(channel_name(subject, index)),
        "cells": [{"text": text, "flag": flag} for text, flag in cells],
    }


def _object_rows(subject: Subject, assessment: Assessment) -> list[dict[str, Any]]:
    objects = assessment.objects.values()
    size = "volume, voxels" if subject.volume else "area, px"
    rows = [
        ("Count", [number(q.count) for q in objects]),
        ("Per mm²", [number(q.per_mm2) for q in objects]),
        (f"Median {size}", [number(q.median_area_px) for q in objects]),
        ("Median diameter, px", [number(q.median_diameter_px) for q in objects]),
        (f"{size.split(',')[0].capitalize()} outliers", [number(q.outliers) for q in objects]),
    ]
    tables = subject.measurements.values()
    if all("touches_edge" in table for table in tables):
        rows.append(("Touch the edge", [number(int(t["touches_edge"].sum())) for t in tables]))
    return [{"title": title, "cells": cells} for title, cells in rows]


def _caption(
    names: Sequence[str], factor: int, lossless: bool, subject: Subject, more: bool
) -> str:
    parts = []
    if subject.volume:
        parts.append(
            "Seen along Z: the brightest voxel, and the object that is brightest on average."
        )
    if len(names) == 2:
        parts.append(f"{names[0]} in magenta, {names[1]} in green.")
    if more:
        parts.append("Other channels can be added in colours of their own, at most 1024 px a side.")
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
    counts = [f"{q.count:,} {plural(c)}" for c, q in assessment.objects.items()]
    return f"Image {subject.name} with outlines of {' and '.join(counts) or 'no objects'}."


def _many_images(records: Sequence[Mapping[str, Any]]) -> bool:
    return any(len(record.get("images", ())) > 1 for record in records)
