"""Sizes along the axes, and images of one plane, as neighbourhoods take them."""

import numpy as np
import pytest
from scipy import ndimage

from cellmill.errors import BadInput
from cellmill.restoration.background import BACKGROUND_METHODS, subtract_background
from cellmill.restoration.denoising import DENOISING_METHODS, denoise, sizes_in_voxels
from cellmill.restoration.neighbourhoods import ball_rows, median, opened

IMAGE = np.random.default_rng(0).poisson(50, (20, 22)).astype(np.float32)


@pytest.mark.parametrize("size", range(1, 10))
@pytest.mark.parametrize("step", [0.065, 0.175, 0.185, 0.35, 0.37])
def test_a_radius_in_pixels_is_that_of_a_ball_at_any_voxel_size(size, step):
    assert ball_rows(sizes_in_voxels(size, (step, step), 2))[1] == (0, size, size)
    found = ball_rows(sizes_in_voxels(2 * size, (2 * step, step, step), 3))[1]
    assert found == (size, 2 * size, 2 * size)


@pytest.mark.parametrize("method", DENOISING_METHODS)
def test_a_volume_of_one_plane_is_the_plane_without_noise(method):
    found = denoise(IMAGE[None], method)
    assert found.shape == (1, *IMAGE.shape)
    assert np.allclose(found[0], denoise(IMAGE, method), atol=1e-4)


@pytest.mark.parametrize("method", BACKGROUND_METHODS)
def test_a_volume_of_one_plane_is_the_plane_without_background(method):
    found = subtract_background(IMAGE[None], 4, method)
    assert found.shape == (1, *IMAGE.shape)
    assert np.isfinite(found).all()


def test_what_would_change_nothing_or_leave_nothing_is_one_line():
    with pytest.raises(BadInput, match=r"size: expected 1 pixel or more for a median, found 0.5"):
        denoise(IMAGE, "median", size=0.5)
    for method in ("top_hat", "rolling_ball"):
        with pytest.raises(BadInput, match=r"radius: expected 1 pixel or more, found 0.5"):
            subtract_background(IMAGE, 0.5, method)


def ball(radii):
    """The ellipsoid as an array, from its rows."""
    rows, reach = ball_rows(radii)
    found = np.zeros([2 * far + 1 for far in reach], bool)
    for z, y, half in rows:
        middle = reach[2]
        found[reach[0] + z, reach[1] + y, middle - half : middle + half + 1] = True
    return found[0] if len(radii) == 2 else found


def test_a_ball_is_what_lies_within():
    z, y, x = np.mgrid[-2:3, -5:6, -5:6]
    within = (z / 2.5) ** 2 + (y / 5) ** 2 + (x / 5) ** 2 <= 1
    assert np.array_equal(ball((2.5, 5, 5)), within)
    assert np.array_equal(ball((5, 5)), within[2])


BALLS = [((20, 33), (3, 3)), ((6, 20, 21), (1.5, 3, 3)), ((5, 7, 9), (6, 8, 8)), ((1, 9), (3, 2))]


@pytest.mark.parametrize(("shape", "radii"), BALLS, ids=str)
@pytest.mark.parametrize("kind", ["few values", "all different"])
def test_medians_and_openings_are_scipys_to_the_bit(shape, radii, kind):
    random = np.random.default_rng(0)
    image = random.poisson(3, shape) if kind == "few values" else random.normal(0, 1, shape)
    image, footprint = image.astype(np.float32), ball(radii)
    expected = ndimage.median_filter(image, footprint=footprint, mode="reflect")
    assert np.array_equal(median(image, radii), expected)
    expected = ndimage.grey_opening(image, footprint=footprint, mode="reflect")
    assert np.array_equal(opened(image, radii), expected)


def test_a_radius_for_which_scipys_table_has_no_room():
    volume = np.random.default_rng(0).poisson(50, (4, 6, 7)).astype(np.float32)
    found = denoise(volume, "median", size=40)
    assert np.ptp(found) <= 10
    assert np.all(subtract_background(volume, 40) <= volume - volume.min())


@pytest.mark.parametrize("method", ["gaussian", "median"])
def test_a_ball_far_larger_than_the_image_is_one_line(method):
    with pytest.raises(BadInput, match="size: expected at most 100 pixels, found 1e"):
        denoise(IMAGE, method, size=1e9)


@pytest.mark.parametrize("method", BACKGROUND_METHODS)
def test_so_is_one_of_a_background(method):
    with pytest.raises(BadInput, match="radius: expected at most 100 pixels, found 101"):
        subtract_background(IMAGE, 101, method)
