"""All points that were tried and their scores: as a table, as a document, along its axes."""

from __future__ import annotations

import itertools
import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from cellmill.arrays.csv_tables import csv_text
from cellmill.tuning.grid import ParameterGrid
from cellmill.tuning.scores import (
    OBJECTIVES,
    Scores,
    best_point,
    held_out,
    objective_values,
)

FORMAT = "cellmill-tuning/1"
#: Points this near to the best are as good, for all that one choice of images can tell.
NEAR = 0.005
_PLACES = 5


@dataclass(frozen=True)
class Surface:
    """What was tried, and how it did.

    Attributes:
        model: name and version.
        method: whose parameters they are.
        compartment: what was segmented.
        objective: key of `OBJECTIVES`.
        grid: with the values of all refinements.
        points: what was tried, the card's own parameters first, `P` of them.
        in_first_grid: how many of them were tried before any refinement.
        eligible: bool `(P,)`, which may be chosen: the card's own only if the grid holds it.
        scores: of the points, by group.
        images: names of the images that were scored, by group.
    """

    model: str
    method: str
    compartment: str
    objective: str
    grid: ParameterGrid
    points: tuple[Any, ...]
    in_first_grid: int
    eligible: npt.NDArray[np.bool_]
    scores: Mapping[str, Scores]
    images: Mapping[str, tuple[str, ...]]

    @cached_property
    def values(self) -> npt.NDArray[np.float64]:
        """The objective at each point, float64 `(P,)`."""
        return objective_values(self.scores, self.objective)

    @cached_property
    def best(self) -> int:
        """The place of the best point."""
        return best_point(self.values, self.eligible)

    @property
    def best_of_first_grid(self) -> int:
        """The place of the best point before any refinement."""
        first = self.in_first_grid
        return best_point(self.values[:first], self.eligible[:first])

    @property
    def varied(self) -> list[str]:
        """Parameters of which several values were tried, in the grid's order."""
        return [n for n in self.grid.axes if len({getattr(p, n) for p in self.points}) > 1]

    def slice_along(self, name: str) -> dict[float, float]:
        """The objective along one axis through the best point, by value, ascending."""
        best = self.points[self.best]
        others = [each for each in self.grid.axes if each != name]
        return dict(
            sorted(
                (getattr(point, name), float(value))
                for point, value in zip(self.points, self.values, strict=True)
                if all(getattr(point, each) == getattr(best, each) for each in others)
            )
        )

    def greatest_along(self, *names: str) -> dict[tuple[float, ...], float]:
        """The greatest objective over all other parameters, by the values of some.

        Of the first grid alone: a refinement tries too few combinations to be compared.
        """
        found: dict[tuple[float, ...], float] = {}
        every = zip(self.points, self.values, self.eligible, strict=True)
        for point, value, on_grid in itertools.islice(every, self.in_first_grid):
            if not on_grid:
                continue
            key = tuple(getattr(point, name) for name in names)
            found[key] = max(found.get(key, 0.0), float(value))
        return found


def flags_of(tuned: Mapping[str, float]) -> str:
    """Tuned parameters as a flag of the stages postprocess and plan_segmentation."""
    return f"--parameters {shlex.quote(json.dumps(dict(tuned)))}"


def surface_csv(surface: Surface) -> str:
    """A row a point, in the order in which they were tried: parameters, objective, scores."""
    groups = list(surface.scores)
    several = len(groups) > 1
    heads = [*surface.grid.axes, "refined", "objective", "predicted"]
    heads += [f"objective_{group}" for group in groups] if several else []
    rows = []
    whole = Scores.added(surface.scores.values())
    pooled = [score(whole) for score in OBJECTIVES.values()]
    by_group = [OBJECTIVES[surface.objective](surface.scores[group]) for group in groups]
    for i, point in enumerate(surface.points):
        scored = [by[i] for by in by_group] if several else []
        row = [surface.values[i], whole.predicted[i], *scored, *(p[i] for p in pooled)]
        numbers = [round(float(value), _PLACES) for value in row]
        numbers[1] = int(numbers[1])
        refined = int(i >= surface.in_first_grid)
        rows.append([*surface.grid.tuned(point).values(), refined, *numbers])
    return csv_text([*heads, *OBJECTIVES], rows)


def tuning_document(surface: Surface) -> dict[str, Any]:
    """What `results` holds: JSON values.

    Returns:
        `objective`, what was made as great as possible; `parameters`, tuned, to be given to a
        stage; `default` and `best` each with `parameters`, `flags`, `value` of the objective and
        `scores` pooled over all images; `whole_parameters` of the best, as a card has them;
        `groups` with both values each; `held_out`, the choice made without a group and its value on
        it; `near_best`, how many points are within `NEAR` of the best; `tried`, by parameter.
    """
    whole = Scores.added(surface.scores.values())
    chosen = held_out(surface.scores, surface.objective, surface.eligible, 0)
    own = {name: OBJECTIVES[surface.objective](each) for name, each in surface.scores.items()}
    tuned = surface.grid.tuned
    document: dict[str, Any] = {
        "format": FORMAT,
        "model": surface.model,
        "method": surface.method,
        "compartment": surface.compartment,
        "objective": surface.objective,
        "images": sum(len(names) for names in surface.images.values()),
        "objects": whole.true,
        "points": len(surface.points),
        "parameters": tuned(surface.points[surface.best]),
        "best": dict(_described(surface, whole, surface.best)),
        "default": dict(_described(surface, whole, 0)),
        "whole_parameters": asdict(surface.points[surface.best]),
        "groups": {
            name: {
                "images": len(surface.images[name]),
                "objects": each.true,
                "default": _rounded(own[name][0]),
                "best": _rounded(own[name][surface.best]),
            }
            for name, each in surface.scores.items()
        },
        "held_out": {
            name: {
                "parameters": tuned(surface.points[each.chosen]),
                "value": _rounded(each.value),
                "default": _rounded(each.default),
            }
            for name, each in chosen.items()
        },
        "near_best": int(np.count_nonzero(surface.values >= surface.values[surface.best] - NEAR)),
        "tried": {
            name: sorted({getattr(point, name) for point in surface.points})
            for name in surface.grid.axes
        },
    }
    return document


def _described(surface: Surface, whole: Scores, place: int) -> Iterator[tuple[str, Any]]:
    tuned = surface.grid.tuned(surface.points[place])
    yield "parameters", tuned
    yield "flags", flags_of(tuned)
    yield "value", _rounded(surface.values[place])
    yield "predicted", int(whole.predicted[place])
    yield "scores", {name: _rounded(score(whole)[place]) for name, score in OBJECTIVES.items()}


def _rounded(value: float) -> float:
    return round(float(value), _PLACES)
