"""Errors that a user can mend: one base class, one line of text each."""

from __future__ import annotations

from collections.abc import Iterable

from cellmill.terminal import printable


class CellmillError(Exception):
    """A failure that its one line of text explains; the command line prints it and exits with 2.

    Args:
        line: the line; control and bidirectional characters in it are shown escaped.
    """

    def __init__(self, line: str) -> None:
        super().__init__(printable(line))


class BadInput(CellmillError):
    """An input or a parameter is not what it must be.

    Args:
        what: the thing, named as the user knows it (`"image 'a.tif'"`, `"--mpp"`).
        expected: what would have been right.
        found: what was there instead.
    """

    def __init__(self, what: str, *, expected: str, found: str) -> None:
        self.what = what
        self.expected = expected
        self.found = found
        # A name keeps its line break, escaped; what a library says may have several lines.
        said = " ".join(f"expected {expected}, found {found}".split())
        super().__init__(f"{what}: {said}")

    def about(self, what: str) -> BadInput:
        """The same of a thing that is named otherwise; what a machine refused stays that."""
        kind = MachineFault if isinstance(self, MachineFault) else BadInput
        return kind(what, expected=self.expected, found=self.found)


def check_least(settings: object, names: Iterable[str], least: int) -> None:
    """Refuse, by `BadInput`, settings of which a number is too small, or is none.

    Args:
        settings: whose attributes are looked at.
        names: of the attributes, as the user knows them.
        least: that each may be: 0 or 1.
    """
    expected = "0 or more" if least == 0 else f"at least {least}"
    for name in names:
        value = getattr(settings, name)
        if not value >= least:
            raise BadInput(name, expected=expected, found=f"{value}")


class MachineFault(BadInput):
    """The machine refuses: a disk is full, memory has run out, a place cannot be written.

    No image is at fault, so that none is skipped for it; the command line exits with 1. The
    arguments are those of `BadInput`: the thing, what was expected of it and what was found.
    """
