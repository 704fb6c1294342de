"""The table says what records say, and is the same after it was written and read."""

import csv
import io

import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellmill.benchmark.columns import COLUMNS, NAMES, bigquery_schema
from cellmill.benchmark.tables import merged, read_table, table_csv, table_parquet
from cellmill.errors import BadInput
from tests.benchmark.tables import LAWS, rows, sweep

TIMES = {"preprocess": [1.0, 0.1, 0.3], "predict": [4.0, 2.0, 2.5], "postprocess": [1.0, 0.5, 0.5]}


def picked(table, **wanted):
    return [row for row in table if all(row[key] == value for key, value in wanted.items())]


def test_phases_of_a_process_add_up_to_its_time():
    table = rows(512, TIMES)
    for stage in TIMES:
        (task,) = picked(table, stage=stage, phase="task")
        parts = [r for r in picked(table, stage=stage, step="") if r["phase"] != "task"]
        assert sum(r["wall_s"] for r in parts) == pytest.approx(task["wall_s"])
        assert sum(r["cpu_s"] for r in parts) == pytest.approx(task["cpu_s"])
        assert task["peak_rss_bytes"]
        assert all(row.get("peak_rss_bytes") is None for row in parts)


def test_import_load_warm_up_and_steady_state_stand_apart():
    table = rows(512, TIMES)
    seconds = {
        phase: [r["wall_s"] for r in picked(table, stage="predict", phase=phase, step="")]
        for phase in ("start", "import", "load", "warm-up", "steady")
    }
    assert seconds == {
        "start": [0.5],
        "import": [0.5],
        "load": [1.5],
        "warm-up": [4.0],
        "steady": [2.0, 2.5],
    }
    inside = picked(table, stage="postprocess", phase="steady", repeat=2)
    assert {r["step"]: r["wall_s"] for r in inside} == {"": 0.5, "segment": 0.375, "write": 0.125}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_is_the_same_after_writing_and_reading(tmp_path, suffix):
    table = rows(512, TIMES)
    path = tmp_path / f"benchmark.{suffix}"
    path.write_bytes(table_csv(table).encode() if suffix == "csv" else table_parquet(table))
    back = read_table(path)
    assert len(back) == len(table)
    for before, after in zip(table, back, strict=True):
        assert list(after) == list(NAMES)
        for name in NAMES:
            value = before.get(name)
            assert after[name] == (pytest.approx(value) if value is not None else None), name


def test_every_column_is_described_in_the_files_and_in_the_schema(tmp_path):
    path = tmp_path / "benchmark.parquet"
    path.write_bytes(table_parquet(rows(512, TIMES)))
    fields = pyarrow.parquet.read_schema(path)
    schema = bigquery_schema()
    assert [field["name"] for field in schema] == fields.names == [c.name for c in COLUMNS]
    for field, column in zip(schema, COLUMNS, strict=True):
        assert field["description"] == column.meaning
        assert fields.field(column.name).metadata[b"description"].decode() == column.meaning
        assert fields.field(column.name).nullable == (field["mode"] == "NULLABLE")


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=12))
def test_any_name_of_a_segmenter_comes_back_and_is_no_formula(tmp_path_factory, name):
    row = {**rows(512, TIMES)[0], "segmenter": name}
    path = tmp_path_factory.mktemp("table") / "t.csv"
    path.write_text(table_csv([row]), encoding="utf-8")
    assert read_table(path)[0]["segmenter"] == name
    (line,) = csv.DictReader(io.StringIO(table_csv([row])))
    assert not line["segmenter"].startswith(("=", "+", "-", "@"))


def test_a_condition_in_several_tables_counts_once():
    first, other = sweep(LAWS), sweep(LAWS, run="other")
    assert merged([first, other, first]) == [*first, *other]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a,b\n1,2\n", "without run"),
        (table_csv(rows(512, TIMES)).replace("wall_s", "wall"), "without wall_s"),
        (table_csv(rows(512, TIMES)).replace(",512,", ",half,", 1), "'half'"),
        (table_csv(rows(512, TIMES)) + "r\n", "found 1"),
        ("", "without run"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(tmp_path, text, found):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(BadInput, match="benchmark table") as error:
        read_table(path)
    assert found in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_no_parquet_is_refused(tmp_path):
    path = tmp_path / "t.parquet"
    path.write_bytes(table_parquet(rows(512, TIMES))[:-9])
    with pytest.raises(BadInput, match="expected Parquet"):
        read_table(path)
