"""Numbers as people read them."""

from __future__ import annotations

import math

MISSING = "–"


def channel_title(name: str) -> str:
    """Return a channel's name for people: one that is but a number is said to be a channel."""
    return f"channel {name}" if name.isdigit() else name


def number(value: float | None, digits: int = 3) -> str:
    """Write a number with that many significant digits, thousands set apart, whole if it is.

    None, NaN and infinity are written as a dash.
    """
    if value is None or not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    size = math.floor(math.log10(abs(value)))
    if size >= 7 or size < -4:
        return f"{value:.{digits - 1}e}"
    places = max(0, digits - 1 - size)
    text = f"{value:,.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def fixed(value: float | None, places: int = 3) -> str:
    """Write a number with that many places, None and NaN as a dash."""
    return MISSING if value is None or not math.isfinite(value) else f"{value:.{places}f}"


def percent(fraction: float | None) -> str:
    """Write a fraction 0–1 in percent; a trace is never written as 0 %."""
    if fraction is None or not math.isfinite(fraction):
        return MISSING
    if 0 < fraction < 1e-4:
        return "< 0.01 %"
    return f"{number(100 * fraction, 3)} %"


def seconds(value: float | None) -> str:
    """Write a duration given in seconds."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value < 0.001:
        return "< 1 ms"
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 59.95:
        return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def size(count: float | None) -> str:
    """Write a number of bytes, in powers of 1024."""
    if count is None or not math.isfinite(count):
        return MISSING
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{number(count, 3)} {unit}"
        count /= 1024
    return f"{number(count, 3)} TiB"
