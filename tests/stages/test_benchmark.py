"""The stages of a benchmark, by hand: what is measured is what its records say."""

import json

import numpy as np
import pytest
import tifffile

from cellmill.arrays.batch import Batch
from cellmill.benchmark.conditions import Condition
from cellmill.benchmark.tables import read_table
from cellmill.labels.numbering import canonical_labels
from tests.segmentation.maps import balls
from tests.stages.by_command import stage

STAGES = ("preprocess", "predict", "postprocess")


def condition(**more):
    given = {
        "run": "r",
        "condition": "c01",
        "sweep": "size",
        "round": 1,
        "segmenter": "plain",
        "model": "voronoi_otsu",
        "digest": "",
        "side": 48,
        "repeats": 2,
    }
    return Condition(**{**given, **more}).to_dict()


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """Give a folder with a converted image of balls and its truth."""
    folder = tmp_path_factory.mktemp("benchmark")
    labels = canonical_labels(balls(3, (64, 80), 12, 8))
    noise = np.random.default_rng(0).integers(0, 20, labels.shape)
    tifffile.imwrite(folder / "a.tif", (200 * (labels > 0) + noise).astype(np.uint8))
    tifffile.imwrite(folder / "a_labels.tif", labels.astype(np.int32))
    item = {"image": str(folder / "a.tif"), "truth": str(folder / "a_labels.tif")}
    places = {key: folder / key for key in ("images", "truth")}
    assert not stage("tiff_to_npz", items=json.dumps(item), **places)
    assert not stage("fetch_model", source="voronoi_otsu", model=folder / "model")
    return folder


def measured(converted, folder, asked):
    """Run a condition's stages and return its table."""
    at = {name: folder / name for name in ("subjects", "preprocessed", "predictions", "labels")}
    at |= {name: folder / name for name in ("subjects_truth", "scores", "table")}
    records = {name: folder / f"{name}.json" for name in STAGES}
    cut = {"images": converted / "images", "truth": converted / "truth"}
    cut |= {"subjects": at["subjects"], "subjects_truth": at["subjects_truth"]}
    assert not stage("benchmark_images", **cut, condition=json.dumps(asked))
    model = converted / "model"
    ready = at["preprocessed"]
    assert not stage(
        "preprocess",
        images=at["subjects"],
        model=model,
        preprocessed=ready,
        record=records["preprocess"],
    )
    predicted = {"predictions": at["predictions"], "record": records["predict"]}
    assert not stage("predict", preprocessed=ready, model=model, **predicted)
    found = {"labels": at["labels"], "record": records["postprocess"]}
    assert not stage("postprocess", predictions=at["predictions"], **found)
    scored = {"truth": at["subjects_truth"], "scores": at["scores"]}
    assert not stage("metrics", labels=at["labels"], **scored)
    assert not stage(
        "tabulate_benchmark",
        subjects=at["subjects"],
        labels=at["labels"],
        scores=at["scores"],
        condition=json.dumps(asked),
        table=at["table"],
        **{f"{name}_record": path for name, path in records.items()},
    )
    return read_table(at["table"])


@pytest.fixture(scope="module")
def tables(converted, tmp_path_factory):
    """Give the tables of a crop and of a mosaic."""
    found = {}
    for number, side in enumerate((48, 130), 1):
        folder = tmp_path_factory.mktemp(f"side{side}")
        found[folder] = measured(converted, folder, condition(condition=f"c0{number}", side=side))
    return found


def test_the_table_repeats_the_records_to_the_microsecond(tables):
    for folder, table in tables.items():
        for name in STAGES:
            record = json.loads((folder / f"{name}.json").read_text())
            whole = [r for r in table if r["stage"] == name and not r["step"]]
            phases = {r["phase"]: r["wall_s"] for r in whole}
            assert phases["task"] == pytest.approx(
                record["totals"]["wall_s"] + record["totals"]["start_wall_s"], abs=2e-6
            )
            steady = [r["wall_s"] for r in whole if r["phase"] == "steady"]
            assert steady == [i["wall_s"] for i in record["images"][1:]]
            assert phases["warm-up"] == record["images"][0]["wall_s"]


def test_a_row_says_what_it_is_of(tables):
    for (folder, table), side, synthetic in zip(
        tables.items(), (48, 130), (False, True), strict=True
    ):
        scores = json.loads((folder / "scores" / "warm_up.json").read_text())["nuclear"]
        at_half = scores["matching"][0]
        assert at_half["iou_threshold"] == 0.5
        for row in table:
            assert (row["height_px"], row["width_px"], row["pixels"]) == (side, side, side * side)
            assert row["mosaic"] is synthetic
            assert (row["segmenter"], row["image"], row["engine"]) == ("plain", "a", "")
            assert row["method"] == "voronoi_otsu (nuclear)"
            assert row["f1_50"] == pytest.approx(at_half["f1"])
            assert (row["objects"], row["objects_true"]) == (
                scores["n_predicted"],
                scores["n_truth"],
            )
            assert row["objects_per_mpx"] == pytest.approx(row["objects"] * 1e6 / side**2)


def test_repeats_are_the_same_image_and_the_warm_up_alone_has_truth(tables):
    folder = next(iter(tables))
    subjects, truth = Batch.open(folder / "subjects"), Batch.open(folder / "subjects_truth")
    assert [e.name for e in subjects.entries] == ["warm_up", "repeat_1", "repeat_2"]
    first, *others = (subjects.read(entry, "image") for entry in subjects.entries)
    assert all((first == other).all() for other in others)
    assert [bool(entry.arrays) for entry in truth.entries] == [True, False, False]


def test_the_report_leaves_every_file_and_merges(tables, tmp_path):
    given = {"tables": [folder / "table" for folder in tables]}
    out = {n: tmp_path / n for n in ("benchmark", "table", "parquet", "schema", "plots", "numbers")}
    assert not stage("report_benchmark", **given, **out)
    numbers = json.loads(out["numbers"].read_text())
    assert [each["shape"] for each in numbers["measured"]] == [[48, 48], [130, 130]]
    assert read_table(out["table"]) == read_table(out["parquet"])
    names = {path.stem for path in out["plots"].glob("*.svg")}
    assert names == {path.stem for path in out["plots"].glob("*.png")}
    assert {"stages", "memory", "total_time"} <= names
    page = out["benchmark"].read_text()
    assert all("<svg" in page for _ in names)
    assert "mosaics of mirrored copies" in page
    # Merging what is merged changes nothing.
    again = {n: tmp_path / "again" / n for n in out}
    merged = {"tables": [out["table"], *given["tables"]], "baseline": out["parquet"]}
    assert not stage("report_benchmark", **merged, **again)
    assert read_table(again["table"]) == read_table(out["table"])
    assert json.loads(again["numbers"].read_text())["baseline"]["regressions"] == []


def test_wrong_prices_and_conditions_are_one_line(tables, converted, tmp_path, capsys):
    given = {"tables": [folder / "table" for folder in tables], "prices": '{"x": "dear"}'}
    out = {n: tmp_path / n for n in ("benchmark", "table", "parquet", "schema", "plots", "numbers")}
    assert stage("report_benchmark", **given, **out) == 2
    assert "prices, 'x': expected US dollars an hour" in capsys.readouterr().err
    assert not any(path.exists() for path in out.values())
    cut = {"images": converted / "images", "truth": converted / "truth"}
    made = {name: tmp_path / name for name in ("subjects", "subjects_truth")}
    wrong = json.dumps({**condition(), "side": 1})
    assert stage("benchmark_images", **cut, **made, condition=wrong) == 2
    assert "benchmark side: expected at least 16, found 1" in capsys.readouterr().err
    assert not any(path.exists() for path in made.values())


def test_fewer_objects_and_more_channels_are_what_is_measured(tables, converted, tmp_path):
    whole = next(iter(tables.values()))[0]
    half = measured(converted, tmp_path, condition(kept=0.5, channels=3))
    subjects = Batch.open(tmp_path / "subjects")
    assert subjects.entries[0].arrays["image"].shape[2] == 3
    for row in half:
        assert (row["kept"], row["channels"]) == (0.5, 3)
        assert row["objects_true"] == round(whole["objects_true"] / 2)
