"""A window of a normalised image has the pixels of the whole image, to the bit."""

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellmill.errors import BadInput
from cellmill.models.card import Preprocessing
from cellmill.preprocessing import (
    METHODS,
    Normalisation,
    NormalisedImage,
    ResizedImage,
    normalisation,
    normalisation_of,
    preprocess,
)

DTYPES = ["?", "u1", "<u2", ">u2", "i2", "i4", "u8", "f2", "<f4", ">f4", "f8"]


def drawn(seed, shape, dtype):
    """Dim noise with bright pixels and a part that is zero; negative too where a dtype has it."""
    rng = np.random.default_rng(seed)
    image = rng.gamma(0.5, 60, shape)
    image[: shape[0] // 3, : shape[1] // 2] = 0
    dtype = np.dtype(dtype)
    if dtype.kind in "iu":
        image = np.minimum(image, np.iinfo(dtype).max)
    if dtype.kind in "if":
        image = image - 20
    return image.astype(dtype)


class Windows:
    """An image of which only windows up to a size may be read."""

    def __init__(self, array, most):
        self.array, self.most = array, most
        self.shape, self.dtype = array.shape, array.dtype
        self.pixels = 0

    def __getitem__(self, window):
        part = self.array[window]
        assert part.shape[0] * part.shape[1] <= self.most
        self.pixels += part.shape[0] * part.shape[1]
        return part


def windows(data, shape):
    cuts = [sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2))) for n in shape[:2]]
    return tuple(slice(*cut) for cut in cuts)


@settings(deadline=None, max_examples=80)
@given(
    st.integers(0, 10**6),
    st.tuples(st.integers(1, 150), st.integers(1, 150), st.integers(1, 3)),
    st.sampled_from(DTYPES),
    st.sampled_from(METHODS),
    st.sampled_from([0, 5, 16, 128]),
    st.data(),
)
def test_any_window_is_that_of_the_whole(seed, shape, dtype, method, kernel_size, data):
    image = drawn(seed, shape, dtype)
    parameters = Preprocessing(method, kernel_size=kernel_size)
    whole = preprocess(image, parameters)
    found = normalisation_of(image, parameters)
    view = NormalisedImage(image, found)
    assert (view.shape, view.dtype) == (image.shape, np.float32)
    window = windows(data, shape)
    assert np.array_equal(view[window], whole[window])
    assert np.array_equal(np.asarray(view), whole)
    channel = data.draw(st.integers(0, shape[2] - 1))
    assert np.array_equal(view[(*window, channel)], whole[(*window, channel)])
    assert np.array_equal(view[0, :, channel:], whole[0, :, channel:])


@pytest.mark.parametrize("kernel_size", [0, 8, 32])
@pytest.mark.parametrize("kept", [0, 256])
def test_small_blocks_small_windows_and_few_kept_maps(monkeypatch, kernel_size, kept):
    """The blocks in which maps are found, and whether they travel, change nothing."""
    image = drawn(3, (211, 307, 2), np.float32)
    parameters = Preprocessing("mesmer", kernel_size=kernel_size)
    whole = preprocess(image, parameters)
    monkeypatch.setattr(normalisation, "_BLOCK", 20)
    monkeypatch.setattr(normalisation, "_KEPT_REGIONS", kept)
    found = normalisation_of(image, parameters)
    assert bool(found.channels[0].maps) == (kept > 0 and kernel_size != 8)
    view = NormalisedImage(image, found)
    for y in range(0, 211, 50):
        for x in range(0, 307, 70):
            window = np.s_[y : y + 50, x : x + 70]
            assert np.array_equal(view[window], whole[window])


@pytest.mark.parametrize("method", ["mesmer", "histogram", "percentile"])
def test_it_travels_as_json_exactly(method):
    image = drawn(5, (130, 170, 2), np.float32) / 3
    found = normalisation_of(image, Preprocessing(method, kernel_size=40))
    assert Normalisation.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    with pytest.raises(BadInput, match="normalisation: expected what"):
        Normalisation.from_dict({"shape": [3, 4]})


def test_a_resized_image_is_normalised_as_if_it_were_whole():
    image = drawn(6, (150, 190, 2), np.uint16)
    resized = ResizedImage(image, (101, 133))
    parameters = Preprocessing("mesmer", kernel_size=32)
    whole = preprocess(np.asarray(resized), parameters)
    view = NormalisedImage(resized, normalisation_of(resized, parameters))
    assert np.array_equal(view[20:90, 7:120], whole[20:90, 7:120])


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_passes_and_windows_are_few_and_small(dtype):
    image = Windows(drawn(7, (1500, 1400, 1), dtype), 1200**2)
    normalisation_of(image, Preprocessing("mesmer"), memory=1 << 20)
    # Levels (twice for floats), maps, the range of the result; blocks overlap a little.
    passes = image.pixels / image.array.size
    assert passes < (3.1 if dtype == np.uint16 else 4.1)


def test_large_regions_are_counted_in_pieces():
    image = Windows(drawn(8, (1300, 2600, 1), np.uint16), 1024 * 1024)
    parameters = Preprocessing("histogram", kernel_size=2400)
    found = normalisation_of(image, parameters, memory=1 << 20)
    view = NormalisedImage(image, found)
    whole = preprocess(image.array, parameters)
    assert np.array_equal(view[1000:1100, 2000:2600], whole[1000:1100, 2000:2600])


def test_memory_does_not_grow_with_the_image(monkeypatch):
    monkeypatch.setenv("CELLMILL_THREADS", "1")

    def peak(side):
        image = np.broadcast_to(
            np.arange(1000, dtype=np.uint16).reshape(1, 1000, 1), (side, 1000, 1)
        )
        tracemalloc.start()
        view = NormalisedImage(image, normalisation_of(image, Preprocessing("mesmer"), memory=1))
        for y in range(0, side, 250):
            view[y : y + 250]
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    # What grows is CLAHE's maps: 512 bytes for 128 × 128 pixels, here 0.2 MB for 6 megapixels.
    peak(300)
    assert peak(12000) < peak(6000) + 1_000_000


def test_another_image_is_refused():
    found = normalisation_of(drawn(0, (20, 30, 1), np.uint8), Preprocessing("mesmer"))
    with pytest.raises(BadInput, match=r"image: expected shape \(20, 30, 1\), found \(20, 31, 1\)"):
        NormalisedImage(np.zeros((20, 31, 1), np.uint8), found)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["c8", "O", "U3", "g"])
def test_other_dtypes_are_refused_in_one_line(method, dtype):
    with pytest.raises(BadInput, match="image 'a': expected integers or floats") as caught:
        preprocess(np.zeros((4, 5, 1), dtype), Preprocessing(method), what="image 'a'")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("dtype", "same"), [(">u2", "<u2"), (">f4", "<f4"), ("f2", "f4"), ("?", "u1")]
)
@pytest.mark.parametrize("method", METHODS)
def test_odd_dtypes_are_those_that_hold_the_same_values(method, dtype, same):
    image = drawn(9, (60, 70, 2), dtype)
    parameters = Preprocessing(method, kernel_size=20)
    assert np.array_equal(preprocess(image, parameters), preprocess(image.astype(same), parameters))
