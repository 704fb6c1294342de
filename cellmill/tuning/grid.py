"""Which post-processing parameters are tried: a grid around a card's, and finer steps in it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cellmill.errors import BadInput
from cellmill.models.card import PostprocessingParameters

#: The parameters that can be tuned, and their types; the first varies slowest in a grid.
AXES: dict[str, type] = {
    "maxima_threshold": float,
    "maxima_smooth": float,
    "interior_threshold": float,
    "interior_smooth": float,
    "pixel_expansion": int,
    "radius": int,
    "small_objects_fraction": float,
}
#: Tried where the user names no values: multiples of the card's value, or values beside it.
_FACTORS = {"maxima_threshold": (0.5, 0.7, 1.0, 1.4, 2.0), "interior_threshold": (0.5, 1, 1.5, 2)}
_BESIDE = {
    "maxima_smooth": (0.0, 1.0, 2.0),
    "interior_smooth": (0.0, 1.0, 2.0),
    "small_objects_fraction": (0.0, 0.1, 0.2, 0.3),
}
_MOST_POINTS = 20_000
_DIGITS = 4


@dataclass(frozen=True)
class ParameterGrid:
    """Values to try, all combinations of them.

    Attributes:
        default: the parameters as the card has them; those without an axis are everybody's.
        axes: values of each parameter in `AXES`, in the order in which they are tried.
    """

    default: PostprocessingParameters
    axes: Mapping[str, tuple[float, ...]]

    def __post_init__(self) -> None:
        count = math.prod(len(values) for values in self.axes.values())
        if count > _MOST_POINTS:
            raise BadInput(
                "grid of parameters", expected=f"at most {_MOST_POINTS} points", found=f"{count}"
            )

    @classmethod
    def around(cls, default: PostprocessingParameters, wanted: Mapping[str, str]) -> ParameterGrid:
        """Make a grid of what a user wants to try.

        Args:
            default: the card's parameters.
            wanted: by name, numbers with commas between; where it is empty, values around the
                card's.

        Raises:
            BadInput: a text is no list of numbers, a number is out of range, or there are too many
                combinations.

        Example:
            >>> parameters = PostprocessingParameters("distance", "classes", radius=3)
            >>> ParameterGrid.around(parameters, {"interior_smooth": "2, 1"}).axes["radius"]
            (3,)
        """
        axes = {}
        for name, kind in AXES.items():
            text = wanted.get(name, "")
            values = _numbers(name, text, kind) if text.strip() else _usual(default, name)
            for value in values:
                _with(default, {name: value})
            axes[name] = values
        return cls(default, axes)

    def points(self) -> Iterator[PostprocessingParameters]:
        """All combinations; the last axis varies fastest."""
        for values in itertools.product(*self.axes.values()):
            yield _with(self.default, dict(zip(self.axes, values, strict=True)))

    def finer(self, best: PostprocessingParameters) -> ParameterGrid:
        """The grid with values halfway between the best and its neighbours.

        An axis of one value stays: its parameter was set, not tried.
        """
        axes = {}
        for name, values in self.axes.items():
            known = sorted({*values, getattr(best, name)})
            place = known.index(getattr(best, name))
            between = [
                _halfway(known[place], known[other], AXES[name])
                for other in (place - 1, place + 1)
                if len(values) > 1 and 0 <= other < len(known)
            ]
            axes[name] = (*values, *(v for v in dict.fromkeys(between) if v not in known))
        return ParameterGrid(self.default, axes)

    def beside(
        self, best: PostprocessingParameters, coarser: ParameterGrid
    ) -> Iterator[PostprocessingParameters]:
        """The best with one parameter at a time at each value that a coarser grid lacks."""
        for name, values in self.axes.items():
            for value in values:
                if value not in coarser.axes[name]:
                    yield _with(best, {name: value})

    def through(self, point: PostprocessingParameters) -> Iterator[PostprocessingParameters]:
        """A point with one parameter at a time at each of its values."""
        for name, values in self.axes.items():
            for value in values:
                yield _with(point, {name: value})


def _with(point: PostprocessingParameters, values: Mapping[str, Any]) -> PostprocessingParameters:
    return replace(point, **values)


def _numbers(name: str, text: str, kind: type) -> tuple[float, ...]:
    try:
        found = tuple(dict.fromkeys(kind(part) for part in text.split(",")))
    except ValueError:
        found = ()
    if not found or not all(math.isfinite(value) for value in found):
        numbers = "whole numbers" if kind is int else "numbers"
        raise BadInput(name, expected=f"{numbers} with commas between", found=f"'{text}'")
    return found


def _usual(default: PostprocessingParameters, name: str) -> tuple[float, ...]:
    own = getattr(default, name)
    if name in _FACTORS:
        return tuple(dict.fromkeys(_rounded(own * factor) for factor in _FACTORS[name]))
    return tuple(sorted({own, *_BESIDE.get(name, ())}))


def _halfway(one: float, other: float, kind: type) -> float:
    return (one + other) // 2 if kind is int else _rounded((one + other) / 2)


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
