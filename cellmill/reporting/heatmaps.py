"""A value over two axes as coloured cells, as SVG text; colours come from `report.css`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from cellmill.reporting.charts import WIDTH

_LEFT, _RIGHT, _TOP, _BOTTOM, _ROW = 62, 14, 24, 40, 30
#: Narrower cells bear no figures; the browser shows them when a cell is pointed at.
_FOR_TEXT = 40


def heat_map(
    values: Mapping[tuple[float, ...], float],
    labels: tuple[str, str],
    span: tuple[float, float],
    marked: Mapping[str, tuple[float, ...]],
) -> str:
    """Draw a value over all pairs of two parameters' values.

    Args:
        values: by (row, column); pairs that are not there stay empty.
        labels: of the rows' parameter and of the columns'.
        span: which values are palest and fullest.
        marked: cells to frame, by class: `default`, `best`; a cell that is not there is not.

    Returns:
        SVG text.
    """
    rows = sorted({row for row, _ in values}, reverse=True)
    columns = sorted({column for _, column in values})
    width = (WIDTH - _LEFT - _RIGHT) / len(columns)
    height = _TOP + _ROW * len(rows) + _BOTTOM
    low, high = span
    parts = []
    for (row, column), value in values.items():
        x, y = _LEFT + columns.index(column) * width, _TOP + rows.index(row) * _ROW
        share = (value - low) / (high - low) if high > low else 1.0
        full = 0.06 + 0.94 * min(max(share, 0.0), 1.0)
        told = f"{labels[0]} {row:g}, {labels[1]} {column:g}: {value:.4f}"
        parts.append(
            f'<rect class="cell" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_ROW}"'
            f' fill-opacity="{full:.3f}"><title>{escape(told)}</title></rect>'
        )
        if width >= _FOR_TEXT:
            on = " on" if full > 0.55 else ""
            parts.append(
                f'<text class="cell-value{on}" x="{x + width / 2:.1f}" y="{y + _ROW / 2 + 4}"'
                f' text-anchor="middle">{value:.3f}</text>'
            )
    for name, (row, column) in marked.items():
        if (row, column) in values:
            inset = 2 if name == "best" else 5
            x, y = _LEFT + columns.index(column) * width, _TOP + rows.index(row) * _ROW
            parts.append(
                f'<rect class="at {escape(name)}" x="{x + inset:.1f}" y="{y + inset}"'
                f' width="{width - 2 * inset:.1f}" height="{_ROW - 2 * inset}"/>'
            )
    parts += _axes(rows, columns, labels, width, height)
    about = f"{labels[0]} against {labels[1]}"
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img"'
        f' aria-label="{escape(about)}">{"".join(parts)}</svg>'
    )


def _axes(
    rows: Sequence[float],
    columns: Sequence[float],
    labels: tuple[str, str],
    width: float,
    height: int,
) -> list[str]:
    floor = _TOP + _ROW * len(rows)
    return [
        *(
            f'<text class="tick" x="{_LEFT - 7}" y="{_TOP + _ROW * (i + 0.5) + 4}"'
            f' text-anchor="end">{row:g}</text>'
            for i, row in enumerate(rows)
        ),
        *(
            f'<text class="tick" x="{_LEFT + width * (i + 0.5):.1f}" y="{floor + 15}"'
            f' text-anchor="middle">{column:g}</text>'
            for i, column in enumerate(columns)
        ),
        f'<text class="label" x="0" y="{_TOP - 10}">{escape(labels[0])}</text>',
        f'<text class="label" x="{(WIDTH + _LEFT - _RIGHT) / 2}" y="{height - 7}"'
        f' text-anchor="middle">{escape(labels[1])}</text>',
    ]
