"""`t=all`: each time point is an image of the batch, from the file to pages and tracking."""

import csv
import json
import os
import subprocess

import numpy as np
import pyarrow.parquet
import pytest
import tifffile

from cellmill.arrays.batch import Batch
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.contract import HTML, Dataset, Metrics, Record
from cellmill.errors import BadInput
from cellmill.stages.export_results import export_results
from cellmill.stages.measure import measure
from cellmill.stages.report import report
from cellmill.stages.summarize import summarize
from cellmill.stages.tiff_to_npz import tiff_to_npz

TIMES = 11


def series():
    """Squares, one at the first time point and one more at each later one, and their labels."""
    labels = np.zeros((TIMES, 40, 140), np.int32)
    for t in range(TIMES):
        for k in range(t + 1):
            labels[t, 5 : 15 + t, 2 + 12 * k : 11 + 12 * k] = k + 1
    noise = np.random.default_rng(0).integers(0, 20, labels.shape)
    return (noise + 100 * (labels > 0)).astype(np.uint16), labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Convert a series with its truth, an image beside it; the truth stands in for labels."""
    folder = tmp_path_factory.mktemp("series")
    pixels, labels = series()
    about = {"axes": "TYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(folder / "a.ome.tif", pixels, metadata=about)
    tifffile.imwrite(folder / "a_labels.ome.tif", labels, metadata={"axes": "TYX"})
    tifffile.imwrite(folder / "b.ome.tif", pixels[0], metadata={"axes": "YX"})
    items = [
        {"image": str(folder / "a.ome.tif"), "truth": str(folder / "a_labels.ome.tif")},
        str(folder / "b.ome.tif"),
    ]
    outputs = Dataset(folder / "images"), Dataset(folder / "truth"), Record(folder / "r.json")
    tiff_to_npz(*outputs, items, t="all")
    truth = Batch.open(folder / "truth")
    with BatchWriter(folder / "labels") as out:
        for entry in truth.entries:
            found = truth.read(entry, "labels") if entry.arrays else labels[0]
            out.write(entry.name, {"nuclear": found}, axes={"nuclear": "YX"})
    measure(*given(folder, "images", "labels", "tables"), Record(folder / "m.json"))
    return folder


def given(folder, *names):
    return [Dataset(folder / name) for name in names]


def test_each_time_point_is_an_image_and_has_its_truth(folder):
    pixels, labels = series()
    images, truth = Batch.open(folder / "images"), Batch.open(folder / "truth")
    names = [f"a_t{t:02d}" for t in range(TIMES)]
    assert [e.name for e in images.entries] == [*names, "b"]
    for t, name in enumerate(names):
        entry = images.entry(name)
        assert np.array_equal(images.read(entry, "image")[..., 0], pixels[t])
        assert np.array_equal(truth.read(truth.entry(name), "labels"), labels[t])
        assert (entry.attributes["t"], entry.attributes["time_series"]) == (t, "a")
        assert entry.mpp == (0.5, 0.5)


def test_measurements_carry_the_time_point(folder):
    tables = Batch.open(folder / "tables")
    for t in range(TIMES):
        entry = tables.entry(f"a_t{t:02d}")
        table = pyarrow.parquet.read_table(tables.file(entry, "parquet"))
        assert table["t"].to_pylist() == [t] * (t + 1)
        assert table.column_names[:3] == ["compartment", "label", "t"]


def test_the_summary_follows_count_area_and_intensity(folder, tmp_path):
    reports = Dataset(tmp_path / "reports")
    page, record = HTML(tmp_path / "page.html"), Record(tmp_path / "record.json")
    report(*given(folder, "images", "labels", "tables"), reports, page, record)
    outputs = (
        HTML(tmp_path / "summary.html"),
        Dataset(tmp_path / "summary.csv"),
        Metrics(tmp_path / "summary.json"),
    )
    summarize([reports], *outputs, Record(tmp_path / "record.json"))
    rows = json.loads(outputs[2].path.read_text())["over_time"]
    mine = [row for row in rows if row["time_series"] == "a"]
    assert [row["t"] for row in mine] == [*range(TIMES)]
    assert [row["count"] for row in mine] == [t + 1 for t in range(TIMES)]
    areas = [9 * (10 + t) * 0.25 for t in range(TIMES)]
    assert [row["median_area_um2"] for row in mine] == pytest.approx(areas)
    assert all(100 < value < 120 for row in mine for value in row["intensities"].values())
    table = list(csv.DictReader(outputs[1].path.read_text().splitlines()))
    assert [row["t"] for row in table] == [*map(str, range(TIMES)), "0"]
    html = outputs[0].path.read_text()
    assert html.count("<figure><svg") == 3
    assert "Over time" in html


def test_a_series_goes_to_programs_that_track(folder, tmp_path):
    _, labels = series()
    out = Dataset(tmp_path / "exports")
    inputs = given(folder, "images", "labels", "tables")
    export_results(*inputs, out, Record(tmp_path / "record.json"), formats="tracking")
    batch = Batch.open(out.path)
    place = batch.file(batch.entry("a"), "tracking")
    assert np.array_equal(tifffile.imread(place / "nuclear.tif"), labels)
    rows = list(csv.DictReader((place / "nuclear.csv").read_text().splitlines()))
    assert list(rows[0]) == ["t", "x", "y", "z", "label"]
    assert len(rows) == sum(range(1, TIMES + 1))
    for row in rows:
        y, x = np.nonzero(labels[int(row["t"])] == int(row["label"]))
        assert float(row["y"]) == pytest.approx(y.mean())
        assert float(row["x"]) == pytest.approx(x.mean())


READ = """
import sys
import btrack, pandas, tifffile
from laptrack import LapTrack, OverLapTrack
labels = tifffile.imread(sys.argv[1] + "/nuclear.tif")
print(len(btrack.utils.segmentation_to_objects(labels)))
print(len(btrack.io.import_CSV(sys.argv[1] + "/nuclear.csv")))
table = pandas.read_csv(sys.argv[1] + "/nuclear.csv")
tracks, _, _ = LapTrack().predict_dataframe(table, ["y", "x"], frame_col="t")
print(tracks["track_id"].nunique())
"""


@pytest.mark.readers
def test_trackers_read_it(folder, tmp_path, readers):
    out = Dataset(tmp_path / "exports")
    inputs = given(folder, "images", "labels", "tables")
    export_results(*inputs, out, Record(tmp_path / "record.json"), formats="tracking")
    batch = Batch.open(out.path)
    place = batch.file(batch.entry("a"), "tracking")
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [str(readers), "-W", "ignore", "-c", READ, str(place)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    objects, rows, tracks = map(int, done.stdout.split()[-3:])
    assert objects == rows == sum(range(1, TIMES + 1))
    assert tracks == TIMES


def test_an_image_by_itself_is_no_series(measured, tmp_path):
    labels, tables = measured
    out = Dataset(tmp_path / "exports")
    inputs = Dataset(tmp_path / "images"), labels, tables
    with pytest.raises(BadInput, match="expected a time point of a series"):
        export_results(*inputs, out, Record(tmp_path / "record.json"), formats="tracking")


@pytest.mark.parametrize("t", ["two", "-3"])
def test_a_time_point_that_is_none_is_refused(t, tmp_path):
    outputs = Dataset(tmp_path / "i"), Dataset(tmp_path / "t"), Record(tmp_path / "r")
    with pytest.raises(BadInput, match="parameter t: expected the place of a time point, or all"):
        tiff_to_npz(*outputs, ["a.tif"], t=t)
