"""The summary of a run: every image, pooled accuracy, time; as a page, as CSV, as JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from cellmill.arrays.csv_tables import csv_text
from cellmill.labels.kinds import plural
from cellmill.metrics import pool
from cellmill.reporting.accuracy import accuracy_of, at_half
from cellmill.reporting.costs import RunCost, dollars, run_cost
from cellmill.reporting.image_summary import CompartmentSummary, ImageSummary
from cellmill.reporting.over_time import figures_over_time, over_time
from cellmill.reporting.page import render
from cellmill.reporting.text import MISSING, fixed, number, seconds
from cellmill.reporting.timing import stage_rows, stage_totals
from cellmill.version import __version__

#: Bytes of thumbnails that a page may carry; images past it go without.
THUMBNAIL_LIMIT = 16 << 20


@dataclass(frozen=True)
class Summary:
    """A run: its images in order, and the records of its stages, or what they were reduced to."""

    images: Sequence[ImageSummary]
    stages: Sequence[Mapping[str, Any]]

    @cached_property
    def compartments(self) -> list[str]:
        """Every compartment that any image has, in order of appearance."""
        return list(dict.fromkeys(c for image in self.images for c in image.compartments))

    @cached_property
    def pooled(self) -> dict[str, dict[str, Any]]:
        """Return `cellmill.metrics.pool` by compartment; only those with truth somewhere."""
        given = {
            compartment: [
                image.compartments[compartment].scores
                for image in self.images
                if compartment in image.compartments and image.compartments[compartment].scores
            ]
            for compartment in self.compartments
        }
        return {compartment: pool(scores) for compartment, scores in given.items() if scores}

    @cached_property
    def cost(self) -> RunCost:
        """Return what the stages cost, as far as that is known."""
        pixels = sum(image.pixels for image in self.images)
        return run_cost(stage_totals(self.stages), pixels / 1e9)


def summary_json(summary: Summary) -> str:
    """Write a summary as JSON: images, pooled accuracy, stages."""
    document = {
        "format": "cellmill-summary/1",
        "version": __version__,
        "images": [_plain(image) for image in summary.images],
        "pooled": summary.pooled,
        "stages": stage_totals(summary.stages),
        "cost": summary.cost.to_json(),
    }
    rows = over_time(summary.images)
    if rows:
        document["over_time"] = rows
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def summary_csv(summary: Summary) -> str:
    """Write a summary as CSV, a row an image; fields are empty where there is nothing to say.

    With one compartment its columns bear plain names, with more each begins with its own.
    """
    several = len(summary.compartments) > 1
    heads = ["name", "status", "error", "seconds", "warnings"]
    for compartment in summary.compartments:
        heads += [f"{compartment}_{key}" if several else key for key in _CSV_FIELDS]
    timed = any(image.t is not None for image in summary.images)
    heads += ["time_series", "t"] if timed else []
    rows = []
    for image in summary.images:
        row: list[Any] = [image.name, _status(image), image.error, _rounded(image.seconds)]
        row.append(len(image.warnings))
        for compartment in summary.compartments:
            found = image.compartments.get(compartment)
            values = _numbers(found) if found else {}
            row += [_rounded(values.get(key)) for key in _CSV_FIELDS]
        row += [image.time_series, _rounded(image.t)] if timed else []
        rows.append(row)
    return csv_text(heads, rows)


def render_summary(summary: Summary, title: str = "Summary", links: bool = True) -> str:
    """Write the page of a run or of a batch.

    Args:
        summary: what it is about.
        title: heading of the page.
        links: whether `<image name>/report.html` is to be had beside the page.
    """
    failed = [image for image in summary.images if image.error]
    thumbnails = _thumbnails(summary.images)
    rows, whole = stage_rows(stage_totals(summary.stages), cost=summary.cost)
    pools = summary.pooled
    page = {
        "title": title,
        "version": __version__,
        "facts": _facts(summary, failed),
        "warnings": _warnings(summary, failed),
        "figures": _figures(summary, pools),
        "thumbnails": any(thumbnails),
        "columns": _columns(summary),
        "rows": [
            {"thumbnail": thumbnail, "cells": _cells(summary, image, links)}
            for image, thumbnail in zip(summary.images, thumbnails, strict=True)
        ],
        "failed": [{"name": image.name, "error": image.error} for image in failed],
        "truths": _truths(summary),
        "over_time": [Markup(svg) for svg in figures_over_time(summary.images)],
        "accuracies": [accuracy_of(c, found["pooled"]) for c, found in pools.items()],
        "stages": rows,
        "stage_total": whole,
        "stages_by_image": False,
        "stages_title": "Time",
        "stages_note": "Added up over batches; of peak memory the greatest. "
        "The time of reading the model, of exporting labels, of the reports and of the summary is "
        f"in their records. {summary.cost.note}",
    }
    return render("summary.html.jinja", page, script="sort.js")


_AT_HALF = ("average_precision", "f1", "precision", "recall")
_CSV_FIELDS = (
    "count",
    "per_mm2",
    "median_area_um2",
    "median_area_px",
    "median_diameter_px",
    "outliers",
    *(f"{key}_50" for key in _AT_HALF),
)


def _numbers(found: CompartmentSummary) -> dict[str, Any]:
    values = {key: value for key, value in vars(found).items() if key != "scores"}
    half = at_half(found.scores) if found.scores else {}
    return {**values, **{f"{key}_50": half.get(key) for key in _AT_HALF}}


def _plain(image: ImageSummary) -> dict[str, Any]:
    return {
        "name": image.name,
        "status": _status(image),
        "error": image.error,
        "seconds": image.seconds,
        "pixels": image.pixels or None,
        "source": image.source or None,
        "truth": vars(image.truth) if image.truth else None,
        "warnings": list(image.warnings),
        "compartments": {
            key: {**_numbers(found), "scores": dict(found.scores) or None}
            for key, found in image.compartments.items()
        },
    }


def _status(image: ImageSummary) -> str:
    return "skipped" if image.error else "ok"


def _rounded(value: Any) -> Any:
    if value is None:
        return ""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _thumbnails(images: Sequence[ImageSummary]) -> list[str]:
    kept, spent = [], 0
    for image in images:
        spent += len(image.thumbnail)
        kept.append(image.thumbnail if spent <= THUMBNAIL_LIMIT else "")
    return kept


def _facts(summary: Summary, failed: Sequence[ImageSummary]) -> list[str]:
    done = len(summary.images) - len(failed)
    facts = [f"{len(summary.images):,} image{'s' * (len(summary.images) != 1)}", f"{done:,} done"]
    if failed:
        facts.append(f"{len(failed):,} left out")
    with_truth = sum(map(_has_truth, summary.images))
    facts.append(f"{with_truth:,} with truth" if with_truth else "no truth given")
    return facts


def _warnings(summary: Summary, failed: Sequence[ImageSummary]) -> list[str]:
    lines = []
    if failed:
        lines.append(f"{len(failed):,} of {len(summary.images):,} images were left out; see below.")
    done = [image for image in summary.images if not image.error and image.compartments]
    without = [image.name for image in done if not _has_truth(image)]
    if without and len(without) < len(done):
        named = ", ".join(without[:3]) + (", …" if len(without) > 3 else "")
        lines.append(f"{len(without):,} of {len(done):,} images have no truth: {named}.")
    unknown = sum(not image.mpp_known for image in done)
    if unknown:
        of = "an image is" if unknown == 1 else f"{unknown:,} images is"
        own = "it was segmented at its" if unknown == 1 else "they were segmented at their"
        lines.append(
            f"The pixel size of {of} unknown: {own} own scale, and nothing of it is in microns."
        )
    return lines


def _truths(summary: Summary) -> list[list[str]]:
    """Say of each image which file is its truth, why, and what it was taken for."""
    if not any(image.truth for image in summary.images):
        return []
    rows = []
    for image in summary.images:
        if image.truth is not None:
            about = [image.truth.source, image.truth.pairing, image.truth.decision]
            rows.append([image.name, *(text or MISSING for text in about)])
        elif not image.error:
            rows.append([image.name, MISSING if _has_truth(image) else "none", MISSING, MISSING])
    return rows


def _has_truth(image: ImageSummary) -> bool:
    return image.truth is not None or any(c.scores for c in image.compartments.values())


def _figures(summary: Summary, pools: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    figures = []
    several = len(summary.compartments) > 1
    for compartment in summary.compartments:
        found = [
            i.compartments[compartment] for i in summary.images if compartment in i.compartments
        ]
        name = plural(compartment)
        figures.append(_figure(name.capitalize(), number(sum(f.count for f in found))))
        densities = [f.per_mm2 for f in found if f.per_mm2 is not None]
        if densities:
            figures.append(
                _figure("Median density", number(statistics.median(densities)), f"{name}/mm²")
            )
        if compartment in pools:
            suffix = f", {name}" if several else ""
            first = at_half(pools[compartment]["pooled"])
            figures.append(_figure(f"Pooled F1 at IoU 0.5{suffix}", fixed(first["f1"])))
            figures.append(
                _figure(f"Pooled AP at IoU 0.5{suffix}", fixed(first["average_precision"]))
            )
    total = sum(stage["wall_s"] for stage in stage_totals(summary.stages))
    if total:
        figures.append(_figure("Time in stages", seconds(total)))
    if summary.cost.usd is not None:
        figures.append(_figure("Estimated cost", dollars(summary.cost.usd)))
        each = summary.cost.per_gigapixel(summary.cost.usd)
        figures.append(_figure("Cost per gigapixel", dollars(each)))
    return figures


def _figure(title: str, value: str, unit: str = "") -> dict[str, str]:
    return {"title": title, "value": value, "unit": unit}


def _columns(summary: Summary) -> list[dict[str, str]]:
    columns = [("Image", "text"), ("Status", "text")]
    several = len(summary.compartments) > 1
    for compartment in summary.compartments:
        name = plural(compartment)
        suffix = f", {name}" if several else ""
        columns.append((name.capitalize(), "number"))
        columns += [(f"{title}{suffix}", "number") for title in _TITLES]
    columns += [("Warnings", "number"), ("Time", "number")]
    return [{"title": title, "kind": kind} for title, kind in columns]


_TITLES = ("per mm²", "Median area, µm²", "Median diameter, px", "AP 0.5", "F1 0.5")
_KEYS = ("per_mm2", "median_area_um2", "median_diameter_px", "average_precision_50", "f1_50")


def _cells(summary: Summary, image: ImageSummary, links: bool) -> list[dict[str, Any]]:
    name = _cell(image.name, image.name, words=True)
    if links and not image.error:
        name["link"] = f"{quote(image.name, safe='')}/report.html"
    status = "left out" if image.error else "done"
    cells = [name, {**_cell(status, status, words=True), "bad": bool(image.error)}]
    for compartment in summary.compartments:
        found = image.compartments.get(compartment)
        values = _numbers(found) if found else {}
        cells.append(_cell(number(values.get("count")), values.get("count")))
        for key in _KEYS:
            value = values.get(key)
            cells.append(_cell(fixed(value) if key.endswith("_50") else number(value), value))
    cells.append(_cell(number(len(image.warnings) or None), len(image.warnings)))
    cells.append(_cell(seconds(image.seconds), image.seconds))
    return cells


def _cell(text: str, sort: Any, words: bool = False) -> dict[str, Any]:
    return {
        "text": text,
        "sort": "" if sort is None else sort,
        "words": words,
        "bad": False,
        "link": "",
    }
