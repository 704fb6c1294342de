"""Parameters of a method: fields of a frozen dataclass, each with its meaning, range and default.

What a field is said to be here is what everything goes by: the check when parameters are made, the
list that help and forms are made from, and the values that tuning tries.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from cellmill.typed_json import require

#: Gives the values that tuning tries where the user names none, from the value that the card has.
Tried = Callable[[float], tuple[float, ...]]

_DIGITS = 4


@dataclass(frozen=True)
class Parameter:
    """What is known of one parameter of a method.

    Attributes:
        name: of the field.
        type: `int`, `float`, `bool` or `str`.
        default: where nobody says.
        description: one or two sentences, with the unit.
        least: the smallest value; none is no bound.
        above: values are greater than this; none is no bound.
        most: the greatest value; none is no bound.
        choices: of a text, what it may be.
        tried: how tuning finds values around the card's; none leaves the parameter alone.
    """

    name: str
    type: type
    default: Any
    description: str
    least: float | None = None
    above: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    tried: Tried | None = None

    def allows(self, value: float) -> bool:
        """Whether a number is in the range."""
        return (
            (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
        )

    @property
    def range(self) -> str:
        """What a value must be, in words."""
        if self.choices:
            return " or ".join(self.choices)
        if self.most is not None and self.least is not None:
            return f"{self.least:g} to {self.most:g}"
        bounds = [
            text
            for bound, text in (
                (self.least, "0 or more" if self.least == 0 else f"at least {self.least}"),
                (self.above, f"more than {self.above}"),
                (self.most, f"at most {self.most}"),
            )
            if bound is not None
        ]
        return " and ".join(bounds) or {int: "a whole number", bool: "true or false"}.get(
            self.type, "a finite number"
        )


def parameter(
    default: Any,
    description: str,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    tried: Tried | None = None,
) -> Any:
    """Declare a field of a dataclass of parameters; see `Parameter`."""
    about = {
        "description": description,
        "least": least,
        "above": above,
        "most": most,
        "tried": tried,
    }
    return field(default=default, metadata=about)


def parameters_of(kind: type) -> tuple[Parameter, ...]:
    """The parameters that a dataclass declares, in its order."""
    key: Any = kind
    return _declared(key)


@cache
def _declared(kind: Any) -> tuple[Parameter, ...]:
    hints = get_type_hints(kind)
    found = []
    for each in fields(kind):
        hint = hints[each.name]
        choices = get_args(hint) if get_origin(hint) is Literal else ()
        found.append(
            Parameter(
                each.name, str if choices else hint, each.default, **each.metadata, choices=choices
            )
        )
    return tuple(found)


def check_parameters(parameters: Any) -> None:
    """Hold every value against what its field declares; for `__post_init__`.

    Raises:
        WrongField: a value has another type or is out of range.
    """
    for each in parameters_of(type(parameters)):
        value = getattr(parameters, each.name)
        place, found = each.name, repr(value)
        if each.choices:
            require(value in each.choices, place, each.range, found)
            continue
        boolean = isinstance(value, bool | np.bool_)
        if each.type is bool:
            require(boolean, place, each.range, found)
            continue
        if each.type is int:
            whole = isinstance(value, int | np.integer) and not boolean
            require(whole, place, "a whole number", found)
        else:
            number = isinstance(value, int | float | np.integer | np.floating) and not boolean
            require(number and math.isfinite(value), place, "a finite number", found)
        require(each.allows(value), place, each.range, found)


def multiples(*factors: float) -> Tried:
    """Tuning tries these multiples of the card's value."""
    return lambda own: tuple(dict.fromkeys(rounded(own * factor) for factor in factors))


def beside(*values: float) -> Tried:
    """Tuning tries the card's value and these."""
    return lambda own: tuple(sorted({own, *values}))


def rounded(value: float) -> float:
    """To so many digits as a tuned parameter has."""
    return float(f"{value:.{_DIGITS}g}")
