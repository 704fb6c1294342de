"""Errors that a user can mend: one base class, one line of text each."""


class CellmillError(Exception):
    """A failure that its one line of text explains; the command line prints it and exits with 2."""


class BadInput(CellmillError):
    """An input or a parameter is not what it must be.

    Args:
        what: the thing, named as the user knows it (``"image 'a.tif'"``, ``"--mpp"``).
        expected: what would have been right.
        found: what was there instead.
    """

    def __init__(self, what: str, *, expected: str, found: str) -> None:
        self.what = what
        self.expected = expected
        self.found = found
        super().__init__(" ".join(f"{what}: expected {expected}, found {found}".split()))
