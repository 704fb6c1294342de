"""A comparison of segmenters: numbers as JSON and CSV, and the page that shows them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cellmill.arrays.csv_tables import csv_text
from cellmill.labels.kinds import Compartment, plural
from cellmill.metrics.comparison import CONFIDENCE, DRAWS, SCORE_TITLES, ComparedScores
from cellmill.reporting.comparison_pictures import COLOURS, CellPictures, Panel
from cellmill.reporting.page import render
from cellmill.reporting.text import MISSING, fixed, number, seconds, size
from cellmill.version import __version__

#: Object errors that are shown, by their name in `evaluate`'s result.
_ERRORS = {
    "missed_detections": "missed",
    "gained_detections": "false",
    "merge": "merges",
    "split": "splits",
    "catastrophe": "catastrophes",
}
#: Of fewer images an interval says little.
_FEW_IMAGES = 5


@dataclass(frozen=True)
class ComparedSegmenter:
    """One segmenter of a comparison.

    Attributes:
        name: as the user asked for it.
        model: name and version of its card.
        methods: by kind of object the method that finds it.
        seconds: wall time by stage.
        peak_bytes: the most memory that one of its stages held.
        engine: what ran the network, and where; empty where there is none.
    """

    name: str
    model: str
    methods: Mapping[Compartment, str]
    seconds: Mapping[str, float]
    peak_bytes: int
    engine: str = ""


@dataclass(frozen=True)
class ComparedKind:
    """How segmenters did on one kind of object.

    Attributes:
        kind: of object.
        images: names of the images that count: with truth, and scored for every segmenter.
        scores: by segmenter.
        pooled: by segmenter all scores over all images, as `cellmill.metrics.pool` pools them.
        differing: how many true objects some segmenters find and others do not.
        panels: the image where most differ, as each segmenter outlined it.
        cells: the cells that differ most.
    """

    kind: Compartment
    images: Sequence[str]
    scores: Mapping[str, ComparedScores]
    pooled: Mapping[str, Mapping[str, Any]]
    differing: int
    panels: Sequence[Panel] = ()
    cells: Sequence[CellPictures] = ()


@dataclass(frozen=True)
class Comparison:
    """A whole comparison.

    Attributes:
        segmenters: in the order in which they were asked for.
        kinds: of object.
        left_out: by image why it does not count.
    """

    segmenters: Sequence[ComparedSegmenter]
    kinds: Sequence[ComparedKind]
    left_out: Mapping[str, str] = field(default_factory=dict)


def comparison_document(comparison: Comparison) -> dict[str, Any]:
    """Give the numbers as JSON values."""
    return {
        "format": "cellmill-comparison/1",
        "segmenters": [asdict(each) for each in comparison.segmenters],
        "bootstrap": {"draws": DRAWS, "confidence": CONFIDENCE},
        "left_out": dict(comparison.left_out),
        "kinds": {
            each.kind: {
                "images": [*each.images],
                "differing_objects": each.differing,
                "segmenters": {
                    name: {
                        "scores": {k: v.to_dict() for k, v in found.scores.items()},
                        "behind_best": found.behind
                        and {k: v.to_dict() for k, v in found.behind.items()},
                        "pooled": each.pooled[name],
                    }
                    for name, found in each.scores.items()
                },
            }
            for each in comparison.kinds
        },
    }


def comparison_json(comparison: Comparison) -> str:
    """Write the numbers as JSON."""
    document = comparison_document(comparison)
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def comparison_csv(comparison: Comparison) -> str:
    """Write the numbers as CSV, a row a segmenter and kind of object."""
    stages = _stages(comparison)
    heads = ["segmenter", "model", "kind", "method", "images", "true", "found"]
    for name in SCORE_TITLES:
        heads += [name, f"{name}_low", f"{name}_high"]
    heads += [*_ERRORS, *(f"{stage}_s" for stage in stages), "total_s", "peak_memory_bytes"]
    rows: list[list[Any]] = []
    for kind in comparison.kinds:
        for each in comparison.segmenters:
            if each.name not in kind.scores:
                continue
            pooled, scores = kind.pooled[each.name], kind.scores[each.name].scores
            row: list[Any] = [each.name, each.model, kind.kind, each.methods.get(kind.kind)]
            row += [len(kind.images), pooled["n_truth"], pooled["n_predicted"]]
            for name in SCORE_TITLES:
                ends = (scores[name].value, scores[name].low, scores[name].high)
                row += [None if value is None else round(value, 6) for value in ends]
            row += [pooled["object_errors"][name] for name in _ERRORS]
            row += [round(each.seconds.get(stage, 0.0), 3) for stage in stages]
            rows.append([*row, round(sum(each.seconds.values()), 3), each.peak_bytes])
    return csv_text(heads, rows)


def render_comparison(comparison: Comparison) -> str:
    """Write the page.

    Returns:
        HTML that asks nothing of the network.
    """
    stages = _stages(comparison)
    names = [each.name for each in comparison.segmenters]
    page = {
        "title": "Comparison of " + (" and ".join(names) if len(names) < 4 else "segmenters"),
        "version": __version__,
        "facts": [
            f"{len(names)} segmenters",
            *(
                f"{_counted(len(each.images), 'image')}, {_true(each)} true {plural(each.kind)}"
                for each in comparison.kinds
            ),
        ],
        "notes": _notes(comparison),
        "kinds": [_kind(each) for each in comparison.kinds],
        "stages": stages,
        "times": [
            {
                "name": each.name,
                "stages": [seconds(each.seconds.get(stage)) for stage in stages],
                "total": seconds(sum(each.seconds.values())),
                "peak": size(each.peak_bytes),
                "engine": each.engine or "no network",
            }
            for each in comparison.segmenters
        ],
        "methods": [
            {
                "name": each.name,
                "model": each.model,
                "methods": ", ".join(f"{m} ({plural(k)})" for k, m in each.methods.items()),
            }
            for each in comparison.segmenters
        ],
        "confidence": f"{CONFIDENCE:.0%}",
        "draws": number(DRAWS),
        "colours": {name: f"rgb{colour}" for name, colour in COLOURS.items()},
    }
    return render("comparison.html.jinja", page)


def _kind(each: ComparedKind) -> dict[str, Any]:
    best = next(name for name, found in each.scores.items() if found.behind is None)
    greatest = {key: max(s.scores[key].value for s in each.scores.values()) for key in SCORE_TITLES}
    return {
        "title": plural(each.kind).capitalize(),
        "plural": plural(each.kind),
        "heads": [*SCORE_TITLES.values()],
        "best": best,
        "rows": [
            {
                "name": name,
                "cells": [
                    {
                        "value": fixed(found.scores[key].value),
                        "interval": _interval(found.scores[key]),
                        "best": found.scores[key].value == greatest[key],
                    }
                    for key in SCORE_TITLES
                ],
            }
            for name, found in each.scores.items()
        ],
        "behind": [
            {
                "name": name,
                "cells": [
                    {
                        "value": fixed(found.behind[key].value),
                        "interval": _interval(found.behind[key]),
                    }
                    for key in SCORE_TITLES
                ],
            }
            for name, found in each.scores.items()
            if found.behind is not None
        ],
        "error_heads": ["true", "found", *_ERRORS.values()],
        "errors": [
            {
                "name": name,
                "cells": [
                    number(value)
                    for value in (
                        pooled["n_truth"],
                        pooled["n_predicted"],
                        *(pooled["object_errors"][key] for key in _ERRORS),
                    )
                ],
            }
            for name, pooled in each.pooled.items()
        ],
        "differing": number(each.differing),
        "panels": each.panels,
        "cells": each.cells,
        "columns": [*each.scores],
    }


def _interval(estimate: Any) -> str:
    if estimate.low is None:
        return ""
    return f"{fixed(estimate.low)} to {fixed(estimate.high)}"


def _notes(comparison: Comparison) -> list[str]:
    few = min(len(each.images) for each in comparison.kinds)
    notes = []
    if few == 1:
        notes.append("One image: there are no intervals, and another may give another order.")
    elif few < _FEW_IMAGES:
        notes.append(f"{few} images: intervals are drawn from so few that they say little.")
    notes += [f"{name} does not count: {why}" for name, why in comparison.left_out.items()]
    return notes


def _stages(comparison: Comparison) -> list[str]:
    return [*dict.fromkeys(stage for each in comparison.segmenters for stage in each.seconds)]


def _true(each: ComparedKind) -> str:
    return number(next(iter(each.pooled.values()))["n_truth"]) if each.pooled else MISSING


def _counted(count: int, what: str) -> str:
    return f"{number(count)} {what}{'' if count == 1 else 's'}"
