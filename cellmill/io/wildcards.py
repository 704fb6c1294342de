"""What the wildcards of a glob stand for in a path that it matches."""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import re
from collections.abc import Sequence

_WILD = re.compile(r"(\*+|\?|\[!?[^\]]+\])")


def variable_parts(
    pattern: Sequence[str], path: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the folders that a glob's wildcards stand for, and what those of its end stand for.

    Example:
        >>> variable_parts(("*", "images", "*_w1.tif"), ("p1", "images", "x_w1.tif"))
        (('p1',), ('x',))
        >>> variable_parts(("**", "*.tif"), ("a", "b", "x.tif"))
        (('a', 'b'), ('x',))
    """
    if len(pattern) == 1 and pattern[0] != "**":
        return tuple(path[:-1]), _captured(pattern[0], path[-1])
    if not pattern or not path:
        return (), ()
    if pattern[0] == "**":
        rest = pattern[1:] or ("*",)
        for taken in range(len(path) - len(rest), -1, -1):
            if all(
                part == "**" or fnmatch.fnmatchcase(name, part)
                for name, part in zip(path[taken:], rest, strict=False)
            ):
                folders, wild = variable_parts(rest, path[taken:])
                return (*path[:taken], *folders), wild
        return tuple(path[:-1]), ()
    folders, wild = variable_parts(pattern[1:], path[1:])
    return ((path[0], *folders) if glob.has_magic(pattern[0]) else folders), wild


def _captured(pattern: str, name: str) -> tuple[str, ...]:
    """Return what each wildcard of a pattern stands for in a name; none where there is none."""
    pieces = _WILD.split(pattern)
    made = "".join(
        f"({_as_regex(piece)})" if i % 2 else re.escape(piece) for i, piece in enumerate(pieces)
    )
    with contextlib.suppress(re.error):
        match = re.fullmatch(made, name, re.DOTALL)
        return match.groups() if match else ()
    return ()


def _as_regex(wildcard: str) -> str:
    if wildcard[0] == "*":
        return ".*"
    if wildcard == "?":
        return "."
    inner = wildcard[1:-1].replace("\\", "\\\\")
    return f"[^{inner[1:]}]" if inner.startswith("!") else f"[{inner}]"
