"""The summarize stage reads manifests and nothing else."""

import csv
import io
import json
from functools import cache

import numpy as np
import pytest

from cellmill.arrays.batch import Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.contract.cli import main
from cellmill.contract.spec import StageSpec
from cellmill.metrics import evaluate
from cellmill.reporting.image_summary import CompartmentSummary, ImageSummary

STAGE = {"stage": "predict", "batches": 1, "wall_s": 2.0, "cpu_s": 3.0, "peak_rss_bytes": 5}


@cache
def scored(found):
    truth = np.array([[1, 0, 2, 0, 3]])
    return evaluate(truth, truth * (truth <= found))


def batch(folder, images, failed=()):
    with BatchWriter(folder, {"stages": [STAGE]}) as out:
        for name, count in images:
            kept = ImageSummary(
                name,
                compartments={"nuclear": CompartmentSummary(count=count, scores=scored(count))},
                seconds=1.5,
            )
            out.annotate(name, summary=kept.to_attributes())
        for name in failed:
            out.skip(Entry(name), f"image '{name}': expected light, found none")
    return folder


def summarize(tmp_path, *folders, more=()):
    out = {k: tmp_path / f"summary.{k}" for k in ("html", "csv", "json")}
    flags = ["--summary", str(out["html"]), "--table", str(out["csv"])]
    flags += ["--numbers", str(out["json"])]
    return main(["summarize", "--reports", *map(str, folders), *flags, *more]), out


def test_batches_are_put_together_in_order(tmp_path):
    first = batch(tmp_path / "one", [("a", 3), ("b", 1)])
    second = batch(tmp_path / "two", [("c", 2)], failed=["d"])
    code, out = summarize(tmp_path, first, second)
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(out["csv"].read_text())))
    assert [row["name"] for row in rows] == ["a", "b", "c", "d"]
    assert [row["count"] for row in rows] == ["3", "1", "2", ""]
    assert rows[3]["status"] == "skipped"
    document = json.loads(out["json"].read_text())
    assert document["pooled"]["nuclear"]["pooled"]["matching"][0]["tp"] == 6
    assert document["pooled"]["nuclear"]["pooled"]["matching"][0]["fn"] == 3
    assert document["stages"] == [
        {**STAGE, "batches": 2, "wall_s": 4.0, "cpu_s": 6.0, "bytes_read": 0, "bytes_written": 0}
        | {"rented": {"": 4.0}}
    ]
    page = out["html"].read_text()
    for name in "abc":
        assert f'href="{name}/report.html"' in page
    assert "expected light, found none" in page


def test_the_title_is_the_users(tmp_path):
    code, out = summarize(tmp_path, batch(tmp_path / "one", [("a", 3)]), more=["--title", "<Run>"])
    assert code == 0
    assert "<h1>&lt;Run&gt;</h1>" in out["html"].read_text()


def test_the_headline_fits_an_artifacts_metadata(tmp_path):
    from cellmill.contract import HTML, Dataset, Metrics, Record
    from cellmill.stages.summarize import summarize as stage

    numbers = Metrics(tmp_path / "n.json")
    folder = batch(tmp_path / "one", [("a", 3), ("b", 2)], failed=["c"])
    stage(
        [Dataset(folder)],
        HTML(tmp_path / "s.html"),
        Dataset(tmp_path / "s.csv"),
        numbers,
        Record(tmp_path / "r"),
    )
    assert numbers.metadata == {
        "images": 3,
        "left_out": 1,
        "nuclear_count": 5,
        "nuclear_f1_50": round(10 / 11, 4),
        "nuclear_ap_50": round(5 / 6, 4),
    }
    assert len(json.dumps(numbers.metadata)) <= 500


@pytest.mark.parametrize("attributes", [{}, {"summary": {}}, {"summary": {"compartments": 3}}])
def test_a_batch_that_is_no_report_gets_its_line(tmp_path, capsys, attributes):
    with BatchWriter(tmp_path / "one") as out:
        out.annotate("a", **attributes)
    code, _ = summarize(tmp_path, tmp_path / "one")
    assert code == 2
    assert "expected a summary, as the stage report keeps it" in capsys.readouterr().err


def test_all_images_of_many_batches_are_in_one_table(tmp_path):
    folders = [
        batch(tmp_path / f"b{i}", [(f"{i}-{j}", (i + j) % 4) for j in range(40)]) for i in range(16)
    ]
    code, out = summarize(tmp_path, *folders)
    assert code == 0
    assert out["csv"].read_text().count("\n") == 16 * 40 + 1


def test_the_interface_is_a_stages():
    spec = StageSpec.load("summarize")
    assert [(i.name, i.is_list) for i in spec.inputs] == [("reports", True)]
    assert [o.name for o in spec.outputs] == ["summary", "table", "numbers", "record"]
