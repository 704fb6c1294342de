"""Batches that tests of several stages begin with."""

import numpy as np
import pytest

from cellmill.arrays.batch import Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.contract import Dataset, Record
from cellmill.stages.measure import measure


@pytest.fixture
def measured(tmp_path):
    """Give label images and their measurements: two images, one without objects, one skipped."""
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
