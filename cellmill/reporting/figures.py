"""Figures that stand by themselves: points with errors on linear or logarithmic axes, and bars.

Series are told apart by colour (Okabe and Ito's, which most colour-blind eyes tell apart), by the
shape of their marks and by the dashes of their lines.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cellmill.reporting.charts import axis_ticks
from cellmill.reporting.drawings import Drawing, Line, Shape, Words, marker, rectangle
from cellmill.reporting.text import number

#: Okabe and Ito (2008), the order so that neighbours differ in lightness, too; yellow is left out.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#444444")
_DASHES: tuple[tuple[float, ...], ...] = ((), (7, 3), (2, 3), (9, 3, 2, 3))
_INK, _QUIET, _RULE = "#1d2126", "#5d6672", "#e2e4e3"
WIDTH = 640.0
_LEFT, _RIGHT, _TOP, _PLOT, _BOTTOM = 70.0, 24.0, 40.0, 270.0, 46.0
_LEGEND = 19.0


@dataclass(frozen=True)
class Series:
    """Points of one kind.

    Attributes:
        name: in the legend.
        x: places.
        y: values.
        error: half the length of each error bar; empty for none.
        trend: points of a line that was fitted; empty for none.
        joined: whether the points are joined by lines.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    error: Sequence[float] = ()
    trend: Sequence[tuple[float, float]] = ()
    joined: bool = True


@dataclass(frozen=True)
class Axis:
    """An axis: its name with the unit, and whether it is logarithmic.

    Attributes:
        label: name and unit.
        log: whether it is logarithmic.
        zero: whether a linear one begins at 0.
    """

    label: str
    log: bool = False
    zero: bool = True


@dataclass(frozen=True)
class Bar:
    """A horizontal bar, of one part or of several end to end.

    Attributes:
        name: beside it.
        parts: lengths by name.
        low: lower end of the whole's interval; None for none.
        high: upper end.
        said: what stands behind it; empty for its length.
    """

    name: str
    parts: Mapping[str, float] = field(default_factory=dict)
    low: float | None = None
    high: float | None = None
    said: str = ""


def points(title: str, series: Sequence[Series], x: Axis, y: Axis) -> Drawing:
    """Draw series of points over two axes.

    Args:
        title: of the figure.
        series: at least one, with at least one point.
        x: horizontal axis.
        y: vertical axis.
    """
    top = _TOP + _LEGEND * len(series) + 22
    drawing = Drawing(WIDTH, top + _PLOT + _BOTTOM, f"{title}: {y.label} against {x.label}")
    drawing.parts.append(Words(_LEFT - 50, 22, title, _INK, 14, bold=True))
    across = _scale([v for s in series for v in s.x], x, _LEFT, WIDTH - _RIGHT)
    values = [v for s in series for v in (*s.y, *(t for _, t in s.trend), *_ends(s, y.log))]
    up = _scale(values, y, top + _PLOT, top)
    _axes(drawing, across, up, x, y, top)
    for index, each in enumerate(series):
        _draw(drawing, index, each, across, up)
        _legend(drawing, index, each.name, _TOP + _LEGEND * index)
    return drawing


def bars(title: str, rows: Sequence[Bar], label: str) -> Drawing:
    """Draw horizontal bars from 0, with a legend where they have parts.

    Args:
        title: of the figure.
        rows: the bars, at least one.
        label: what their length says, with the unit.
    """
    names = list(dict.fromkeys(name for row in rows for name in row.parts))
    legend = names if len(names) > 1 else []
    top = _TOP + _LEGEND * -(-len(legend) // 3) + 4
    height, left = 30.0, min(260.0, 24 + 6.4 * max(len(row.name) for row in rows))
    drawing = Drawing(WIDTH, top + height * len(rows) + _BOTTOM, f"{title}: {label}")
    drawing.parts.append(Words(20, 22, title, _INK, 14, bold=True))
    for index, name in enumerate(legend):
        place = 20 + (index % 3) * 205.0
        line = _TOP + _LEGEND * (index // 3)
        drawing.parts.append(Shape(rectangle(place, line - 9, 11, 11), _colour(index)))
        drawing.parts.append(Words(place + 17, line, name, _INK, 12))
    longest = [max(sum(row.parts.values()), row.high or 0) for row in rows]
    across = _scale([0, *longest], Axis(label), left, WIDTH - 96)
    floor = top + height * len(rows)
    for tick, text in across.ticks:
        drawing.parts.append(Line([(across(tick), top), (across(tick), floor)], _RULE, 1))
        drawing.parts.append(Words(across(tick), floor + 16, text, _QUIET, 11.5, "middle"))
    for index, row in enumerate(rows):
        _bar(drawing, row, names, across, top + height * index, height, left)
    drawing.parts.append(Words((left + WIDTH - 96) / 2, floor + 36, label, _QUIET, 12, "middle"))
    return drawing


@dataclass(frozen=True)
class _Scale:
    """From values to places along an axis."""

    low: float
    high: float
    begin: float
    end: float
    log: bool
    ticks: Sequence[tuple[float, str]]

    def __call__(self, value: float) -> float:
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(max(value, 1e-300))
        share = (at - low) / (high - low)
        return self.begin + share * (self.end - self.begin)


def _scale(values: Sequence[float], axis: Axis, begin: float, end: float) -> _Scale:
    if axis.log:
        good = [value for value in values if value > 0]
        low, high = min(good) / 1.15, max(good) * 1.15
        shown = _log_ticks(low, high)
        return _Scale(low, high, begin, end, True, [(t, number(t)) for t in shown])
    low, high = (0.0 if axis.zero else min(values)), max(values)
    if axis.zero:
        low = min(low, *values)
    pad = 0.05 * (high - low) or 0.5
    low, high = (low if axis.zero and low == 0 else low - pad), high + pad
    shown = [t for t in axis_ticks(low, high, 6) if low <= t <= high]
    return _Scale(low, high, begin, end, False, [(t, number(t)) for t in shown])


def _log_ticks(low: float, high: float) -> list[float]:
    """Round values between two ends: 1, 2 and 5 of each power of ten, fewer over many powers.

    Between ends so near that fewer than three are left, every digit is one.
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        found = [s * 10.0**p for p in powers for s in steps if low <= s * 10.0**p <= high]
        if len(found) <= 8:
            break
    if len(found) < 3:
        digits = [s * 10.0**p for p in powers for s in range(1, 10)]
        found = [tick for tick in digits if low <= tick <= high]
    return found or [math.sqrt(low * high)]


def _ends(series: Series, log: bool) -> list[float]:
    errors = series.error or [0.0] * len(series.y)
    ends = [v + s * e for v, e in zip(series.y, errors, strict=True) for s in (-1, 1)]
    # On a logarithmic axis an error that reaches 0 ends at the axis.
    return [end for end in ends if end > 0] if log else ends


def _axes(drawing: Drawing, across: _Scale, up: _Scale, x: Axis, y: Axis, top: float) -> None:
    floor, right = top + _PLOT, WIDTH - _RIGHT
    for tick, text in up.ticks:
        drawing.parts.append(Line([(_LEFT, up(tick)), (right, up(tick))], _RULE, 1))
        drawing.parts.append(Words(_LEFT - 8, up(tick) + 4, text, _QUIET, 11.5, "end"))
    for tick, text in across.ticks:
        place = across(tick)
        drawing.parts.append(Line([(place, floor), (place, floor + 4)], _QUIET, 1))
        drawing.parts.append(Words(place, floor + 18, text, _QUIET, 11.5, "middle"))
    drawing.parts.append(Line([(_LEFT, floor), (right, floor)], _QUIET, 1))
    drawing.parts.append(Words(right, floor + 38, x.label, _QUIET, 12, "end"))
    drawing.parts.append(Words(_LEFT - 50, top - 14, y.label, _QUIET, 12))


def _draw(drawing: Drawing, index: int, series: Series, across: _Scale, up: _Scale) -> None:
    colour, dashes = _colour(index), _DASHES[index % len(_DASHES)]
    places = [(across(a), up(b)) for a, b in zip(series.x, series.y, strict=True)]
    if series.trend:
        trend = [(across(a), up(b)) for a, b in series.trend]
        drawing.parts.append(Line(trend, colour, 1.2, (3, 3)))
    elif series.joined and len(places) > 1:
        drawing.parts.append(Line(places, colour, 1.6, dashes))
    for (place, _), value, error in zip(places, series.y, series.error, strict=False):
        low = max(value - error, up.low) if up.log else value - error
        top, bottom = up(value + error), up(low)
        drawing.parts.append(Line([(place, top), (place, bottom)], colour, 1.2))
        for end in (top, bottom):
            drawing.parts.append(Line([(place - 3, end), (place + 3, end)], colour, 1.2))
    for (a, b), here, value in zip(places, series.x, series.y, strict=True):
        said = f"{series.name}, {number(here)}: {number(value)}"
        drawing.parts.append(Shape(marker(index, a, b), colour, "#ffffff", said))


def _legend(drawing: Drawing, index: int, name: str, row: float) -> None:
    left, colour = _LEFT - 50, _colour(index)
    dashes = _DASHES[index % len(_DASHES)]
    drawing.parts.append(Line([(left, row - 4), (left + 26, row - 4)], colour, 1.6, dashes))
    drawing.parts.append(Shape(marker(index, left + 13, row - 4), colour, "#ffffff"))
    drawing.parts.append(Words(left + 34, row, name, _INK, 12))


def _bar(
    drawing: Drawing,
    row: Bar,
    names: Sequence[str],
    across: _Scale,
    top: float,
    height: float,
    left: float,
) -> None:
    middle, begin = top + height / 2, 0.0
    drawing.parts.append(Words(left - 10, middle + 4, row.name, _INK, 12, "end"))
    for name, length in row.parts.items():
        if length > 0:
            wide = across(begin + length) - across(begin)
            box = rectangle(across(begin), top + 5, wide, height - 10)
            said = f"{row.name}, {name}: {number(length)}"
            drawing.parts.append(Shape(box, _colour(names.index(name)), "#ffffff", said))
        begin += length
    end = begin
    if row.low is not None and row.high is not None:
        low, high = across(max(0.0, row.low)), across(row.high)
        drawing.parts.append(Line([(low, middle), (high, middle)], _INK, 1.2))
        for place in (low, high):
            drawing.parts.append(Line([(place, middle - 4), (place, middle + 4)], _INK, 1.2))
        end = max(end, row.high)
    said = row.said or number(begin)
    drawing.parts.append(Words(across(end) + 7, middle + 4, said, _QUIET, 11.5))


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]
