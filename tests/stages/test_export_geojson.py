"""Polygons of each image's objects, from label images and tables that other stages made."""

import json

import numpy as np
import pytest

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.contract import Dataset, Record
from cellmill.errors import BadInput
from cellmill.stages.export_geojson import export_geojson
from cellmill.stages.measure import measure


@pytest.fixture
def run(tmp_path):
    labels = np.zeros((50, 60), np.int32)
    labels[5:15, 5:20], labels[30:45, 30:50] = 1, 2
    pixels = np.random.default_rng(0).integers(0, 99, (50, 60, 1)).astype(np.uint8)
    with BatchWriter(tmp_path / "labels") as out:
        out.write("a", {"nuclear": labels}, axes={"nuclear": "YX"})
        out.write("none", {"nuclear": labels * 0}, axes={"nuclear": "YX"})
        out.skip(Entry("bad"), "cut off")
    with BatchWriter(tmp_path / "images") as out:
        for name in ("a", "none"):
            out.write(name, {"image": pixels}, axes={"image": "YXC"}, channels=("DAPI",))
        out.skip(Entry("bad"), "cut off")
    tables = Dataset(tmp_path / "tables")
    both = Dataset(tmp_path / "images"), Dataset(tmp_path / "labels")
    measure(*both, tables, Record(tmp_path / "measured.json"))
    return both[1], tables


def test_each_image_gets_its_file(run, tmp_path):
    out = Dataset(tmp_path / "annotations")
    export_geojson(*run, out, Record(tmp_path / "record.json"))
    batch = Batch.open(out.path)
    assert [e.status for e in batch.entries] == ["ok", "ok", "skipped"]
    found = json.loads(batch.file(batch.entry("a"), "geojson").read_bytes())
    assert [f["geometry"]["coordinates"][0][0] for f in found["features"]] == [[5, 5], [30, 30]]
    assert found["features"][0]["properties"]["measurements"]["Nucleus: Area px^2"] == 150
    assert json.loads(batch.file(batch.entry("none"), "geojson").read_bytes())["features"] == []
    assert out.metadata == {"features": 2}


def test_a_tolerance_below_0_is_refused_before_anything_is_written(run, tmp_path):
    out = Dataset(tmp_path / "annotations")
    with pytest.raises(BadInput, match="tolerance: expected 0"):
        export_geojson(*run, out, Record(tmp_path / "record.json"), tolerance_px=-1.0)
    assert not out.path.exists()
