"""What a benchmark measures is said in words; its tables are found and merged."""

import json

import numpy as np
import pytest
import tifffile

from cellmill.benchmark.tables import read_table, table_csv
from cellmill.errors import BadInput
from launch import merge_benchmarks
from launch.runs.benchmarks import conditions_of, reference_conditions, tables_of
from launch.runs.tables import with_reference
from tests.benchmark.tables import LAWS, sweep


@pytest.fixture
def items(tmp_path):
    """Give the item of an image of 300 × 400 px."""
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((300, 400), np.uint8))
    return [{"image": str(tmp_path / "a.tif"), "truth": "", "name": "a"}]


def test_nothing_said_measures_what_is_at_hand(items):
    found = conditions_of({}, items)
    sizes = [c for c in found if c["sweep"] == "size"]
    assert {c["segmenter"] for c in sizes} >= {"cellmill-nuclei", "voronoi_otsu"}
    assert sorted({c["side"] for c in sizes}) == [224, 247, 272, 300, 424, 600]
    assert {c["sweep"] for c in found} == {"size", "engine", "batch_size", "channels"}
    assert {c["repeats"] for c in found} == {5}
    assert len({c["run"] for c in found}) == 1
    assert found[0]["run"] != conditions_of({}, items)[0]["run"]


def test_settings_are_followed(items):
    given = {
        "sides": "100, full",
        "segmenters": "cellmill-nuclei",
        "devices": "cpu gpu",
        "batch_sizes": "4",
        "precisions": "float32 mixed_bfloat16",
        "tile_sizes": "0 512",
        "channel_counts": "0 12 40",
        "repeats": "3",
        "rounds": "2",
    }
    found = conditions_of(given, items)
    assert {c["side"] for c in found} == {100, 300}
    assert {c["device"] for c in found} == {"cpu", "gpu"}
    assert {c["engine"] for c in found} == {"auto"}
    assert {c["batch_size"] for c in found} == {4}
    assert {c["tile"] for c in found if c["sweep"] == "tile"} == {512}
    assert {c["channels"] for c in found if c["sweep"] == "channels"} == {12, 40}
    assert {c["precision"] for c in found if c["sweep"] == "precision"} == {"mixed_bfloat16"}
    assert {c["round"] for c in found} == {1, 2}


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("sides", "big", "SIDES: expected whole numbers of at least 16"),
        ("engines", "fast", "ENGINES: expected of auto"),
        ("devices", "tpu", "DEVICES: expected of"),
        ("densities", "2", "DENSITIES: expected shares, 0 to 1"),
        ("densities", "1 0.5", "DENSITIES: expected TRUTH beside it"),
        ("channel_counts", "-1", "CHANNEL_COUNTS: expected whole numbers of at least 0"),
        ("repeats", "0", "REPEATS: expected whole numbers of at least 1"),
        ("batch_sizes", "8 -1", "BATCH_SIZES: expected whole numbers of at least 1"),
    ],
)
def test_what_is_no_setting_is_refused(items, setting, value, expected):
    with pytest.raises(BadInput, match=expected):
        conditions_of({setting: value}, items)


def test_with_truth_densities_are_measured(items):
    found = conditions_of({}, [{**items[0], "truth": items[0]["image"]}])
    assert [c["kept"] for c in found if c["sweep"] == "kept"] == [0.5, 0.25]
    assert {c["kept"] for c in found if c["sweep"] != "kept"} == {1.0}


def test_deepcells_own_package_is_measured_at_the_sizes_of_the_others(items):
    given = {"segmenters": "voronoi_otsu deepcell_reference:mine", "rounds": "2", "repeats": "3"}
    name, given = with_reference("benchmark", given)
    assert (name, given["segmenters"]) == ("reference_benchmark", "voronoi_otsu")
    measured = conditions_of(given, items)
    found = reference_conditions(measured, given["reference_model"])
    sizes = [c for c in measured if c["sweep"] == "size"]
    assert {c["segmenter"] for c in found} == {"deepcell_reference"}
    assert all(c["model"].endswith("mine") for c in found)
    assert [(c["side"], c["round"]) for c in found] == [(c["side"], c["round"]) for c in sizes]
    assert {c["run"] for c in found} == {measured[0]["run"]}
    assert not {c["condition"] for c in found} & {c["condition"] for c in measured}
    assert {c["repeats"] for c in found} == {3}


def test_a_benchmark_is_of_one_image(items):
    with pytest.raises(BadInput, match="IMAGE: expected one image for a benchmark, found 2"):
        conditions_of({}, items * 2)


def test_records_of_runs_merge_and_a_baseline_names_what_got_slower(tmp_path, capsys):
    slower = {**LAWS, "predict": (0.8, 1.0)}
    for name, table in (
        ("old", sweep(LAWS, run="old")),
        ("new", sweep(slower, run="new")),
        ("other", sweep(LAWS, run="other", machine={"cpus": 64, "cpu_model": "Other"})),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "benchmark.csv").write_text(table_csv(table))
    records = f"{tmp_path}/new {tmp_path}/other/benchmark.csv"
    given = ["--records", records, "--baseline", f"{tmp_path}/old"]
    out = tmp_path / "merged"
    assert merge_benchmarks.main([*given, "--output", str(out)]) == 0
    assert {row["run"] for row in read_table(out / "benchmark.csv")} == {"new", "other"}
    numbers = json.loads((out / "benchmark.json").read_text())
    assert numbers["baseline"]["regressions"] == [
        "cellmill-nuclei: an image in all",
        "cellmill-nuclei: predict",
    ]
    assert "regression: cellmill-nuclei: predict" in capsys.readouterr().out
    assert merge_benchmarks.main([*given, "--output", str(out)]) == 2
    assert "OUTPUT: expected a new or an empty folder" in capsys.readouterr().err


@pytest.mark.parametrize("records", ["", "no/such/run"])
def test_no_tables_are_refused(records):
    with pytest.raises(BadInput, match="RECORDS: expected"):
        tables_of(records)
