"""The measure stage: tables per image, by name, on the original pixels."""

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest

from cellmill.arrays.batch import Batch
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.contract import Dataset, Record
from cellmill.errors import BadInput
from cellmill.measurement import measure_compartments
from cellmill.stages.measure import measure

CELLS = np.kron(np.arange(6, dtype=np.int32).reshape(2, 3), np.ones((8, 8), np.int32))


def pixels(seed=0, shape=CELLS.shape):
    return np.random.default_rng(seed).integers(0, 65536, (*shape, 2), np.uint16)


def write_images(folder, images, **about):
    with BatchWriter(folder) as out:
        for name, array in images.items():
            out.write(name, {"image": array}, axes={"image": "YXC"}, **about)


def write_labels(folder, labels):
    with BatchWriter(folder) as out:
        for name, arrays in labels.items():
            out.write(name, arrays, axes=dict.fromkeys(arrays, "YX"))


def run(tmp_path, **parameters):
    measurements = Dataset(tmp_path / "measurements")
    measure(
        Dataset(tmp_path / "images"),
        Dataset(tmp_path / "labels"),
        measurements,
        Record(tmp_path / "record.json"),
        **parameters,
    )
    return Batch.open(measurements.path), measurements


def table(batch, name):
    return pyarrow.parquet.read_table(batch.file(batch.entry(name), "parquet"))


def test_each_image_gets_its_own_table_as_csv_and_parquet(tmp_path):
    write_images(
        tmp_path / "images",
        {"b": pixels(1), "a 'quoted' name": pixels(2)},
        mpp=(0.5, 0.5),
        channels=("DAPI", "CD3"),
    )
    both = {"whole_cell": CELLS, "nuclear": np.where(CELLS > 2, CELLS - 2, 0)}
    write_labels(tmp_path / "labels", {"a 'quoted' name": both, "b": {"nuclear": CELLS}})
    batch, measurements = run(tmp_path)
    assert measurements.metadata == {"images": 2, "whole_cell": 5, "nuclear": 8}
    assert batch.entry("b").attributes == {"objects": {"nuclear": 5}}
    expected = measure_compartments(both, pixels(2), mpp=(0.5, 0.5), channel_names=("DAPI", "CD3"))
    found = table(batch, "a 'quoted' name")
    assert found.equals(expected)
    assert found["cell_label"].to_pylist() == [None] * 5 + [3, 4, 5]
    again = pyarrow.csv.read_csv(batch.file(batch.entry("a 'quoted' name"), "csv"))
    assert again["mean_CD3"].to_pylist() == expected["mean_CD3"].to_pylist()
    assert "cell_label" not in table(batch, "b").column_names


def test_a_single_image_and_its_labels_need_no_common_name(tmp_path):
    write_images(tmp_path / "images", {"scan": pixels()})
    write_labels(tmp_path / "labels", {"cells": {"whole_cell": CELLS}})
    batch, _ = run(tmp_path)
    assert table(batch, "cells")["area_um2"].null_count == 5


def test_the_ring_is_a_parameter(tmp_path):
    write_images(tmp_path / "images", {"a": pixels()})
    write_labels(tmp_path / "labels", {"a": {"whole_cell": CELLS}})
    wide, narrow = (table(run(tmp_path, background_outer_px=r)[0], "a") for r in (8, 4))
    assert not wide["background_channel_0"].equals(narrow["background_channel_0"])
    with pytest.raises(BadInput, match=r"the background ring: expected .* found 2 and 1"):
        run(tmp_path, background_outer_px=1)


def test_the_memory_changes_nothing_and_too_little_is_refused(tmp_path):
    write_images(tmp_path / "images", {"a": pixels()})
    write_labels(tmp_path / "labels", {"a": {"whole_cell": CELLS}})
    much, little = (table(run(tmp_path, memory_mib=m)[0], "a") for m in (1024, 64))
    assert much.equals(little)
    with pytest.raises(BadInput, match="memory_mib: expected 64 MiB or more, found 8"):
        run(tmp_path, memory_mib=8)


def test_labels_of_another_shape_fail_or_are_skipped(tmp_path):
    write_images(tmp_path / "images", {"a": pixels(), "b": pixels()})
    write_labels(tmp_path / "labels", {"a": {"whole_cell": CELLS[1:]}, "b": {"whole_cell": CELLS}})
    with pytest.raises(BadInput, match=r"image 'a', the whole_cell labels: expected .*\(16, 24\)"):
        run(tmp_path)
    assert not (tmp_path / "measurements").exists()
    batch, measurements = run(tmp_path, on_bad_image="skip")
    assert [entry.status for entry in batch.entries] == ["skipped", "ok"]
    assert measurements.metadata["images"] == 1


def test_missing_images_and_missing_labels_are_named(tmp_path):
    write_images(tmp_path / "images", {"a": pixels(), "b": pixels()})
    write_labels(tmp_path / "labels", {"c": {"whole_cell": CELLS}})
    with pytest.raises(BadInput, match="expected an entry 'c', found a, b"):
        run(tmp_path)
    write_labels(tmp_path / "labels", {"a": {"labels": CELLS}})
    with pytest.raises(BadInput, match=r"labels of image 'a': expected .* found labels"):
        run(tmp_path)
