"""Small charts as SVG text: a histogram, lines over an axis, a curve.

Colours and type come from the page's style sheet (`report.css`), so that charts follow its
light and dark modes; every mark carries a title that browsers show when it is pointed at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import ArrayLike

from cellmill.reporting.text import number
from cellmill.terminal import printable

WIDTH, HEIGHT = 440, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 26, 42


def histogram(
    values: ArrayLike,
    label: str,
    *,
    counted: str = "cells",
    quantum: float = 0.0,
    most_bins: int = 40,
) -> str:
    """Draw the distribution of values, with their median.

    Bins are as wide as Freedman and Diaconis advise (1981). The axis ends at the 99.5th
    percentile when the greatest value is far beyond it; a last bin holds what lies beyond.

    Args:
        values: `(n,)`; what is not finite is left out.
        label: what they are, with the unit.
        counted: what is counted.
        quantum: the step that values come in, 0 for none; a bin holds a whole number of steps,
            or bars would rise and fall by how many steps each happens to hold.
        most_bins: bins at most.

    Returns:
        SVG text, or empty without values.
    """
    data = np.asarray(values, np.float64)
    data = data[np.isfinite(data)]
    if not data.size:
        return ""
    low, high = float(data.min()), float(data.max())
    cut = float(np.percentile(data, 99.5))
    if high - low > 1.5 * (cut - low) > 0:
        high = cut
    low, high, bins = _bins(data, low, high, quantum, most_bins)
    inside = data[data <= high]
    counts, edges = np.histogram(inside, bins=bins, range=(low, high))
    beyond = data.size - inside.size
    heights = [int(c) for c in counts] + ([beyond] if beyond else [])
    slots = len(heights)
    plot = _Plot((0, slots), _nice_range(0, max(heights)))
    parts = []
    for index, count in enumerate(heights):
        if index < bins:
            span = f"{number(edges[index])} – {number(edges[index + 1])}"
        else:
            span = f"above {number(high)}"
        left, right = plot.x(index), plot.x(index + 1)
        top = plot.y(count)
        kind = "bar" if index < bins else "bar beyond"
        parts.append(
            f'<rect class="{kind}" x="{left + 0.75:.2f}" y="{top:.2f}"'
            f' width="{max(right - left - 1.5, 0.5):.2f}" height="{plot.y(0) - top:.2f}">'
            f"<title>{_text(span)}: {count:,}</title></rect>"
        )

    def slot_of(value: float) -> float:
        return (value - low) / (high - low) * bins

    ticks = [(slot_of(t), number(t)) for t in axis_ticks(low, high, 6) if low <= t <= high]
    if beyond:
        ticks = [t for t in ticks if t[0] <= slots - 2] + [(slots - 0.5, f">{number(high)}")]
    median = float(np.median(data))
    middle = plot.x(min(slot_of(median), slots))
    parts.append(
        f'<line class="median" x1="{middle:.2f}" x2="{middle:.2f}" y1="{_TOP}"'
        f' y2="{plot.y(0):.2f}"/>'
    )
    parts.append(
        f'<text class="note" x="{min(max(middle, 90), WIDTH - 60):.2f}" y="{_TOP - 7}"'
        f' text-anchor="middle">median {number(median)}</text>'
    )
    summary = f"Histogram of {label}: {data.size:,} values, median {number(median)}"
    return plot.svg(parts, ticks, label, counted, summary)


def _bins(
    data: np.ndarray, low: float, high: float, quantum: float, most: int
) -> tuple[float, float, int]:
    """Return the ends and the number of bins, as wide as Freedman and Diaconis advise."""
    if low == high:
        half = quantum / 2 or 0.5
        return low - half, high + half, 1
    quarters = np.percentile(data, [25, 75])
    step = 2 * float(quarters[1] - quarters[0]) / data.size ** (1 / 3)
    bins = int(np.clip(np.ceil((high - low) / step) if step > 0 else 1, 8, most))
    if not quantum:
        return low, high, bins
    low -= quantum / 2
    width = max(1, round((high - low) / bins / quantum)) * quantum
    bins = max(1, int(np.ceil((high - low) / width)))
    return low, low + bins * width, bins


def lines(
    x: Sequence[float], series: Mapping[str, Sequence[float]], x_label: str, y_label: str
) -> str:
    """Draw up to four series over an axis, y from 0 to 1.

    Args:
        x: positions, ascending.
        series: values 0–1 by name, each as long as `x`; NaN interrupts a line.
        x_label: name of the x axis.
        y_label: name of the y axis.

    Returns:
        SVG text with a legend.
    """
    pad = 0.02 * (x[-1] - x[0]) or 0.5
    plot = _Plot((x[0] - pad, x[-1] + pad), (0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]))
    parts = []
    for index, (name, values) in enumerate(series.items()):
        path, pen = [], "M"
        for position, value in zip(x, values, strict=True):
            if np.isfinite(value):
                path.append(f"{pen}{plot.x(position):.2f} {plot.y(value):.2f}")
            pen = "L" if np.isfinite(value) else "M"
        parts.append(f'<path class="line s{index}" d="{" ".join(path)}"/>')
        for position, value in zip(x, values, strict=True):
            if np.isfinite(value):
                parts.append(
                    f'<circle class="dot s{index}" cx="{plot.x(position):.2f}"'
                    f' cy="{plot.y(value):.2f}" r="3.2">'
                    f"<title>{_text(name)} at {position:.2f}: {value:.3f}</title></circle>"
                )
        # The legend stands low on the left, where curves that fall to the right leave room.
        row = plot.y(0) - 10 - 16 * (len(series) - 1 - index)
        parts.append(
            f'<line class="line s{index}" x1="{_LEFT + 12}" x2="{_LEFT + 30}" y1="{row - 4:.1f}"'
            f' y2="{row - 4:.1f}"/><text class="legend" x="{_LEFT + 36}" y="{row:.1f}">'
            f"{_text(name)}</text>"
        )
    ticks = [(t, f"{round(t, 2):g}") for t in x[:: max(1, (len(x) + 4) // 5)]]
    if ticks[-1][0] != x[-1] and len(x) % 2 == 0:
        ticks = [(t, f"{round(t, 2):g}") for t in (*x[::2], x[-1])]
        ticks = [t for t in ticks if t[0] == x[-1] or x[-1] - t[0] > (x[1] - x[0]) * 1.5]
    summary = f"{', '.join(series)} against {x_label}"
    return plot.svg(parts, ticks, x_label, y_label, summary)


def curves(
    series: Mapping[str, tuple[ArrayLike, ArrayLike]],
    x_label: str,
    y_label: str,
    *,
    logarithmic: bool = False,
) -> str:
    """Draw up to four curves of any positions and values, the legend above them.

    Args:
        series: positions, ascending, and values by name; values that are not finite, or with a
            logarithmic axis not above 0, are left out.
        x_label: name of the x axis.
        y_label: what the values are, for who hears the chart; its caption says it too.
        logarithmic: whether equal steps of the y axis are powers of ten.

    Returns:
        SVG text, or empty where there is no value.
    """
    kept: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, (positions, values) in series.items():
        at, value = np.asarray(positions, np.float64), np.asarray(values, np.float64)
        good = np.isfinite(value) & ((value > 0) | (not logarithmic))
        if good.any():
            kept[name] = at[good], np.log10(value[good]) if logarithmic else value[good]
    if not kept:
        return ""
    xs, ys = (np.concatenate([pair[k] for pair in kept.values()]) for k in (0, 1))
    pad = max((float(ys.max()) - float(ys.min())) * 0.06, 1e-9 + abs(float(ys.max())) * 1e-3)
    low, high = float(ys.min()) - pad, float(ys.max()) + pad
    levels = [t for t in axis_ticks(low, high, 5) if low <= t <= high]
    if logarithmic:
        levels = [t for t in levels if t == int(t)] or levels
    first, last = float(xs.min()), float(xs.max())
    last = last if last > first else first + 1
    plot = _Plot((first, last), (low, high, levels))
    parts, place = [], 0.0
    for index, (name, (at, value)) in enumerate(kept.items()):
        path = " L".join(f"{plot.x(a):.2f} {plot.y(b):.2f}" for a, b in zip(at, value, strict=True))
        parts.append(f'<path class="line s{index}" d="M{path}"><title>{_text(name)}</title></path>')
        parts.append(
            f'<line class="line s{index}" x1="{place + 4:.0f}" x2="{place + 22:.0f}"'
            f' y1="{_TOP - 14}" y2="{_TOP - 14}"/><text class="legend" x="{place + 27:.0f}"'
            f' y="{_TOP - 10}">{_text(name)}</text>'
        )
        place += 38 + 6.1 * len(name)
    ticks = [(t, f"{t:g}") for t in axis_ticks(first, last, 6) if first <= t <= last]
    words = [_power(t) for t in levels] if logarithmic else None
    return plot.svg(parts, ticks, x_label, "", f"{y_label} against {x_label}", words)


def _power(exponent: float) -> str:
    return f"{10**exponent:g}" if abs(exponent) < 4 else f"1e{exponent:g}"


def curve(
    x: Sequence[float],
    y: Sequence[float],
    x_label: str,
    y_label: str,
    marked: Mapping[str, float],
) -> str:
    """Draw one curve, its y axis no wider than its values ask for.

    Args:
        x: positions, ascending, at least one.
        y: finite values, as long as `x`.
        x_label: name of the x axis.
        y_label: name of the y axis.
        marked: positions to mark with a line, by name; up to three.

    Returns:
        SVG text.
    """
    low, high = min(y), max(y)
    pad = max((high - low) * 0.08, 0.005)
    ticks = [t for t in axis_ticks(low - pad, high + pad, 5) if low - pad <= t <= high + pad]
    wide = 0.04 * (x[-1] - x[0]) or 0.5
    plot = _Plot((x[0] - wide, x[-1] + wide), (low - pad, high + pad, ticks))
    parts = []
    for index, (name, position) in enumerate(marked.items()):
        place = plot.x(position)
        anchor = "end" if place > WIDTH / 2 else "start"
        parts.append(
            f'<line class="line s{index + 1}" x1="{place:.2f}" x2="{place:.2f}" y1="{_TOP}"'
            f' y2="{plot.y(low - pad):.2f}"/><text class="legend"'
            f' x="{place + (-5 if anchor == "end" else 5):.2f}" y="{_TOP + 12 + 15 * index}"'
            f' text-anchor="{anchor}">{_text(name)}</text>'
        )
    path = " L".join(f"{plot.x(a):.2f} {plot.y(b):.2f}" for a, b in zip(x, y, strict=True))
    parts.append(f'<path class="line s0" d="M{path}"/>')
    parts += [
        f'<circle class="dot s0" cx="{plot.x(a):.2f}" cy="{plot.y(b):.2f}" r="3.2">'
        f"<title>{_text(x_label)} {a:g}: {b:.4f}</title></circle>"
        for a, b in zip(x, y, strict=True)
    ]
    shown = [(t, f"{t:g}") for t in axis_ticks(x[0] - wide, x[-1] + wide, 6)]
    return plot.svg(parts, shown, x_label, y_label, f"{y_label} against {x_label}")


class _Plot:
    """A frame: where data lie in the drawing, and the axes around them."""

    def __init__(
        self, x_range: tuple[float, float], y_axis: tuple[float, float, list[float]]
    ) -> None:
        self._x_range = x_range
        self._y_low, self._y_high, self._y_ticks = y_axis

    def x(self, value: float) -> float:
        low, high = self._x_range
        return _LEFT + (value - low) / (high - low) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        share = (value - self._y_low) / (self._y_high - self._y_low)
        return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)

    def svg(
        self,
        parts: Sequence[str],
        x_ticks: Sequence[tuple[float, str]],
        x_label: str,
        y_label: str,
        summary: str,
        y_words: Sequence[str] | None = None,
    ) -> str:
        floor = self.y(self._y_low)
        axes = []
        words = y_words or [number(tick) for tick in self._y_ticks]
        for tick, word in zip(self._y_ticks, words, strict=True):
            level = self.y(tick)
            axes.append(
                f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{level:.2f}"'
                f' y2="{level:.2f}"/><text class="tick" x="{_LEFT - 7}" y="{level + 3.5:.2f}"'
                f' text-anchor="end">{_text(word)}</text>'
            )
        for position, text in x_ticks:
            place = self.x(position)
            axes.append(
                f'<line class="axis" x1="{place:.2f}" x2="{place:.2f}" y1="{floor:.2f}"'
                f' y2="{floor + 4:.2f}"/><text class="tick" x="{place:.2f}" y="{floor + 16:.2f}"'
                f' text-anchor="middle">{_text(text)}</text>'
            )
        axes.append(
            f'<text class="label" x="{(WIDTH + _LEFT - _RIGHT) / 2:.1f}" y="{HEIGHT - 7}"'
            f' text-anchor="middle">{_text(x_label)}</text>'
            f'<text class="label" x="{_LEFT - 7}" y="{_TOP - 14}" text-anchor="end">'
            f"{_text(y_label)}</text>"
        )
        base = (
            f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{floor:.2f}"'
            f' y2="{floor:.2f}"/>'
        )
        return (
            f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
            f' aria-label="{_text(summary)}">{"".join(axes)}{"".join(parts)}{base}</svg>'
        )


def _nice_range(low: float, high: float) -> tuple[float, float, list[float]]:
    ticks = axis_ticks(low, max(high, 1), 5)
    step = ticks[1] - ticks[0]
    top = step * np.ceil(max(high, 1) / step)
    return low, float(top), [t for t in [*ticks, float(top)] if t == int(t)]


def axis_ticks(low: float, high: float, most: int) -> list[float]:
    """Return round values, evenly spaced, from one end of an axis to the other; about `most`."""
    raw = (high - low) / most
    power = 10.0 ** np.floor(np.log10(raw))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw * (1 - 1e-9))
    first = np.ceil(low / step - 1e-9)
    count = int(np.floor(high / step + 1e-9) - first) + 1
    return [float(round((first + i) * step, 12)) for i in range(max(count, 0))]


def _text(text: str) -> str:
    return escape(printable(text))
