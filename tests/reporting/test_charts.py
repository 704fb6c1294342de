"""Charts are well-formed, count everything, and stay in their frame."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellmill.reporting.charts import HEIGHT, WIDTH, curves, histogram, lines

finite = st.floats(-1e12, 1e12, allow_nan=False)


def bars(svg):
    return [e for e in ET.fromstring(svg).iter() if e.tag == "rect"]


def counted(svg):
    return sum(int(bar.find("title").text.rsplit(": ", 1)[1].replace(",", "")) for bar in bars(svg))


@given(st.lists(finite, min_size=1, max_size=80))
def test_a_histogram_counts_every_value_once(values):
    assert counted(histogram(values, "Area")) == len(values)


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=80))
def test_a_histogram_of_areas_counts_every_value_once(values):
    assert counted(histogram(values, "Area, px", quantum=1.0)) == len(values)


@given(st.lists(finite, min_size=1, max_size=80))
def test_everything_drawn_is_inside_the_drawing(values):
    for element in ET.fromstring(histogram(values, "Area")).iter():
        for key, most in (
            ("x", WIDTH),
            ("x1", WIDTH),
            ("x2", WIDTH),
            ("y", HEIGHT),
            ("y2", HEIGHT),
        ):
            if key in element.attrib:
                assert 0 <= float(element.attrib[key]) <= most
        if element.tag == "rect":
            assert float(element.attrib["height"]) >= 0


def test_far_values_get_a_bar_of_their_own():
    values = np.append(np.random.default_rng(0).normal(100, 5, 1000), [1e4, 2e4])
    last = bars(histogram(values, "Area"))[-1]
    assert last.find("title").text.startswith("above ")
    assert counted(histogram(values, "Area")) == 1002


def test_values_that_are_not_finite_are_left_out_and_none_gives_no_chart():
    assert counted(histogram([1, np.nan, np.inf, 2], "x")) == 2
    assert histogram([np.nan], "x") == ""
    assert histogram([], "x") == ""


def test_names_are_escaped():
    svg = histogram([1, 2], '<script>"&', counted="<b>") + lines(
        [0.5, 0.6], {"<i>": [0, 1]}, "<u>", "<s>"
    )
    assert not re.search(r"<(script|b|i|u|s)>", svg)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_a_line_has_a_dot_for_each_value(values):
    x = [0.5 + 0.05 * i for i in range(len(values))]
    svg = ET.fromstring(lines(x, {"F1": values}, "IoU", ""))
    dots = [e for e in svg.iter() if e.tag == "circle"]
    assert len(dots) == len(values)
    for dot, value in zip(dots, values, strict=True):
        assert dot.find("title").text.endswith(f"{value:.3f}")


def test_the_ten_thresholds_have_ticks_at_both_ends():
    svg = lines([0.5 + 0.05 * i for i in range(10)], {"F1": [0.5] * 10}, "IoU", "")
    ticks = re.findall(r'text-anchor="middle">([\d.]+)<', svg)
    assert ticks[0].startswith("0.5")
    assert ticks[-1] == "0.95"
    assert len(ticks) == len(set(ticks)) >= 4


@pytest.mark.parametrize("values", [[0.0, 0.0], [5.0], [1e-9, 2e-9], [-3, 3], [1e11, 1e11 + 1]])
def test_odd_ranges_are_drawn(values):
    assert counted(histogram(values, "x")) == len(values)


@pytest.mark.parametrize("logarithmic", [False, True])
def test_curves_are_drawn_inside_and_what_cannot_be_is_left_out(logarithmic):
    values = [1.0, float("nan"), 1e-5, 0.0, 30.0]
    svg = curves(
        {"a <b>": (range(5), values), "none": ([0], [float("inf")])},
        "x",
        "y",
        logarithmic=logarithmic,
    )
    assert "a &lt;b&gt;" in svg
    assert "none" not in svg
    (path,) = re.findall(r'd="M([^"]+)"', svg)
    points = [tuple(map(float, point.split())) for point in path.split(" L")]
    assert len(points) == (3 if logarithmic else 4)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)
    assert curves({"none": ([0], [float("nan")])}, "x", "y") == ""


@pytest.mark.parametrize("level", [0.0, 5.0, -3.0])
def test_a_flat_curve_is_drawn(level):
    assert "<path" in curves({"a": ([0, 1], [level, level])}, "x", "y")
    assert "<path" in curves({"a": ([2], [level])}, "x", "y")
