"""Tables come back from CSV and Parquet as they were, and equal tables give equal bytes."""

import csv
import io

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest

from cellmill.measurement import measure_labels, write_csv, write_parquet


@pytest.fixture
def table():
    labels = np.kron(np.arange(12).reshape(3, 4), np.ones((5, 5), int))
    image = np.random.default_rng(0).integers(0, 65536, (15, 20, 2), np.uint16)
    return measure_labels(labels, image, channel_names=('CD3, "bright"', "µ-tubulin"))


def written(write, table) -> bytes:
    file = io.BytesIO()
    write(table, file)
    return file.getvalue()


def test_parquet_keeps_types_values_and_explanations(table):
    again = pyarrow.parquet.read_table(io.BytesIO(written(write_parquet, table)))
    assert again.equals(table)
    assert again.schema.equals(table.schema, check_metadata=True)


def test_csv_keeps_every_digit_and_odd_channel_names(table):
    again = pyarrow.csv.read_csv(io.BytesIO(written(write_csv, table)))
    assert again.column_names == table.column_names
    for name in table.column_names:
        assert again[name].to_pylist() == table[name].to_pylist(), name


@pytest.mark.parametrize("write", [write_csv, write_parquet])
def test_equal_tables_give_equal_bytes(write, table):
    copy = pyarrow.table({n: table[n].to_pylist() for n in table.column_names}, table.schema)
    assert written(write, copy) == written(write, table)


def test_an_empty_table_is_a_header(table):
    assert written(write_csv, table.slice(0, 0)).count(b"\n") == 1


def test_no_text_is_a_formula_and_numbers_are_numbers():
    texts = ["nuclear", "=1+1", "-1", "a\r=2", "@x", None]
    table = pyarrow.table({"=name": texts, "value": [-1, 2, -3, 4, 5, -6]})
    rows = csv.reader(io.StringIO(written(write_csv, table).decode(), newline=""))
    shown = ["nuclear", "'=1+1", "'-1", "a\r=2", "'@x", ""]
    assert list(rows) == [
        ["'=name", "value"],
        *([text, str(value)] for text, value in zip(shown, (-1, 2, -3, 4, 5, -6), strict=True)),
    ]
