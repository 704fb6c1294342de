"""No cell that names something is a formula to a spreadsheet; numbers are numbers."""

import csv
import doctest
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellmill.arrays import csv_tables
from cellmill.arrays.csv_tables import csv_text

FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x","y")', " =1")
TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"))


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_a_text(text):
    rows = list(csv.reader(io.StringIO(csv_text([text], [[text]]), newline="")))
    assert rows == [[f"'{text}"], [f"'{text}"]]


@given(st.lists(st.tuples(TEXT, TEXT, st.integers(), st.floats(allow_nan=False))))
def test_every_cell_comes_back_and_none_is_a_formula(rows):
    written = csv_text(["a", "b", "c", "d"], rows)
    head, *found = csv.reader(io.StringIO(written, newline=""))
    assert head == ["a", "b", "c", "d"]
    assert len(found) == len(rows)
    for (*texts, whole, number), cells in zip(rows, found, strict=True):
        for text, shown in zip(texts, cells[:2], strict=True):
            assert not shown.startswith(("=", "+", "-", "@", "\t", "\r"))
            assert shown in (text, f"'{text}")
        assert (int(cells[2]), float(cells[3])) == (whole, number)


def test_the_examples_are_true():
    assert doctest.testmod(csv_tables).attempted
    assert doctest.testmod(csv_tables).failed == 0
