"""A volume in one call: an array or a path, with the labels of the pipeline's stages."""

import numpy as np
import pytest
import tifffile

import cellmill
from cellmill.errors import BadInput
from cellmill.io.images import read_image
from cellmill.segmenter.work import Work
from tests.stages.test_volumes import PHANTOM, phantom, segmented  # noqa: F401


def test_an_array_an_image_and_a_path_give_the_stages_labels(phantom, segmented, tmp_path):  # noqa: F811
    batch = segmented["labels"]
    expected = batch.read(batch.entries[0], "nuclear")
    path = phantom["image"]
    by_path = cellmill.segment(path, z="all", model="voronoi_otsu")
    by_image = cellmill.segment(read_image(path, z="all"), model="voronoi_otsu")
    pixels = tifffile.imread(path)
    by_array = cellmill.segment(pixels, z="all", model="voronoi_otsu", mpp=PHANTOM)
    for found in (by_path, by_image, by_array):
        assert np.array_equal(found.label_image, expected)
        assert found.facts.mpp == pytest.approx(PHANTOM)
    by_path.write(tmp_path / "labels.tif")
    back = read_image(tmp_path / "labels.tif", z="all")
    assert np.array_equal(back.pixels[..., 0], expected)
    table = cellmill.measure_labels(by_array.label_image, pixels, mpp=by_array.facts.mpp)
    assert table["volume_um3"].to_numpy().min() > 100


def test_a_volume_beyond_memory_is_worked_on_block_by_block(phantom, segmented, monkeypatch):  # noqa: F811
    batch = segmented["labels"]
    monkeypatch.setattr("cellmill.segmenter.labels.fits_memory", lambda *given: False)
    monkeypatch.setattr(Work, "fits", lambda self, size: False)
    found = cellmill.segment(phantom["image"], z="all", model="voronoi_otsu")
    assert found.facts.tiled
    assert np.array_equal(found.label_image, batch.read(batch.entries[0], "nuclear"))
    assert found.facts.objects == batch.entries[0].attributes["objects"]


def test_a_network_sees_planes_and_gives_heads_of_each(phantom):  # noqa: F811
    stack = tifffile.imread(phantom["image"])[8:11]
    found = cellmill.segment(stack, z="all", mpp=PHANTOM, keep_maps=True)
    assert found.label_image.shape == stack.shape
    assert {head.shape[0] for head in found.maps.values()} == {3}
    assert found.counts["nuclear"] > 0


def test_planes_whose_heads_are_large_keep_their_own(phantom, monkeypatch):  # noqa: F811
    stack = tifffile.imread(phantom["image"])[8:11]
    whole = cellmill.segment(stack, z="all", mpp=PHANTOM, keep_maps=True)
    monkeypatch.setattr(Work, "fits", lambda self, size: False)
    found = cellmill.segment(stack, z="all", mpp=PHANTOM, keep_maps=True)
    for name, maps in whole.maps.items():
        assert np.array_equal(found.maps[name], maps)
    assert np.array_equal(found.label_image, whole.label_image)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((3, 20, 20, 1), {}, r"\(Y, X\) or \(Y, X, C\), not empty; a volume with z=\"all\""),
        ((20, 20), {"z": "all"}, r"\(Z, Y, X\) or \(Z, Y, X, C\)"),
        ((3, 20, 20), {"z": "all", "mpp": 0.5}, r"mpp: expected microns of a voxel \(z, y, x\)"),
        ((3, 20, 20), {"z": "all", "mpp": (0.5, 0.5)}, r"mpp: expected microns of a voxel"),
    ],
)
def test_what_is_no_volume_is_said(shape, options, message):
    with pytest.raises(BadInput, match=message):
        cellmill.segment(np.zeros(shape, np.uint8), model="voronoi_otsu", **options)
