"""Label arrays become files that other programs open."""

import numpy as np
import pytest
import tifffile

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.contract import Dataset, Record
from cellmill.errors import BadInput
from cellmill.stages.export_labels import export_labels

RNG = np.random.default_rng(2)
CELLS = RNG.integers(0, 70, (60, 90)).astype("int32")


@pytest.fixture
def labels(tmp_path):
    with BatchWriter(tmp_path / "labels", attributes={"model": {"name": "m"}}) as out:
        for name, arrays in (
            ("both", {"nuclear": CELLS // 2, "whole_cell": CELLS}),
            ("nuclei µ", {"nuclear": CELLS}),
        ):
            axes = dict.fromkeys(arrays, "YX")
            out.write(name, arrays, axes=axes, mpp=(0.5, 0.4), attributes={"compartment": name})
        out.write("no scale", {"whole_cell": CELLS}, axes={"whole_cell": "YX"})
        out.skip(Entry("bad"), "cut off")
    return Dataset(tmp_path / "labels")


def export(labels, tmp_path, **parameters):
    out = Dataset(tmp_path / "label_images")
    export_labels(labels, out, Record(tmp_path / "record.json"), **parameters)
    return Batch.open(out.path)


@pytest.mark.parametrize("dtype", ["int32", "uint16"])
def test_files(labels, tmp_path, dtype):
    batch = export(labels, tmp_path, dtype=dtype)
    assert [e.status for e in batch.entries] == ["ok", "ok", "ok", "skipped"]
    assert batch.entry("bad").error == "cut off"
    assert batch.entry("both").attributes == {"compartment": "both"}
    assert batch.attributes == {"model": {"name": "m"}}
    with tifffile.TiffFile(batch.file(batch.entry("both"), "tif")) as tif:
        assert tif.series[0].axes == "CYX"
        assert tif.series[0].dtype == dtype
        assert np.array_equal(tif.asarray(), np.stack([CELLS, CELLS // 2]))
        assert tif.ome_metadata.index("whole_cell") < tif.ome_metadata.index("nuclear")
        assert 'PhysicalSizeX="0.4"' in tif.ome_metadata
        assert 'PhysicalSizeY="0.5"' in tif.ome_metadata
    path = batch.file(batch.entry("nuclei µ"), "tif")
    assert path.name == "nuclei µ.tif"
    assert np.array_equal(tifffile.imread(path), CELLS)
    with tifffile.TiffFile(batch.file(batch.entry("no scale"), "tif")) as tif:
        assert "PhysicalSize" not in tif.ome_metadata


def test_the_same_bytes_twice(labels, tmp_path):
    def contents():
        return [p.read_bytes() for p in sorted(export(labels, tmp_path).folder.iterdir())]

    assert contents() == contents()


def test_labels_that_do_not_fit(tmp_path):
    with BatchWriter(tmp_path / "labels") as out:
        out.write("a", {"nuclear": CELLS + 65_536}, axes={"nuclear": "YX"})
    with pytest.raises(BadInput, match="labels of 'a': expected labels from 0 to 65535"):
        export(Dataset(tmp_path / "labels"), tmp_path, dtype="uint16")
    assert not (tmp_path / "label_images").exists()


def test_a_batch_of_something_else(tmp_path):
    with BatchWriter(tmp_path / "labels") as out:
        out.write("a", {"image": CELLS}, axes={"image": "YX"})
    with pytest.raises(BadInput, match=r"expected label images by kind of object, .* found image"):
        export(Dataset(tmp_path / "labels"), tmp_path)
