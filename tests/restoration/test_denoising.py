"""Sizes along the axes, and images of one plane, as neighbourhoods take them."""

import numpy as np
import pytest

from cellmill.errors import BadInput
from cellmill.restoration.background import BACKGROUND_METHODS, subtract_background
from cellmill.restoration.denoising import DENOISING_METHODS, ball, denoise, sizes_in_voxels

IMAGE = np.random.default_rng(0).poisson(50, (20, 22)).astype(np.float32)


@pytest.mark.parametrize("size", range(1, 10))
@pytest.mark.parametrize("step", [0.065, 0.175, 0.185, 0.35, 0.37])
def test_a_radius_in_pixels_is_that_of_a_ball_at_any_voxel_size(size, step):
    assert ball(sizes_in_voxels(size, (step, step), 2)).shape == (2 * size + 1,) * 2
    found = ball(sizes_in_voxels(2 * size, (2 * step, step, step), 3))
    assert found.shape == (2 * size + 1, 4 * size + 1, 4 * size + 1)


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
