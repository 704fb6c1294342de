"""Fields of JSON that others sent: read by name, each of the type that it must be."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from typing import Any

from cellmill.errors import BadInput


def read_json(text: bytes, what: str) -> Mapping[str, Any]:
    """Read a JSON object.

    Args:
        text: UTF-8.
        what: it is, for messages.

    Raises:
        BadInput: it is none, or has NaN or infinity, which JSON does not know.
    """

    def refuse(name: str) -> Any:
        raise BadInput(what, expected="numbers", found=name)

    try:
        found = json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise BadInput(what, expected="JSON", found=f"{error}" or "nothing") from None
    return an_object(found, what)


def an_object(value: Any, what: str) -> Mapping[str, Any]:
    """Give a value that must be a JSON object.

    Raises:
        BadInput: it is another.
    """
    if not isinstance(value, Mapping):
        raise BadInput(what, expected="a JSON object", found=shown(value))
    return value


def a_list(value: Any, what: str) -> list[Any]:
    """Give a value that must be a list.

    Raises:
        BadInput: it is another.
    """
    if not isinstance(value, list):
        raise BadInput(what, expected="a list", found=shown(value))
    return value


def a_text(value: Any, what: str) -> str:
    """Give a value that must be a text.

    Raises:
        BadInput: it is another.
    """
    if not isinstance(value, str):
        raise BadInput(what, expected="a text", found=shown(value))
    return value


def a_whole(value: Any, what: str) -> int:
    """Give a value that must be a whole number; `102.0`, as protobuf writes it, is one.

    Raises:
        BadInput: it is another.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value != int(value):
        raise BadInput(what, expected="a whole number", found=shown(value))
    return int(value)


def wholes(value: Any, what: str) -> tuple[int, ...]:
    """Give a value that must be a list of whole numbers.

    Raises:
        BadInput: it is another.
    """
    return tuple(a_whole(each, what) for each in a_list(value, what))


def only(given: Collection[str], known: Collection[str], what: str) -> None:
    """Refuse a name that nothing here reads, so that no slip is passed over.

    Raises:
        BadInput: there is one.
    """
    for name in given:
        if name not in known:
            raise BadInput(what, expected=f"of {', '.join(known)}", found=f"'{name}'")


def shown(value: Any) -> str:
    """A value that another sent, short enough for a line."""
    text = json.dumps(value, ensure_ascii=False, default=str) if value is not None else "nothing"
    return text if len(text) <= 60 else f"{text[:57]}…"
