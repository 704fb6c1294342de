"""Looking for the best point of a grid: all combinations, then finer steps around the best."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from cellmill.errors import BadInput
from cellmill.tuning.grid import ParameterGrid
from cellmill.tuning.scores import Scores, best_point, objective_values

#: How often the best point's parameters are tried at all values of the refined grid, one by one.
_MOST_LOOKS_ALONG = 3
MOST_REFINEMENTS = 10

#: Scores new points on all images, by group of images.
ScorePoints = Callable[[Sequence[Any]], Mapping[str, Scores]]


@dataclass
class Search:
    """What was tried, and how it did; it grows while it is looked on.

    Attributes:
        score: scores points that were not tried before.
        objective: what is made as great as possible, a key of `cellmill.tuning.scores.OBJECTIVES`.
        grid: with the values of all refinements so far.
        points: what was tried, the card's own parameters first, `P` of them.
        scores: of the points, by group.
        in_first_grid: how many were tried before any refinement.
        default_on_grid: whether the card's own parameters are a point of the grid.
    """

    score: ScorePoints
    objective: str
    grid: ParameterGrid
    points: list[Any] = field(default_factory=list)
    scores: dict[str, Scores] = field(default_factory=dict)
    in_first_grid: int = 0
    default_on_grid: bool = True

    @property
    def eligible(self) -> npt.NDArray[np.bool_]:
        """Which points may be chosen, bool `(P,)`: the card's own only if the grid holds it."""
        return np.array([self.default_on_grid, *[True] * (len(self.points) - 1)])

    @property
    def best(self) -> Any:
        """The best point that may be chosen; of equal ones the first."""
        values = objective_values(self.scores, self.objective)
        return self.points[best_point(values, self.eligible)]

    def run(self, refinements: int) -> None:
        """Try all combinations, then finer values around the best so many times.

        Args:
            refinements: how often values halfway between the best and its neighbours are tried.

        Raises:
            BadInput: no image has truth.
        """
        first = list(self.grid.points())
        self.default_on_grid = self.grid.default in first
        self._try([self.grid.default, *first])
        self.in_first_grid = len(self.points)
        for _ in range(refinements):
            finer = self.grid.finer(self.best)
            self._try(finer.beside(self.best, self.grid))
            self.grid = finer
        for _ in range(_MOST_LOOKS_ALONG):
            self._try(self.grid.through(self.best))

    def _try(self, points: Iterable[Any]) -> None:
        known = set(self.points)
        new = [point for point in dict.fromkeys(points) if point not in known]
        if not new:
            return
        for group, scores in self.score(new).items():
            before = self.scores.get(group)
            self.scores[group] = before.followed_by(scores) if before else scores
        if not self.scores:
            raise BadInput("truth", expected="true labels of at least one image", found="none")
        self.points.extend(new)


def check_refinements(refinements: int) -> None:
    """Refuse a number of refinements that is none, by BadInput."""
    if not 0 <= refinements <= MOST_REFINEMENTS:
        raise BadInput("refinements", expected=f"0 to {MOST_REFINEMENTS}", found=f"{refinements}")
