"""What a piece of work is known by, so that one that was killed can be gone on with."""

from __future__ import annotations

import contextlib
import hashlib
import json
import zlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

_WORK: ContextVar[str] = ContextVar("work", default="")


def fingerprint() -> str:
    """Of the work at hand: hex digits, equal for equal work; empty where none was said."""
    return _WORK.get()


def fingerprint_of(image: str) -> str:
    """Of the work at hand on one image of a batch."""
    return hashlib.sha256(json.dumps([fingerprint(), image]).encode()).hexdigest()


def key_of(*about: Any) -> str:
    """A short name for JSON values, another one for other values: what a store is found by.

    Example:
        >>> key_of("sha256:…", [0, 2]) == key_of("sha256:…", [0, 2])
        True
    """
    text = json.dumps(about, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def checksum(work: str, what: str) -> int:
    """A number for an array that some work makes; other work gives another.

    Args:
        work: its fingerprint.
        what: the array's name within it.
    """
    return zlib.crc32(f"{work}/{what}".encode())


@contextlib.contextmanager
def work(**about: Any) -> Iterator[None]:
    """Say what is done within the block: the stage, its version, parameters and inputs.

    Args:
        **about: JSON values, all that the results depend on.
    """
    text = json.dumps(about, sort_keys=True, default=str)
    token = _WORK.set(hashlib.sha256(text.encode()).hexdigest())
    try:
        yield
    finally:
        _WORK.reset(token)
