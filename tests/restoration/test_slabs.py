"""Convolution in slabs: as of whole transforms, whatever is left out, by any number of threads."""

import numpy as np
import pytest
from scipy import fft

from cellmill.restoration import slabs
from cellmill.restoration.richardson_lucy_kernels import logarithms
from cellmill.restoration.slabs import convolve_by_slabs

SHAPES = [(12, 30, 33), (40, 21), (1, 16, 15), (5, 1, 8)]


def given(shape):
    random = np.random.default_rng(0)
    image, function = random.random((2, *shape), np.float32)
    return image, fft.rfftn(function)


def some(shape):
    """A part of an array that leaves something of every side that can be cut."""
    return tuple(slice(n // 4, n - n // 5) for n in shape)


@pytest.fixture(params=[1 << 10, slabs._SLAB], ids=["thin", "thick"])
def slab(request, monkeypatch):
    monkeypatch.setattr(slabs, "_SLAB", request.param)


@pytest.mark.parametrize("conjugate", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.usefixtures("slab")
def test_it_is_that_of_whole_transforms(shape, conjugate):
    image, transform = given(shape)
    factor = transform.conj() if conjugate else transform
    whole = fft.irfftn(fft.rfftn(image) * factor, s=shape)
    found = convolve_by_slabs(image, transform, conjugate=conjugate)
    assert found.dtype == np.float32
    assert np.abs(found - whole).max() < 1e-5 * np.abs(whole).max()
    again = convolve_by_slabs(image, transform, conjugate=conjugate, threads=3)
    assert np.array_equal(again, found)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.usefixtures("slab")
def test_what_is_left_out_changes_nothing(shape):
    image, transform = given(shape)
    part = some(shape)
    inside = np.zeros_like(image)
    inside[part] = image[part]
    whole = convolve_by_slabs(inside, transform)
    most = 1e-6 * np.abs(whole).max()
    assert np.abs(convolve_by_slabs(inside, transform, filled=part) - whole).max() < most
    for filled in (None, part):
        found = convolve_by_slabs(inside, transform, filled=filled, wanted=part)
        assert np.abs(found[part] - whole[part]).max() < most


def test_logarithms_are_right_to_the_last_bits():
    random = np.random.default_rng(0)
    values = np.exp(random.uniform(-80, 80, 10_000)).astype(np.float32)
    values = np.concatenate([values, 1 + random.uniform(-0.4, 0.5, 10_000).astype(np.float32)])
    values = np.append(values, np.array([1, 2, 0.5, 1.2e-38, 3e38], np.float32))
    expected, found = np.log(values.astype(np.float64)), values.copy()
    logarithms(found)
    assert found[-5] == 0
    assert np.abs(found - expected).max() < 1e-5
    near = np.abs(expected) < 0.3
    assert np.abs(found - expected)[near].max() < 1e-7
    large = np.abs(expected) > 1e-3
    assert np.abs(found[large] / expected[large] - 1).max() < 1e-6
