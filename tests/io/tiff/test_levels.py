"""Which of a file's images is read: a pyramid's level, a focal plane, a time point, a series."""

import io

import numpy as np
import pytest
import tifffile

from cellmill.errors import BadInput
from cellmill.io.tiff.layout import open_image
from tests.io.tiff.images import noise, read, tiff


def pyramid(path, ome, factor=2, levels=3, mpp=0.25):
    base = noise((2, 256, 320))
    with tifffile.TiffWriter(path, ome=ome) as tif:
        options = {"tile": (64, 64), "photometric": "minisblack"}
        extra = {"subifds": levels - 1} if ome else {}
        metadata = {"axes": "CYX", "PhysicalSizeX": mpp, "PhysicalSizeY": mpp} if ome else None
        resolution = {} if ome else {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": 3}
        data = base if ome else base[0]
        tif.write(data, **options, **extra, **resolution, metadata=metadata)
        for level in range(1, levels):
            step = factor**level
            tif.write(data[..., ::step, ::step], subfiletype=1, **options, metadata=None)
    return base


@pytest.mark.parametrize("ome", [True, False])
@pytest.mark.parametrize(
    ("target", "level"),
    [(0.0, 0), (0.1, 0), (0.25, 0), (0.49, 0), (0.5, 1), (0.65, 1), (1.0, 2), (9.0, 2)],
)
def test_the_level_is_the_coarsest_that_is_not_coarser_than_asked_for(tmp_path, ome, target, level):
    path = tmp_path / "pyramid.tif"
    base = pyramid(path, ome)
    with path.open("rb") as file:
        with open_image(file, "a.tif", target_mpp=target) as image:
            assert image.level == level
            assert image.mpp == pytest.approx((0.25 * 2**level,) * 2)
            assert image.level_shapes == ((256, 320), (128, 160), (64, 80))
        step = 2**level
        assert np.array_equal(read(file, target_mpp=target)[..., 0], base[0, ::step, ::step])
        if ome:
            assert np.array_equal(
                read(file, [1], target_mpp=target)[..., 0], base[1, ::step, ::step]
            )


def test_a_pyramid_of_unknown_scale_is_read_at_full_resolution(tmp_path):
    path = tmp_path / "pyramid.tif"
    with tifffile.TiffWriter(path) as tif:
        for step in (1, 2):
            tif.write(np.zeros((256 // step, 256 // step), "u1"), tile=(64, 64), metadata=None)
    with path.open("rb") as file, open_image(file, "a.tif", target_mpp=1.0) as image:
        assert image.level == 0
        assert any("full resolution" in remark for remark in image.remarks)
    with path.open("rb") as file, open_image(file, "a.tif", target_mpp=1.0, mpp=0.5) as image:
        assert image.level == 1


@pytest.mark.parametrize(
    ("axes", "asked", "message"),
    [
        ("ZYX", {}, "z=0…3 to say which, or z=all for the volume, found 4 focal planes"),
        ("TYX", {}, "t=0…3 to say which, or t=all for each, found 4 time points"),
        ("ZYX", {"z": 4}, "z from 0 to 3, found z=4 of 4 focal planes"),
        ("CYX", {"z": 1}, "z from 0 to 0, found z=1"),
        ("TYX", {"z": 0}, "t=0…3"),
    ],
)
def test_z_and_t_must_be_said(axes, asked, message):
    file = tiff(noise((4, 20, 30)), ome=True, photometric="minisblack", metadata={"axes": axes})
    with pytest.raises(BadInput, match=message):
        read(file, **asked)


def test_several_images_of_one_size_must_be_told_apart(tmp_path):
    path = tmp_path / "two.ome.tif"
    data = noise((2, 20, 30))
    with tifffile.TiffWriter(path, ome=True) as tif:
        for plane in data:
            tif.write(plane)
    with path.open("rb") as file:
        with pytest.raises(BadInput, match="series=0…1 to say which, found 2 images of 20 × 30"):
            read(file)
        assert np.array_equal(read(file, series=1)[..., 0], data[1])
        with pytest.raises(BadInput, match="found 2 images"):
            read(file, series=2)


def test_a_thumbnail_is_left_out():
    file = io.BytesIO()
    data = noise((200, 300))
    with tifffile.TiffWriter(file) as tif:
        tif.write(noise((50, 60)), metadata=None)
        tif.write(data, metadata=None)
    assert np.array_equal(read(file)[..., 0], data)
    with open_image(file, "a.tif") as image:
        assert image.remarks == ("1 smaller images in the file were left out",)
