"""Convolution by FFTs side by side is that of whole transforms, whatever is left out."""

import numpy as np
import pytest
from scipy import fft

from cellmill.restoration.fourier import fast_shape
from cellmill.restoration.side_by_side import Rooms, Transform, fits

SHAPES = [(12, 40, 33), (1, 32, 16), (7, 50, 27), (96, 54), (32, 16), (150, 40)]
FIT = [shape for shape in SHAPES if fits(shape)]
FACTORS = {
    "forward": lambda function: function,
    "adjoint": np.conj,
    "both": lambda function: abs(function) ** 2,
}


def given(shape):
    random = np.random.default_rng(0)
    image, function = random.random((2, *shape), np.float32)
    return image, function


def some(shape):
    """A part of an array that leaves something of every side that can be cut."""
    return tuple(slice(n // 4, n - n // 5) for n in shape)


def test_what_fits():
    fitting = {s: fits(s) for s in SHAPES}
    assert fitting == {s: s not in ((12, 40, 33), (7, 50, 27)) for s in SHAPES}
    for shape in [(5, 30, 20), (5, 33, 20), (5, 40, 15), (40, 22), (40, 15)]:
        assert not fits(shape)


def test_windows_that_are_made_fast_fit():
    for sides in np.random.default_rng(0).integers(32, 300, (50, 3)):
        assert fits(fast_shape(sides))
        assert fits(fast_shape(sides[1:]))


@pytest.mark.parametrize("way", FACTORS)
@pytest.mark.parametrize("shape", [*FIT, (6, 60, 25), (128, 36, 18), (81, 128, 20)], ids=str)
def test_it_is_that_of_whole_transforms(shape, way):
    image, function = given(shape)
    whole = fft.irfftn(fft.rfftn(image) * FACTORS[way](fft.rfftn(function)), s=shape)
    transform = Transform(function, 1, Rooms())
    found = transform.convolve(image, way)
    assert found.dtype == np.float32
    assert np.abs(found - whole).max() < 2e-6 * np.abs(whole).max()
    assert np.array_equal(transform.convolve(image, way, threads=3), found)
    again = image.copy()
    assert transform.convolve(again, way, out=again) is again
    assert np.array_equal(again, found)


@pytest.mark.parametrize("shape", [*FIT, (6, 60, 25)], ids=str)
def test_what_is_left_out_changes_no_bit(shape):
    image, function = given(shape)
    part = some(shape)
    inside = np.zeros_like(image)
    inside[part] = image[part]
    # Memory that is used again holds what another image left.
    transform = Transform(function, 1, Rooms())
    whole = transform.convolve(inside)
    for filled in (None, part):
        transform.convolve(image)
        assert np.array_equal(transform.convolve(inside, filled=filled), whole)
        found = transform.convolve(inside, filled=filled, wanted=part)
        assert np.array_equal(found[part], whole[part])
