"""JSON values to frozen dataclasses and back, with errors that name the place (`heads[1].kind`)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from cellmill.errors import BadInput


class WrongField(BadInput):
    """The value at `place` (`heads[1].kind`) is not what it must be.

    Args:
        place: dots and indices from the document's root; `""` is the root.
        expected: what would have been right.
        found: what was there.
    """

    def __init__(self, place: str, expected: str, found: str) -> None:
        super().__init__(place or "document", expected=expected, found=found)
        self.place = place


def require(holds: bool, place: str, expected: str, found: str) -> None:
    """Raise `WrongField` unless `holds`."""
    if not holds:
        raise WrongField(place, expected, found)


def read_object(path: Path, what: str) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Args:
        path: of the file.
        what: it is, for error messages.

    Raises:
        BadInput: it cannot be read, is no JSON, or holds something else.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{what} '{path}'", expected="JSON", found=str(error)) from error
    if not isinstance(document, dict):
        raise BadInput(f"{what} '{path}'", expected="a JSON object", found=type(document).__name__)
    return document


def to_json(value: Any) -> Any:
    """Dataclasses, mappings and sequences as what `json.dump` takes."""
    if is_dataclass(value):
        return {f.name: to_json(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    return value


def without_nan(value: Any) -> Any:
    """JSON values, None for NaN and infinity: of these JSON knows none."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    return [without_nan(item) for item in value] if isinstance(value, (tuple, list)) else value


@cache
def _types_of(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def from_json(kind: Any, value: Any, place: str) -> Any:
    """`value` (from JSON) as a `kind`.

    Args:
        kind: a dataclass, `str`, `bool`, `int`, `float`, `Any`, or a `Literal`, `tuple` or
            `Mapping` of these; or one of these or `None`.
        value: JSON value.
        place: where it stands in the document.

    Raises:
        WrongField: it is none.
    """
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if is_dataclass(kind):
        return _dataclass_from_json(kind, value, place)
    if origin is Literal:
        require(value in args, place, f"one of {[*args]}", repr(value))
        return value
    if origin in (Union, UnionType):
        if value is None and type(None) in args:
            return None
        (kind,) = (each for each in args if each is not type(None))
        return from_json(kind, value, place)
    if origin is tuple:
        require(isinstance(value, (list, tuple)), place, "a list", _kind(value))
        inner = args[:1] * len(value) if args[-1] is Ellipsis else args
        require(len(value) == len(inner), place, f"{len(inner)} values", f"{len(value)}")
        return tuple(
            from_json(k, v, f"{place}[{i}]")
            for i, (k, v) in enumerate(zip(inner, value, strict=True))
        )
    if isinstance(origin, type) and issubclass(origin, Mapping):
        require(isinstance(value, Mapping), place, "an object", _kind(value))
        return {
            from_json(args[0], key, place): from_json(args[1], item, f"{place}.{key}")
            for key, item in value.items()
        }
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is float:
        finite = number and abs(value) < float("inf")
        require(finite, place, "a finite number", repr(value))
        return float(value)
    if kind is int:
        require(number and float(value).is_integer(), place, "a whole number", repr(value))
        return int(value)
    require(isinstance(value, kind), place, f"a {kind.__name__}", _kind(value))
    return value


def _dataclass_from_json(kind: Any, value: Any, place: str) -> Any:
    require(isinstance(value, Mapping), place, "an object", _kind(value))
    prefix = f"{place}." if place else ""
    types_of = _types_of(kind)
    unknown = [str(key) for key in value if key not in types_of]
    require(not unknown, place, f"only {', '.join(types_of)}", f"'{', '.join(unknown)}'")
    made = {k: from_json(types_of[k], v, f"{prefix}{k}") for k, v in value.items()}
    try:
        return kind(**made)
    except TypeError as error:
        raise WrongField(place, "every field", str(error).split("__init__() ")[-1]) from None
    except WrongField as wrong:
        raise WrongField(f"{prefix}{wrong.place}", wrong.expected, wrong.found) from None


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", type(None): "null"}
    return names.get(type(value), repr(value))
