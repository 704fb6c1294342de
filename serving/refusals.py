"""What a request is refused with: one line, and the HTTP status that goes with it."""

from __future__ import annotations

from cellmill.compute.faults import fault_of
from cellmill.errors import BadInput, CellmillError, MachineFault


class TooLarge(BadInput):
    """A request, or what would be the answer to it, is larger than this server takes."""


class NotThere(BadInput):
    """A model, a version or a page is asked for that this server does not have."""


class NotAllowed(BadInput):
    """A place is named that this server may not read or write."""


class Busy(MachineFault):
    """Ask again: the network is still loading, too many requests wait, or time has run out."""


_STATUS: tuple[tuple[type[CellmillError], int], ...] = (
    (TooLarge, 413),
    (NotThere, 404),
    (NotAllowed, 403),
    (MachineFault, 503),
    (BadInput, 400),
    (CellmillError, 502),
)


def refusal_of(error: Exception) -> tuple[int, str] | None:
    """The status and the line of an error that a client or the machine is to blame for.

    Args:
        error: as it was raised.

    Returns:
        None of any other, which is a fault of this server's.
    """
    known = error if isinstance(error, CellmillError) else fault_of(error)
    if known is None:
        return None
    return next(status for kind, status in _STATUS if isinstance(known, kind)), f"{known}"
