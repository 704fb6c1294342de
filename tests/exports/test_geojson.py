"""GeoJSON for QuPath: polygons are the labels, measurements are the table's, cells hold nuclei."""

import io
import json
import os
import tracemalloc

import numpy as np
import pytest

from cellmill.errors import BadInput
from cellmill.exports import objects, tables, write_geojson
from cellmill.exports.tables import TableInParts
from cellmill.measurement import files, measure_compartments
from tests.exports.test_outlines import filled


def cells():
    """Six cells, one of them without a nucleus and one with two."""
    whole, nuclear = np.zeros((80, 120), np.int32), np.zeros((80, 120), np.int32)
    for k in range(6):
        y, x = 5 + 38 * (k // 3), 5 + 38 * (k % 3)
        whole[y : y + 30, x : x + 30] = k + 1
        nuclear[y + 5 : y + 12, x + 5 : x + 12] = k + 1
    nuclear[nuclear == 2] = 0
    nuclear[nuclear > 2] -= 1
    nuclear[40 + 20 : 40 + 25, 20:25] = 6
    whole[12, 100] = 0
    return {"whole_cell": whole, "nuclear": nuclear}


def written(labels, **how):
    image = np.random.default_rng(0).integers(0, 1000, (80, 120, 2)).astype(np.uint16)
    table = measure_compartments(labels, image, mpp=(0.5, 0.5), channel_names=["DAPI", "CD3"])
    file = io.BytesIO()
    count = write_geojson(file, labels, table, name="a", **how)
    found = json.loads(file.getvalue())
    assert found["type"] == "FeatureCollection"
    assert count == len(found["features"])
    return found["features"], table, file.getvalue()


def painted(geometries, shape):
    """Fill GeoJSON's geometries with numbers from 1."""
    found = np.zeros(shape, np.int32)
    for number, geometry in enumerate(geometries, 1):
        parts = geometry["coordinates"]
        for rings in [parts] if geometry["type"] == "Polygon" else parts:
            assert all(ring[0] == ring[-1] and len(ring) > 3 for ring in rings)
            corners = [np.array(ring[:-1]) for ring in rings]
            part = type("Part", (), {"outer": corners[0], "holes": corners[1:]})
            found[filled([part], shape)] = number
    return found


def test_polygons_are_the_labels():
    labels = cells()
    features, _, _ = written(labels)
    whole = [f for f in features if f["properties"]["objectType"] == "cell"]
    assert np.array_equal(painted([f["geometry"] for f in whole], (80, 120)), labels["whole_cell"])
    assert len({f["id"] for f in features}) == len(features)


def test_a_cell_has_its_one_nucleus_within_and_others_stand_alone():
    labels = cells()
    features, _, _ = written(labels)
    whole = [f for f in features if f["properties"]["objectType"] == "cell"]
    alone = [f for f in features if f["properties"]["objectType"] == "detection"]
    assert ["nucleusGeometry" in f for f in whole] == [True, False, True, False, True, True]
    assert len(alone) == 2
    inner = painted([f["nucleusGeometry"] for f in whole if "nucleusGeometry" in f], (80, 120))
    outer = painted([f["geometry"] for f in alone], (80, 120))
    assert np.array_equal((inner > 0) | (outer > 0), labels["nuclear"] > 0)


def test_measurements_are_the_tables():
    labels = cells()
    features, table, _ = written(labels)
    rows = {(row["compartment"], row["label"]): row for row in table.to_pylist()}
    for feature in features:
        values = feature["properties"]["measurements"]
        kind = "whole_cell" if feature["properties"]["objectType"] == "cell" else "nuclear"
        row = rows[kind, values["Label"]]
        prefix = "Cell: " if kind == "whole_cell" else "Nucleus: "
        assert values[f"{prefix}Area µm^2"] == row["area_um2"]
        assert values[f"{prefix}DAPI: Mean"] == row["mean_DAPI"]
        assert values[f"{prefix}CD3: Std.Dev."] == row["sd_CD3"]
        if "nucleusGeometry" in feature:
            assert values["Nucleus: Area px^2"] == 49


def test_bands_change_nothing(monkeypatch):
    labels = cells()
    _, _, whole = written(labels)
    monkeypatch.setattr(objects, "_BAND", 120 * 7)
    assert written(labels)[2] == whole


def in_a_file(table, path, monkeypatch, rows):
    monkeypatch.setattr(files, "_ROWS", rows)
    with path.open("wb") as file:
        files.write_parquet(table, file)
    return TableInParts(path)


@pytest.mark.parametrize("rows", [1, 5, 100])
def test_a_table_in_parts_changes_nothing(rows, tmp_path, monkeypatch):
    labels = cells()
    _, table, whole = written(labels)
    parts = in_a_file(table, tmp_path / "a.parquet", monkeypatch, rows)
    monkeypatch.setattr(objects, "_BLOCK", 2)
    monkeypatch.setattr(tables, "_PART", rows)
    for each in (parts, table):
        file = io.BytesIO()
        write_geojson(file, labels, each, name="a")
        assert file.getvalue() == whole
    assert parts.whole().equals(table)


def test_memory_grows_with_the_cells_by_a_few_numbers_each(tmp_path, monkeypatch):
    monkeypatch.setattr(objects, "_BLOCK", 64)
    monkeypatch.setattr(objects, "_BAND", 8 * 8 * 16)

    def peak(rows):
        """The most that Python and numpy held for `rows` times 16 cells with a nucleus each."""
        whole = np.zeros((8 * rows, 8 * 16), np.int32)
        label = np.arange(1, rows * 16 + 1).reshape(rows, 1, 16, 1)
        whole.reshape(rows, 8, 16, 8)[:, 1:7, :, 1:7] = label
        nuclear = np.zeros_like(whole)
        nuclear.reshape(rows, 8, 16, 8)[:, 3:5, :, 3:5] = label
        labels = {"whole_cell": whole, "nuclear": nuclear}
        image = np.zeros((*whole.shape, 2), np.uint8)
        table = measure_compartments(labels, image, channel_names=["DAPI", "CD3"])
        parts = in_a_file(table, tmp_path / f"{rows}.parquet", monkeypatch, 64)
        with open(os.devnull, "wb") as file:
            tracemalloc.start()
            try:
                assert write_geojson(file, labels, parts, name="a") == rows * 16
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

    peak(16)
    # A row of the table, in memory, is 300 bytes, and there are two for each cell.
    assert peak(128) - peak(16) < (128 - 16) * 16 * 200


@pytest.mark.parametrize("kind", ["nuclear", "mitochondrion"])
def test_one_kind_alone_is_all_detections(kind):
    labels = {kind: cells()["nuclear"]}
    features, _, _ = written(labels)
    assert {f["properties"]["objectType"] for f in features} == {"detection"}
    assert np.array_equal(painted([f["geometry"] for f in features], (80, 120)), labels[kind])


def test_no_objects_are_an_empty_collection():
    assert written({"nuclear": np.zeros((80, 120), np.int32)})[0] == []


def test_measurements_of_other_labels_are_refused():
    labels = cells()
    image = np.zeros((80, 120, 1), np.uint8)
    table = measure_compartments(labels, image)
    with pytest.raises(BadInput, match="measurements: expected those of these labels"):
        write_geojson(io.BytesIO(), {"whole_cell": labels["whole_cell"] * 0}, table, name="a")
    with pytest.raises(BadInput, match="tolerance: expected 0"):
        write_geojson(io.BytesIO(), labels, table, name="a", tolerance=-1)
