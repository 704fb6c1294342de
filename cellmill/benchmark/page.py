"""A benchmark's page and its numbers as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from markupsafe import Markup

from cellmill.benchmark.guidelines import Guideline, guidelines
from cellmill.benchmark.plots import Figure, figures
from cellmill.benchmark.regressions import TOLERANCE, Compared, compare
from cellmill.benchmark.results import Measured, Results, is_busy, labels, results_of
from cellmill.benchmark.statistics import CONFIDENCE, Mean
from cellmill.benchmark.tables import Row
from cellmill.reporting.costs import dollars
from cellmill.reporting.page import render
from cellmill.reporting.text import fixed, number, seconds, size
from cellmill.typed_json import without_nan
from cellmill.version import __version__

_HEADS = ("What", "Size", "Objects", "F1", "Image in all")
#: How many times as densely objects may lie at one size as at another.
_UNEVEN = 1.5
_LAST_HEADS = ("Processor time", "First image", "Peak memory", "Speed")


@dataclass(frozen=True)
class Report:
    """All that a page says.

    Attributes:
        rows: of the table.
        results: gathered from them.
        figures: drawn from the results.
        guidelines: written from them.
        compared: with a baseline; None without.
    """

    rows: Sequence[Row]
    results: Results
    figures: Sequence[Figure]
    guidelines: Sequence[Guideline]
    compared: Compared | None

    @classmethod
    def of(
        cls,
        rows: Sequence[Row],
        baseline: Sequence[Row] = (),
        prices: Mapping[str, float] | None = None,
    ) -> Report:
        """Gather, draw and write what a table says.

        Args:
            rows: of the table.
            baseline: rows of a stored table to compare with.
            prices: US dollars an hour by the machine's name, before the table of prices.
        """
        results = results_of(rows, prices)
        compared = compare(results, results_of(baseline)) if baseline else None
        return cls(rows, results, figures(results), guidelines(results), compared)


def render_benchmark(report: Report) -> str:
    """Write the page.

    Returns:
        HTML that asks nothing of the network.
    """
    measured = report.results.measured
    stages = [*dict.fromkeys(stage for each in measured for stage in each.stages)]
    names = labels([each.setting for each in measured])
    hosts = [*dict.fromkeys(row["machine"] for row in report.rows)]
    page = {
        "title": "Benchmark on " + (hosts[0] if len(hosts) == 1 else f"{len(hosts)} machines"),
        "version": __version__,
        "facts": _facts(report),
        "notes": _notes(report),
        "changes_lead": _changes_lead(report.compared),
        "changes": [_change(each) for each in report.compared.changes] if report.compared else [],
        "findings": [
            {
                "title": figure.title,
                "caption": figure.caption,
                "svg": Markup(figure.drawing.svg()),
                "said": [g for g in report.guidelines if g.figure == figure.name],
            }
            for figure in report.figures
        ],
        "heads": [*_HEADS, *stages, *_LAST_HEADS, *(["Cost per gigapixel"] * _priced(report))],
        "words": [0],
        "rows": [_row(each, names[each.setting], stages, report) for each in measured],
        "machines": _machines(report.rows),
    }
    return render("benchmark.html.jinja", page)


def benchmark_json(report: Report) -> str:
    """Write means, fits and sentences as JSON."""
    compared = report.compared
    document = {
        "format": "cellmill-benchmark/1",
        "confidence": CONFIDENCE,
        "measured": [_numbers(each, report) for each in report.results.measured],
        "growth": [
            {
                "setting": asdict(grown.setting),
                "pixels": [each.pixels for each in grown.sizes],
                "total": grown.total and asdict(grown.total),
                "stages": {s: g and asdict(g) for s, g in grown.stages.items()},
                "largest_stage": grown.largest_stage,
                "memory": grown.memory and asdict(grown.memory),
            }
            for grown in report.results.sizes()
        ],
        "guidelines": [asdict(each) for each in report.guidelines],
        "baseline": compared
        and {
            "tolerance": TOLERANCE,
            "unpaired": compared.unpaired,
            "changes": [{**asdict(c), "verdict": c.verdict} for c in compared.changes],
            "regressions": [_named(change) for change in compared.regressions],
        },
    }
    return json.dumps(without_nan(document), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _named(change: Any) -> str:
    return f"{change.segmenter}: {change.stage or 'an image in all'}"


def _numbers(measured: Measured, report: Report) -> dict[str, Any]:
    cost = measured.usd_per_gigapixel(report.results.prices)
    return {
        "setting": asdict(measured.setting),
        "shape": [*measured.shape],
        "mosaic": measured.mosaic,
        "sweeps": sorted(measured.swept),
        "total_s": asdict(measured.total),
        "stages_s": {stage: asdict(mean) for stage, mean in measured.stages.items()},
        "steps_s": {f"{stage}/{step}": value for (stage, step), value in measured.steps.items()},
        "phases_s": {f"{stage}/{name}": value for (stage, name), value in measured.phases.items()},
        "cpu_s": dict(measured.cpu),
        "peak_rss_bytes": dict(measured.peak_bytes),
        "gpu_peak_bytes": measured.gpu_bytes,
        "bytes_read": dict(measured.bytes_read),
        "bytes_written": dict(measured.bytes_written),
        "objects": measured.objects,
        "f1_50": measured.f1_50,
        "ap_50": measured.ap_50,
        "usd_per_gigapixel": cost and asdict(cost),
    }


def _facts(report: Report) -> list[str]:
    measured = report.results.measured
    runs = {row["run"] for row in report.rows}
    repeats = [each.total.count for each in measured]
    spread = f"{min(repeats)}" + (f" to {max(repeats)}" if max(repeats) > min(repeats) else "")
    days = sorted({row["started"][:10] for row in report.rows})
    return [
        f"{number(len(measured))} conditions, {spread} repeats each after a warm-up",
        *([f"{len(runs)} runs"] if len(runs) > 1 else []),
        f"image {', '.join(sorted({each.setting.image for each in measured}))}",
        days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}",
    ]


def _notes(report: Report) -> list[str]:
    notes = []
    busy = [row for row in report.rows if is_busy(row)]
    if busy:
        most = max(busy, key=lambda row: row["load"])
        notes.append(
            f"Other work ran beside it: up to {number(most['load'])} processes wanted "
            f"{most['cpus']} processors. Times are longer and vary more than on a quiet "
            "machine, and settings, devices, machines, segmenters and runs are not compared."
        )
    if any(each.mosaic for each in report.results.measured):
        notes.append(
            "Sizes beyond the image are mosaics of mirrored copies: of the same density and "
            "contrast everywhere, which real slides are not."
        )
    notes += _notes_on_objects(report.results)
    if report.compared:
        found = report.compared.regressions
        notes += [f"Regression: {_named(change)}." for change in found]
        if report.compared.unpaired:
            notes.append(f"Baseline: {report.compared.unpaired}")
    return notes


def _notes_on_objects(results: Results) -> list[str]:
    """Where nothing was found, or where sizes differ in how densely objects lie."""
    notes = []
    sizes = results.sizes()
    names = labels([grown.setting for grown in sizes])
    for grown in sizes:
        found = [each for each in grown.sizes if each.objects is not None]
        none = [each for each in found if not each.objects]
        name = names[grown.setting]
        if none:
            notes.append(
                f"{name} found no object at {number(len(none))} of {number(len(found))} sizes: "
                "what its post-processing takes there says nothing of images with cells. Look at "
                "DIAMETER, MPP and CHANNELS, or take another model."
            )
            continue
        density = [(each.objects or 0) * 1e6 / each.pixels for each in found]
        if density and max(density) > _UNEVEN * min(density):
            notes.append(
                f"{name} found {number(min(density))} to {number(max(density))} objects a Mpx, "
                "as crops of one image differ: part of how post-processing grows is how many "
                "objects there are."
            )
    return notes


def _changes_lead(compared: Compared | None) -> str:
    if compared is None:
        return ""
    return (
        "Ratios of steady time, paired by condition (machine, settings, size), with 95 % "
        "intervals by bootstrap over conditions and repeats. A regression is more than "
        f"{TOLERANCE:.0%} slower, its interval above 1."
    )


def _change(change: Any) -> dict[str, Any]:
    memory = change.memory
    verdict = change.verdict + (", more memory" if change.memory_grew else "")
    return {
        "segmenter": change.segmenter,
        "stage": change.stage or "image in all",
        "ratio": fixed(change.ratio.value, 2),
        "interval": f"{fixed(change.ratio.low, 2)} to {fixed(change.ratio.high, 2)}",
        "memory": fixed(memory.value, 2) if memory else "–",
        "conditions": number(change.ratio.conditions),
        "verdict": verdict,
        "bad": change.verdict == "slower" or change.memory_grew,
    }


def _priced(report: Report) -> bool:
    prices = report.results.prices
    return any(each.usd_per_gigapixel(prices) for each in report.results.measured)


def _row(measured: Measured, name: str, stages: Sequence[str], report: Report) -> list[str]:
    mosaic = " (mosaic)" if measured.mosaic else ""
    cost = measured.usd_per_gigapixel(report.results.prices)
    return [
        name,
        f"{number(measured.shape[1])} × {number(measured.shape[0])}{mosaic}",
        number(measured.objects),
        fixed(measured.f1_50),
        _mean(measured.total),
        *(_mean(measured.stages.get(stage)) for stage in stages),
        seconds(sum(measured.cpu.values())),
        seconds(measured.first),
        size(measured.peak),
        f"{number(measured.pixels / 1e6 / measured.total.value)} Mpx/s",
        *([dollars(cost.value if cost else None)] * _priced(report)),
    ]


def _mean(mean: Mean | None) -> str:
    if mean is None:
        return "–"
    return seconds(mean.value) + (f" ± {seconds(mean.sd)}" if mean.sd else "")


def _machines(rows: Sequence[Row]) -> list[dict[str, str]]:
    found: dict[str, set[str]] = {}
    for row in rows:
        parts = [
            f"{row['cpus']} processors ({row['cpu_model']})",
            f"{size(row['memory_bytes'])} memory",
            row["gpu"],
            row["rented"],
            row["platform"],
            f"Python {row['python']}",
            f"cellmill {row['cellmill']}",
        ]
        found.setdefault(row["machine"], set()).add(", ".join(filter(None, parts)))
    return [{"name": n, "about": "; ".join(sorted(about))} for n, about in found.items()]
