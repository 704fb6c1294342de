"""The page of a tuning: what was tried, what is best, and how much depends on each parameter."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from cellmill.labels.kinds import plural
from cellmill.reporting.charts import curve
from cellmill.reporting.heatmaps import heat_map
from cellmill.reporting.page import render
from cellmill.reporting.text import fixed, number
from cellmill.tuning.scores import OBJECTIVE_TITLES
from cellmill.tuning.surface import NEAR, Surface
from cellmill.version import __version__

#: Rows of the table of best points.
_MOST_ROWS = 15


def render_tuning(surface: Surface, document: Mapping[str, Any]) -> str:
    """Write the page.

    Args:
        surface: every point and its scores.
        document: of it, as `tuning_document` gives it.

    Returns:
        HTML that asks nothing of the network.
    """
    objective = OBJECTIVE_TITLES[surface.objective]
    best, default = document["best"], document["default"]
    page = {
        "title": f"Post-processing of {surface.model}",
        "version": __version__,
        "facts": [
            surface.method.replace("_", " "),
            f"{number(document['images'])} images",
            f"{number(document['objects'])} {plural(surface.compartment)}",
            f"{number(document['points'])} combinations",
            f"objective: {objective}"
            + (f", mean over {len(surface.scores)} groups" if len(surface.scores) > 1 else ""),
        ],
        "figures": [
            {"title": f"{objective}, default", "value": fixed(default["value"], 4)},
            {"title": f"{objective}, best", "value": fixed(best["value"], 4)},
            {"title": f"combinations within {NEAR:g}", "value": number(document["near_best"])},
        ],
        "flags": best["flags"],
        "parameters": _parameter_rows(document),
        "scores": [
            (title, fixed(default["scores"][name]), fixed(best["scores"][name]))
            for name, title in OBJECTIVE_TITLES.items()
        ],
        "found": (number(default["predicted"]), number(best["predicted"])),
        "slices": _slices(surface),
        "maps": _maps(surface),
        "groups": _group_rows(document),
        "points": _point_rows(surface),
        "point_heads": list(surface.grid.axes),
        "objective": objective,
        "unchanged": surface.best == 0,
    }
    return render("tuning.html.jinja", page)


def _parameter_rows(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    best, default = document["best"]["parameters"], document["default"]["parameters"]
    return [
        {
            "name": name,
            "default": f"{default[name]:g}",
            "best": f"{best[name]:g}",
            "changed": best[name] != default[name],
            "tried": ", ".join(f"{value:g}" for value in values),
        }
        for name, values in document["tried"].items()
    ]


def _slices(surface: Surface) -> list[dict[str, Any]]:
    """The objective along each axis through the best point."""
    found = []
    best, default = surface.points[surface.best], surface.points[0]
    for name in surface.varied:
        along = surface.slice_along(name)
        if len(along) < 2:
            continue
        own, chosen = getattr(default, name), getattr(best, name)
        marked = {"default": own} if own != chosen and min(along) <= own <= max(along) else {}
        marked["best"] = chosen
        chart = curve(list(along), list(along.values()), name, "", marked)
        found.append({"title": name, "chart": Markup(chart)})
    return found


def _maps(surface: Surface) -> list[dict[str, Any]]:
    """The greatest objective over all others, for each pair of parameters."""
    shown = {"best": surface.points[surface.best_of_first_grid]}
    if surface.eligible[0]:
        shown = {"default": surface.points[0], **shown}
    found = []
    for pair in itertools.combinations(surface.varied, 2):
        values = surface.greatest_along(*pair)
        if len({row for row, _ in values}) < 2 or len({column for _, column in values}) < 2:
            continue
        marked = {
            kind: tuple(getattr(point, name) for name in pair) for kind, point in shown.items()
        }
        span = (min(values.values()), max(values.values()))
        chart = Markup(heat_map(values, pair, span, marked))
        found.append({"title": f"{pair[0]} and {pair[1]}", "chart": chart})
    return found


def _group_rows(document: Mapping[str, Any]) -> list[Sequence[str]]:
    """Per group: images, objects, default, best, and the choice made without it."""
    if len(document["groups"]) < 2:
        return []
    return [
        (
            name,
            number(group["images"]),
            number(group["objects"]),
            fixed(group["default"]),
            fixed(group["best"]),
            fixed(document["held_out"][name]["value"]),
        )
        for name, group in document["groups"].items()
    ]


def _point_rows(surface: Surface) -> list[dict[str, Any]]:
    """The best points, the default wherever it stands."""
    order = sorted(range(len(surface.points)), key=lambda i: (-surface.values[i], i))
    shown = order[:_MOST_ROWS]
    if 0 not in shown:
        shown.append(0)
    return [
        {
            "rank": order.index(i) + 1,
            "values": [f"{value:g}" for value in surface.grid.tuned(surface.points[i]).values()],
            "objective": fixed(surface.values[i], 4),
            "what": ", ".join(
                word for word, holds in (("best", i == surface.best), ("default", i == 0)) if holds
            ),
        }
        for i in shown
    ]
