import math

import pytest

from cellmill.reporting.text import fixed, number, percent, seconds, size


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "–"),
        (0, "0"),
        (-0.0, "0"),
        (12345, "12,345"),
        (12345.6, "12,346"),
        (558.4, "558"),
        (26.66, "26.7"),
        (0.06512, "0.0651"),
        (0.5, "0.5"),
        (99.96, "100"),
        (1.5e-7, "1.50e-07"),
        (3.3e9 + 0.5, "3.30e+09"),
        (-3.14159, "-3.14"),
    ],
)
def test_numbers(value, text):
    assert number(value) == text


def test_fractions_are_never_rounded_to_nothing():
    assert percent(1e-7) == "< 0.01 %"
    assert percent(0) == "0 %"
    assert percent(0.01234) == "1.23 %"
    assert percent(1) == "100 %"
    assert percent(None) == "–"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0001, "< 1 ms"),
        (0.25, "250 ms"),
        (3.2, "3.20 s"),
        (59.94, "59.9 s"),
        (59.97, "1 min 00 s"),
        (61, "1 min 01 s"),
        (3599.7, "1 h 00 min"),
        (7300, "2 h 01 min"),
        (None, "–"),
    ],
)
def test_durations(value, text):
    assert seconds(value) == text


def test_sizes_and_fixed():
    assert size(0) == "0 B"
    assert size(1536) == "1.5 KiB"
    assert size(3 << 40) == "3 TiB"
    assert size(None) == "–"
    assert fixed(0.5) == "0.500"
    assert fixed(None) == "–"
