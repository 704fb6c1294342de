"""What a piece of work is known by, so that one that was killed can be gone on with."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

_WORK: ContextVar[str] = ContextVar("work", default="")


def fingerprint() -> str:
    """Of the work at hand: hex digits, equal for equal work; empty where none was said."""
    return _WORK.get()


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
