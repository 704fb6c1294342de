"""Tables as CSV, for programs and for spreadsheets: all that this library writes goes through here.

A spreadsheet takes a cell that begins with `=`, `+`, `-`, `@`, a tab or a carriage return for a
formula and runs it. Names of images and channels come from others, so a text that begins so gets
an apostrophe before it, which a spreadsheet shows as text. Numbers stay numbers: -1.5 is written
as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

#: The four in their full width, too, which some spreadsheets read likewise.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
#: Invisible before what counts; some spreadsheets leave it out when they read.
_LEFT_OUT = " \xa0\ufeff\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\0"

_QUOTED = frozenset(',"\r\n')


def cell(value: Any) -> Any:
    r"""Return a value as a cell may hold it: a text that would be a formula gets an apostrophe.

    Example:
        >>> [cell(value) for value in ("=1+1", "-2", -2, 0.5, "a=b", " @x", None)]
        ["'=1+1", "'-2", -2, 0.5, 'a=b', "' @x", None]
    """
    if isinstance(value, str) and (
        value.startswith(_FORMULA) or value.lstrip(_LEFT_OUT).startswith(_FORMULA)
    ):
        return f"'{value}"
    return value


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]] = ()) -> str:
    r"""Write a table as CSV: a header and rows, lines ending in `\n`, None as an empty cell.

    Example:
        >>> csv_text(["name", "count"], [["a,b", 3], ["=A1", None]])
        'name,count\n"a,b",3\n\'=A1,\n'
    """
    return "".join(",".join(map(_field, row)) + "\n" for row in (header, *rows))


def _field(value: Any) -> str:
    """A value between commas; Python's own writer leaves a carriage return bare, ending a row."""
    text = "" if value is None else str(cell(value))
    return '"' + text.replace('"', '""') + '"' if _QUOTED & set(text) else text
