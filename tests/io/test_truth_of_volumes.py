"""The truth of a volume comes plane by plane: as of the whole, in memory that does not grow."""

import tracemalloc

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage
from skimage.measure import label as label_pieces

from cellmill.arrays.batch import Batch
from cellmill.contract import Dataset, Record
from cellmill.io.truth import read_truth
from cellmill.io.truth.kinds import Facts, layout_of
from cellmill.io.truth.labels import fill_labels
from cellmill.io.truth.pieces import PieceFinder
from cellmill.stages.tiff_to_npz import tiff_to_npz
from tests.segmentation.maps import balls

volumes = arrays(
    np.int32,
    array_shapes(min_dims=3, max_dims=3, min_side=2, max_side=6),
    elements=st.integers(0, 3),
)


@given(volumes)
@settings(max_examples=50)
def test_pieces_that_come_plane_by_plane_are_those_of_the_volume(labels):
    finder = PieceFinder(3)
    for plane in labels:
        finder.add(plane)
    found = finder.pieces()
    pieces, count = label_pieces(labels, return_num=True)
    assert len(found) == count
    numbered = [finder.numbered(z, plane, found.numbers) for z, plane in enumerate(labels)]
    np.testing.assert_array_equal(np.stack(numbered), pieces)
    np.testing.assert_array_equal(found.areas, np.bincount(pieces.ravel(), minlength=1)[1:])
    boxes = [[*(s.start for s in b), *(s.stop for s in b)] for b in ndimage.find_objects(pieces)]
    np.testing.assert_array_equal(found.boxes, np.array(boxes, np.int64).reshape(-1, 6))
    assert all((labels[pieces == k + 1] == value).all() for k, value in enumerate(found.values))
    sides = [labels.take(end, axis) for axis in range(3) for end in (0, -1)]
    for side, values in zip(sides, found.sides, strict=True):
        assert set(np.unique(side)) - {0} == set(values.tolist()) - {0}


def stacks():
    """Truths of a volume, what the user says of each, and what it is taken for."""
    cells = balls(2, (6, 40, 44), 9, 7).astype(np.uint16)
    scattered = np.where(cells > 0, 1 + cells % 3, 0).astype(np.uint8)
    nuclei = np.where(balls(2, (6, 40, 44), 9, 4) > 0, cells, 0)
    both = np.stack([cells, nuclei], axis=1)
    yield "labels", cells, "", "labels"
    yield "classes", scattered, "", "labels"
    yield "floats", cells.astype(np.float32), "", "labels"
    yield "mask", (cells > 0).astype(np.uint8) * 255, "", "mask"
    yield "mask by word", cells, "mask", "mask"
    yield "values", scattered, "colours", "colours"
    yield "planes", both, "planes", "planes"
    yield "nothing", np.zeros((6, 40, 44), np.uint8), "", "labels"


@pytest.mark.parametrize("container", ["npz", "zarr"])
@pytest.mark.parametrize(
    ("kind", "truth", "taken"),
    [pytest.param(kind, truth, taken, id=name) for name, truth, kind, taken in stacks()],
)
def test_the_truth_of_a_file_is_that_of_the_whole(kind, truth, taken, container, tmp_path):
    places = [tmp_path / "a.ome.tif", tmp_path / "t.ome.tif"]
    axes = "ZCYX" if truth.ndim == 4 else "ZYX"
    tifffile.imwrite(places[0], np.zeros((6, 40, 44), np.uint8), metadata={"axes": "ZYX"})
    tifffile.imwrite(places[1], truth, metadata={"axes": axes})
    item = {"image": str(places[0]), "truth": str(places[1])}
    at = [Dataset(tmp_path / name) for name in ("images", "truth")]
    record = Record(tmp_path / "record.json")
    tiff_to_npz(*at, record, [item], z="all", truth_kind=kind, container=container)
    batch = Batch.open(at[1].path)
    (entry,) = batch.entries
    with places[1].open("rb") as file:
        expected = read_truth(file, str(places[1]), kind, volume=True)
    np.testing.assert_array_equal(batch.read(entry, "labels"), expected.labels)
    said = [entry.attributes[key] for key in ("kind", "decision", "remarks")]
    assert said == [taken, expected.decision, [*expected.remarks]]
    assert expected.kind == taken


class Forgotten:
    """Takes what is written to it and keeps nothing."""

    shape = (0, 120, 120)

    def __setitem__(self, window, values):
        pass


def test_what_is_held_does_not_grow_with_the_depth():
    plane = balls(1, (120, 120), 20, 8).astype(np.int32)[..., np.newaxis]
    facts = Facts("truth", 1, plane.dtype)

    def peak(depth):
        tracemalloc.start()
        try:
            planes = (plane for _ in range(depth))
            _, said, _ = fill_labels(facts, layout_of(facts), planes, Forgotten())
            return tracemalloc.get_traced_memory()[1], said
        finally:
            tracemalloc.stop()

    peak(2)
    (low, few), (high, many) = peak(3), peak(40)
    assert few == many
    # Each of 20 objects has a row in each plane.
    assert high < low + 37 * 20 * 400
    assert 37 * plane.nbytes / 4 > 37 * 20 * 400
