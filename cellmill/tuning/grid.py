"""Which parameters of a method are tried: a grid around a card's, and finer steps in it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cellmill.errors import BadInput
from cellmill.segmentation.parameters import Parameter, parameters_of, rounded

_MOST_POINTS = 20_000


@dataclass(frozen=True)
class ParameterGrid:
    """Values to try, all combinations of them.

    Attributes:
        default: the parameters as the card has them, of the method's dataclass; those without an
            axis are everybody's.
        axes: values of each parameter that is tuned, in the order in which they are tried; the
            first axis varies slowest.
    """

    default: Any
    axes: Mapping[str, tuple[float, ...]]

    def __post_init__(self) -> None:
        count = math.prod(len(values) for values in self.axes.values())
        if count > _MOST_POINTS:
            raise BadInput(
                "grid of parameters", expected=f"at most {_MOST_POINTS} points", found=f"{count}"
            )

    @classmethod
    def around(cls, default: Any, wanted: Mapping[str, Any]) -> ParameterGrid:
        """Make a grid of what a user wants to try.

        Args:
            default: the card's parameters.
            wanted: by name, a list of numbers, or a text of numbers with commas between. Parameters
                that the method tunes and that are not named, or empty, take values around the
                card's; any other number of the method is tuned if it is named.

        Raises:
            BadInput: there is no such parameter, a value is no number or out of range, or there
                are too many combinations.

        Example:
            >>> from cellmill.segmentation.deep_watershed import WatershedParameters
            >>> parameters = WatershedParameters(radius=3)
            >>> ParameterGrid.around(parameters, {"interior_smooth": "2, 1"}).axes["radius"]
            (3,)
        """
        known = tunable(type(default))
        unknown = [name for name in wanted if name not in known]
        if unknown:
            raise BadInput(
                "axes", expected=f"parameters among {', '.join(known)}", found=", ".join(unknown)
            )
        axes = {}
        for name, about in known.items():
            given = wanted.get(name, "")
            if given in ("", [], ()):
                if about.tried is None:
                    continue
                near = about.tried(getattr(default, name))
                values = tuple(value for value in near if about.allows(value))
            else:
                values = _numbers(about, given)
            for value in values:
                replace(default, **{name: value})
            axes[name] = values
        return cls(default, axes)

    def points(self) -> Iterator[Any]:
        """All combinations; the last axis varies fastest."""
        for values in itertools.product(*self.axes.values()):
            yield replace(self.default, **dict(zip(self.axes, values, strict=True)))

    def tuned(self, point: Any) -> dict[str, float]:
        """What is tuned of a point, by name."""
        return {name: getattr(point, name) for name in self.axes}

    def finer(self, best: Any) -> ParameterGrid:
        """The grid with values halfway between the best and its neighbours.

        An axis of one value stays: its parameter was set, not tried.
        """
        known_types = tunable(type(self.default))
        axes = {}
        for name, values in self.axes.items():
            known = sorted({*values, getattr(best, name)})
            place = known.index(getattr(best, name))
            between = [
                _halfway(known[place], known[other], known_types[name].type)
                for other in (place - 1, place + 1)
                if len(values) > 1 and 0 <= other < len(known)
            ]
            axes[name] = (*values, *(v for v in dict.fromkeys(between) if v not in known))
        return ParameterGrid(self.default, axes)

    def beside(self, best: Any, coarser: ParameterGrid) -> Iterator[Any]:
        """The best with one parameter at a time at each value that a coarser grid lacks."""
        for name, values in self.axes.items():
            for value in values:
                if value not in coarser.axes[name]:
                    yield replace(best, **{name: value})

    def through(self, point: Any) -> Iterator[Any]:
        """A point with one parameter at a time at each of its values."""
        for name, values in self.axes.items():
            for value in values:
                yield replace(point, **{name: value})


def tunable(kind: type) -> dict[str, Parameter]:
    """The parameters of a method that are numbers, by name: any of them may be an axis."""
    return {each.name: each for each in parameters_of(kind) if each.type in (int, float)}


def _numbers(about: Parameter, given: Any) -> tuple[float, ...]:
    parts: Sequence[Any] = given if isinstance(given, (list, tuple)) else [given]
    if isinstance(given, str):
        parts = given.split(",")
    try:
        found = tuple(dict.fromkeys(_number(about.type, part) for part in parts))
    except (ValueError, TypeError):
        found = ()
    if not found or not all(math.isfinite(value) for value in found):
        numbers = "whole numbers" if about.type is int else "numbers"
        shown = given if isinstance(given, str) else repr(given)
        raise BadInput(about.name, expected=f"{numbers} with commas between", found=f"'{shown}'")
    return found


def _number(kind: type, part: Any) -> float:
    """A number of that type; a text that says one; a whole float is an int."""
    if isinstance(part, bool):
        raise ValueError(part)
    if isinstance(part, float) and kind is int:
        if not part.is_integer():
            raise ValueError(part)
        return int(part)
    return float(part) if kind is float else int(part)


def _halfway(one: float, other: float, kind: type) -> float:
    return (one + other) // 2 if kind is int else rounded((one + other) / 2)
