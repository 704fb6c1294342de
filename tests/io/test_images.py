"""Images by path for a Python user: seen, read, and labels written beside them."""

import numpy as np
import pytest
import tifffile

import cellmill
from cellmill.arrays.ome import read_image as read_group_image
from cellmill.arrays.zarr import open_zarr
from cellmill.errors import BadInput
from cellmill.io.images import open_image, read_image

RNG = np.random.default_rng(3)
PIXELS = RNG.integers(0, 4000, (3, 40, 56), dtype=np.uint16)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "three channels.ome.tif"
    metadata = {
        "axes": "CYX",
        "Channel": {"Name": ["DAPI", "a, b", "membrane"]},
        "PhysicalSizeX": 0.5,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": 0.25,
        "PhysicalSizeYUnit": "µm",
    }
    tifffile.imwrite(path, PIXELS, ome=True, metadata=metadata)
    return path


def test_an_image_says_what_it_is_before_a_pixel_is_read(path):
    with open_image(path) as image:
        assert (image.shape, image.dtype) == ((40, 56), np.uint16)
        assert image.channels == ("DAPI", "a, b", "membrane")
        assert image.mpp == (0.25, 0.5)
    with open_image(str(path), mpp=2.0) as image:
        assert image.mpp == (2.0, 2.0)


@pytest.mark.parametrize(
    ("channels", "read"),
    [
        (None, [0, 1, 2]),
        ("membrane,DAPI", [2, 0]),
        (1, [1]),
        (["a, b", 0], [1, 0]),
        ("2", [2]),
    ],
)
def test_channels_come_as_they_are_asked_for(path, channels, read):
    image = read_image(path, channels=channels)
    np.testing.assert_array_equal(image.pixels, np.moveaxis(PIXELS[read], 0, -1))
    assert image.channels == tuple(("DAPI", "a, b", "membrane")[i] for i in read)
    assert image.mpp == (0.25, 0.5)


@pytest.mark.parametrize("channels", ["GFP", 3, [0, -1], ["-"]])
def test_a_channel_that_is_not_there_is_refused(path, channels):
    with pytest.raises(BadInput, match=r"^channel"):
        read_image(path, channels=channels)


def test_nothing_there_is_one_line(tmp_path):
    with pytest.raises(BadInput, match="expected a file, found nothing there"):
        read_image(tmp_path / "a.tif")


def test_labels_that_are_written_are_read_again(tmp_path):
    labels = {"whole_cell": np.arange(12).reshape(3, 4), "nuclear": np.eye(3, 4, dtype=np.int32)}
    cellmill.write_labels(tmp_path / "labels.ome.tif", labels, mpp=(0.25, 0.5))
    image = cellmill.read_image(tmp_path / "labels.ome.tif")
    np.testing.assert_array_equal(image.pixels, np.stack([*labels.values()], axis=-1))
    assert (image.channels, image.mpp) == (("whole_cell", "nuclear"), (0.25, 0.5))
    cellmill.write_labels(tmp_path / "one.tif", labels["nuclear"], dtype="uint16")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "one.tif"), labels["nuclear"])


def test_labels_are_written_as_a_store_too(tmp_path):
    labels = {"whole_cell": np.arange(12).reshape(3, 4), "nuclear": np.eye(3, 4, dtype=np.int32)}
    cellmill.write_labels(tmp_path / "labels.zarr", labels, mpp=(0.25, 0.5))
    for name, plane in labels.items():
        image = read_group_image(f"{tmp_path}/labels.zarr/labels/{name}")
        assert image.levels[0].mpp == (0.25, 0.5)
        array = open_zarr(image.levels[0].uri, "YX")
        np.testing.assert_array_equal(array[:, :], plane)
    with pytest.raises(BadInput, match="expected nothing there yet, found something"):
        cellmill.write_labels(tmp_path / "labels.zarr", labels)
    assert [p.name for p in tmp_path.iterdir()] == ["labels.zarr"]


@pytest.mark.parametrize("name", ["a.ome.tif", "a.zarr"])
def test_labels_that_do_not_fit_leave_no_file(tmp_path, name):
    with pytest.raises(BadInput, match="1048576"):
        cellmill.write_labels(tmp_path / name, np.array([[1 << 20]]), dtype="uint16")
    with pytest.raises(BadInput, match="integers"):
        cellmill.write_labels(tmp_path / name, np.ones((3, 3), np.float32))
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="expected a place that can be written"):
        cellmill.write_labels(tmp_path / "file" / name, np.eye(3, dtype=int))
