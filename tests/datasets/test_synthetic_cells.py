"""Synthetic images are what they say: cells with nuclei in them, in two channels, one per seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cellmill.datasets.synthetic_cells import CHANNELS, Microscopy, Tissue, main, synthetic_cells
from cellmill.errors import BadInput
from cellmill.io.images import open_file, open_image_at, read_pixels
from cellmill.io.truth import read_truth

SHAPE = (128, 144)


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 2**32 - 1))
def test_every_nucleus_lies_in_its_cell_and_every_object_is_one_piece(seed):
    made = synthetic_cells(seed, SHAPE)
    cells, nuclei = np.moveaxis(made.labels, -1, 0)
    assert made.pixels.shape == (*SHAPE, 2)
    assert (made.pixels.dtype, made.labels.dtype) == (np.uint16, np.int32)
    np.testing.assert_array_equal(np.unique(cells[cells > 0]), np.arange(1, cells.max() + 1))
    np.testing.assert_array_equal(nuclei[nuclei > 0], cells[nuclei > 0])
    for labels in (cells, nuclei):
        for label in np.unique(labels[labels > 0]):
            assert ndimage.label(labels == label)[1] == 1
    again = synthetic_cells(seed, SHAPE)
    np.testing.assert_array_equal(again.pixels, made.pixels)
    np.testing.assert_array_equal(again.labels, made.labels)


def test_light_is_where_the_truth_says():
    made = synthetic_cells(4, (256, 256), Tissue(), Microscopy(haze=0, unevenness=0))
    cells, nuclei = np.moveaxis(made.labels, -1, 0)
    nuclear, membrane = np.moveaxis(made.pixels.astype(float), -1, 0)
    rim = (cells > 0) & (ndimage.minimum_filter(cells, 3) != ndimage.maximum_filter(cells, 3))
    inside = (cells > 0) & ~ndimage.binary_dilation(rim, iterations=3)
    assert np.median(nuclear[nuclei > 0]) > 2 * np.median(nuclear[(nuclei == 0) & inside])
    assert np.median(membrane[rim]) > 1.5 * np.median(membrane[inside])
    assert np.median(membrane[inside]) > np.median(membrane[ndimage.binary_erosion(cells == 0)])


def test_tissue_is_as_wanted():
    dense = synthetic_cells(1, (256, 256), Tissue(reach=1.7, covered=1)).labels[..., 0]
    islands = synthetic_cells(1, (256, 256), Tissue(reach=1.0, covered=0.5)).labels[..., 0]
    assert (dense > 0).mean() > 0.85
    assert (islands > 0).mean() < 0.6
    small = synthetic_cells(1, (256, 256), Tissue(diameter=20)).labels[..., 0]
    assert small.max() > 1.8 * dense.max()


def test_files_say_what_they_hold_and_are_the_same_again(tmp_path):
    for folder in ("a", "b"):
        arguments = ["--count", "2", "--seed", "3", "--side", "96", "--prefix", "s"]
        assert main([*arguments, "--output", str(tmp_path / folder)]) == 0
    made = synthetic_cells(4, (96, 96))
    for kind in ("images", "labels"):
        path = tmp_path / "a" / kind / "s_001.ome.tif"
        assert path.read_bytes() == (tmp_path / "b" / kind / "s_001.ome.tif").read_bytes()
    path = str(tmp_path / "a" / "images" / "s_001.ome.tif")
    with open_file(path) as file, open_image_at(path, file) as image:
        assert tuple(image.channels) == CHANNELS
        assert image.mpp == (0.5, 0.5)
        pixels = np.zeros((96, 96, 2), np.uint16)
        read_pixels(image, range(2), pixels)
    np.testing.assert_array_equal(pixels, made.pixels)
    with (tmp_path / "a" / "labels" / "s_001.ome.tif").open("rb") as file:
        np.testing.assert_array_equal(read_truth(file, "s").labels, made.labels)


def test_too_small_is_one_line(tmp_path, capsys):
    with pytest.raises(BadInput, match="shape"):
        synthetic_cells(0, (32, 200))
    assert main(["--side", "8", "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
