"""Figures that stand by themselves: what they show is in both their forms."""

import io
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cellmill.reporting.drawings import Drawing, Line, Words, plain
from cellmill.reporting.figures import COLOURS, Axis, Bar, Series, bars, points

SVG = "{http://www.w3.org/2000/svg}"
VALUES = st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=6)


def shapes(svg, colour):
    found = ElementTree.fromstring(svg).iter(f"{SVG}polygon")
    return [each for each in found if each.get("fill") == colour]


def corners(drawing):
    for part in drawing.parts:
        yield from [(part.x, part.y)] if isinstance(part, Words) else part.points


@given(VALUES, st.booleans(), st.booleans())
def test_every_point_is_drawn_inside_the_figure(values, log_x, log_y):
    series = [
        Series("a <b> & c", values, values[::-1], [v / 2 for v in values]),
        Series("other", values, [v * 2 for v in values]),
    ]
    drawing = points("title", series, Axis("x, px", log=log_x), Axis("y, s", log=log_y))
    marks = shapes(drawing.svg(), COLOURS[0])
    assert len(marks) == len(values) + 1, "one is the legend's"
    for x, y in corners(drawing):
        assert -1 <= x <= drawing.width + 1
        assert -1 <= y <= drawing.height + 1


def test_on_logarithmic_axes_equal_ratios_are_equal_lengths():
    drawing = points(
        "t", [Series("a", [1, 10, 100], [1, 10, 100])], Axis("x", log=True), Axis("y", log=True)
    )
    marks = [np.mean(p.points, axis=0) for p in drawing.parts if getattr(p, "title", "")]
    first, second = np.diff(marks, axis=0)
    assert first == pytest.approx(second)


def test_bars_are_as_long_as_their_parts():
    rows = [Bar("a", {"x": 1.0, "y": 3.0}), Bar("b", {"x": 2.0}, 1.5, 2.5)]
    drawing = bars("t", rows, "s")
    widths = [
        np.ptp([x for x, _ in part.points]) for part in drawing.parts if getattr(part, "title", "")
    ]
    assert np.array(widths) / widths[0] == pytest.approx([1, 3, 2])


def test_png_and_svg_show_the_same():
    drawing = Drawing(200, 100, "a line")
    drawing.parts += [
        Line([(10, 50), (190, 50)], COLOURS[1], 4, (20, 20)),
        Words(100, 30, "µm × 2"),
    ]
    image = np.asarray(Image.open(io.BytesIO(drawing.png())))
    assert image.shape == (200, 400, 3)
    colour = [int(COLOURS[1][i : i + 2], 16) for i in (1, 3, 5)]
    drawn = (np.abs(image[100].astype(int) - colour).max(axis=1) < 8).sum() / 2
    assert drawn == pytest.approx(100, abs=3), "twenty of every forty, over 180"
    assert (image[30:60] < 128).any(), "words"
    assert "µm × 2" in drawing.svg()
    assert plain("µm × 2") == "um x 2"


def test_series_are_told_apart_without_colour():
    drawing = points(
        "t", [Series(str(i), [1, 2], [i, i + 1]) for i in range(5)], Axis("x"), Axis("y")
    )
    marks = {
        (len(p.points), np.round(np.subtract(p.points[0], np.mean(p.points, axis=0)), 1).tobytes())
        for p in drawing.parts
        if getattr(p, "title", "")
    }
    assert len(marks) == 5
