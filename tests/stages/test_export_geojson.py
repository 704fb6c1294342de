"""Polygons of each image's objects, from label images and tables that other stages made."""

import json

import pytest

from cellmill.arrays.batch import Batch
from cellmill.contract import Dataset, Record
from cellmill.errors import BadInput
from cellmill.stages.export_geojson import export_geojson


def test_each_image_gets_its_file(measured, tmp_path):
    out = Dataset(tmp_path / "annotations")
    export_geojson(*measured, out, Record(tmp_path / "record.json"))
    batch = Batch.open(out.path)
    assert [e.status for e in batch.entries] == ["ok", "ok", "skipped"]
    found = json.loads(batch.file(batch.entry("a"), "geojson").read_bytes())
    assert [f["geometry"]["coordinates"][0][0] for f in found["features"]] == [[5, 5], [30, 30]]
    assert found["features"][0]["properties"]["measurements"]["Nucleus: Area px^2"] == 150
    assert json.loads(batch.file(batch.entry("none"), "geojson").read_bytes())["features"] == []
    assert out.metadata == {"features": 2}


def test_a_tolerance_below_0_is_refused_before_anything_is_written(measured, tmp_path):
    out = Dataset(tmp_path / "annotations")
    with pytest.raises(BadInput, match="tolerance: expected 0"):
        export_geojson(*measured, out, Record(tmp_path / "record.json"), tolerance_px=-1.0)
    assert not out.path.exists()
