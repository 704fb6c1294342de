"""Reading the fields of a Protocol Buffers message without its schema.

Enough to see which operations a network has, where no framework is installed. Source: the encoding
guide of Protocol Buffers (wire types 0, 1, 2 and 5).
"""

from __future__ import annotations

from collections.abc import Iterator

Value = int | memoryview
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10


def fields(message: memoryview) -> Iterator[tuple[int, Value]]:
    """Yield number and value of each field, in order: an integer, or the bytes of anything else.

    Raises:
        ValueError: the bytes are no message.
    """
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        kind = key & 7
        if kind == _VARINT:
            value, place = _varint(message, place)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            length, place = _varint(message, place)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if place + length > len(message):
            raise ValueError("a field that is longer than its message")
        yield key >> 3, message[place : place + length]
        place += length


def messages(message: memoryview, number: int) -> Iterator[memoryview]:
    """Yield the fields of one number that are messages, texts or bytes."""
    for found, value in fields(message):
        if found == number and isinstance(value, memoryview):
            yield value


def text(message: memoryview, number: int) -> str:
    """The last text of a number; empty where there is none."""
    found = ""
    for value in messages(message, number):
        found = str(value, "utf-8")
    return found


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for k in range(_LONGEST_VARINT):
        if place + k >= len(message):
            raise ValueError("a number that is cut off")
        byte = message[place + k]
        value |= (byte & 127) << (7 * k)
        if byte < 128:
            return value, place + k + 1
    raise ValueError("a number of more than 10 bytes")
