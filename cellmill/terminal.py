r"""Text for terminals and logs, which names of files and channels are part of.

A name may hold what moves the cursor, clears the screen, changes the window's title or turns the
text that follows round. Such characters are shown as Python would write them, `\x1b` or `\u202e`.
"""

from __future__ import annotations

import sys
import unicodedata
from typing import TextIO

#: Format characters that are shown as they are: they shape letters of Persian, of the languages of
#: India and emoji, and neither hide nor reorder anything.
_JOINERS = "\u200c\u200d"
#: Control, format (bidirectional ones among them), surrogate, line and paragraph separator.
_UNSHOWN = ("Cc", "Cf", "Cs", "Zl", "Zp")


def printable(text: str) -> str:
    r"""Return a text with control, bidirectional and invisible characters escaped.

    Example:
        >>> print(printable("a\x1b[2Jb\u202e.tif"))
        a\x1b[2Jb\u202e.tif
        >>> printable("Zellkern ä, 細胞, نواة") == "Zellkern ä, 細胞, نواة"
        True
    """
    if text.isprintable():
        return text
    return "".join(_escaped(letter) for letter in text)


def say(line: str = "", *, to: TextIO | None = None) -> None:
    """Print one line, escaped by `printable`, at once.

    Args:
        line: the line, without its end.
        to: where to; standard output by default.
    """
    print(printable(line), file=to or sys.stdout, flush=True)


def _escaped(letter: str) -> str:
    if letter in _JOINERS or unicodedata.category(letter) not in _UNSHOWN:
        return letter
    return letter.encode("unicode_escape").decode("ascii")
