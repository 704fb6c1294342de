"""Resampling to a model's scale and back."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.transform import resize

from cellmill.errors import BadInput
from cellmill.labels.resizing import ResizedLabels, resize_labels
from cellmill.preprocessing import ResizedImage, resize_image, scaled_shape

SIDES = st.tuples(st.integers(1, 40), st.integers(1, 40))


def noise(shape, dtype=np.uint16):
    return (np.random.default_rng(0).random(shape) * 250).astype(dtype)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_shape_and_dtype(channels, dtype):
    image = noise((31, 47, channels), dtype)
    for shape in [(31, 47), (1, 1), (62, 94), (40, 20)]:
        result = resize_image(image, shape)
        assert (result.shape, result.dtype) == ((*shape, channels), dtype)


def drawn(seed, shape, dtype):
    """Noise, also with a least value above zero, and constant images."""
    rng = np.random.default_rng(seed)
    image = rng.gamma(0.5, 300, shape) % 250 + (seed % 3) * 2
    return (np.full(shape, 77) if seed % 5 == 0 else image).astype(dtype)


@given(
    st.integers(0, 10**6),
    st.tuples(*[st.integers(2, 130)] * 2),
    st.tuples(*[st.integers(1, 130)] * 2),
    st.sampled_from([np.uint8, np.uint16, np.int32, np.float32]),
)
@settings(max_examples=150, deadline=None)
def test_one_channel_is_opencv_linear_cut_off_to_whole_numbers(seed, shape, target, dtype):
    image = drawn(seed, (*shape, 1), dtype)
    plane = cv2.resize(
        image[..., 0].astype(np.float32), target[::-1], interpolation=cv2.INTER_LINEAR
    ).astype(dtype)
    ours = resize_image(image, target)[..., 0]
    # A last bit can bring a value below a whole number.
    most = 1 if np.issubdtype(dtype, np.integer) else 5e-5
    assert np.abs(ours.astype(float) - plane).max() <= most


@pytest.mark.skipif(not cv2.ipp.useIPP(), reason="OpenCV rounds otherwise without Intel's kernels")
def test_one_channel_hardly_ever_differs_from_opencv_by_a_grey_level():
    differing = pixels = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        (*shape, height, width) = rng.integers(2, 300, 4)
        image = drawn(seed, (*shape, 1), np.uint8)
        plane = cv2.resize(image[..., 0].astype(np.float32), (int(width), int(height)))
        ours = resize_image(image, (height, width))[..., 0]
        differing += np.count_nonzero(ours != plane.astype(np.uint8))
        pixels += ours.size
    # Where Intel's vectors end, a product and a sum are rounded apart: 19 pixels of 34 million.
    assert differing < 1e-5 * pixels


@given(
    st.integers(0, 10**6),
    SIDES,
    SIDES,
    st.integers(2, 3),
    st.sampled_from([np.uint8, np.uint16, np.int32, np.float32, np.float64]),
)
@settings(max_examples=150, deadline=None)
def test_several_channels_are_scikit_image_s_to_the_bit(seed, shape, target, channels, dtype):
    image = drawn(seed, (*shape, channels), dtype)
    expected = resize(
        image,
        (*target, channels),
        order=1,
        mode="constant",
        preserve_range=True,
        anti_aliasing=True,
    ).astype(dtype)
    assert np.array_equal(resize_image(image, target), expected)


@given(
    st.integers(0, 10**6),
    SIDES,
    SIDES,
    st.integers(1, 2),
    st.sampled_from([">u2", "u1", "f4", "f8", "?"]),
    st.data(),
)
@settings(max_examples=100, deadline=None)
def test_any_window_is_that_of_the_whole(seed, shape, target, channels, dtype, data):
    image = drawn(seed, (*shape, channels), dtype)
    window = tuple(slice(*sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2)))) for n in target)
    view = ResizedImage(image, target)
    whole = resize_image(image, target)
    assert view.dtype == np.asarray(view).dtype
    assert np.array_equal(view[window], whole[window])
    assert np.array_equal(view[(*window, channels - 1)], whole[(*window, channels - 1)])
    extremes = (image.min().item(), image.max().item())
    assert np.array_equal(ResizedImage(image, target, extremes)[window], whole[window])
    labels = np.arange(shape[0] * shape[1]).reshape(shape)
    for compartments in (1, 2):
        resized = ResizedLabels(labels, target, compartments)
        pair = np.stack([labels] * compartments, -1)
        expected = resize_labels(pair, target)[..., 0]
        assert np.array_equal(resized[window], expected[window])
        both = ResizedLabels(pair, target, compartments)
        assert np.array_equal(both[window][..., 0], resized[window])


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("target", [(70, 90), (900, 1100)])
def test_little_of_the_image_is_held_however_much_it_shrinks(channels, target):
    class Windows:
        shape, dtype = (3000, 3900, channels), np.dtype(np.uint16)

        def __getitem__(self, window):
            rows, columns = (range(*w.indices(n)) for w, n in zip(window, self.shape, strict=False))
            # Pieces of 32 pixels at the least, and what the Gaussian reaches.
            assert max(len(rows), len(columns)) < 1024 + 43 * 12
            values = np.add.outer(np.arange(rows.start, rows.stop) * 7, np.array(columns)) % 999
            return np.repeat(values[..., None], channels, -1).astype(np.uint16)

    image = Windows()
    whole = np.concatenate(
        [np.concatenate([image[y : y + 1000, x : x + 1300] for x in range(0, 3900, 1300)], 1)
         for y in range(0, 3000, 1000)]
    )  # fmt: skip
    view = ResizedImage(image, target, (0, 998))
    assert np.array_equal(view[:, :], resize_image(whole, target))


def test_what_is_not_finite_is_refused_before_it_is_skipped():
    image = np.zeros((40, 40, 1), np.float32)
    image[1, 1] = np.nan
    with pytest.raises(BadInput, match=r"image 'a': .*1 NaN and 0 infinite of 1600"):
        resize_image(image, (4, 4), "image 'a'")


def test_two_channels_are_smoothed_before_shrinking_and_darken_at_the_border():
    image = np.full((64, 64, 2), 200, np.uint16)
    image[32, 32] = 0
    shrunk = resize_image(image, (20, 20))
    assert (shrunk[2:8, 2:8] >= 199).all()
    assert (shrunk[0] < 200).all()
    checkers = np.indices((64, 64)).sum(0) % 2 * 200
    image = np.stack([checkers, checkers], -1).astype(np.float32)
    inside = resize_image(image, (16, 16))[2:-2, 2:-2]
    assert np.abs(inside - 100).max() < 1


def test_the_same_shape_is_the_same_image():
    image = noise((9, 8, 2))
    assert resize_image(image, (9, 8)) is image


@given(SIDES, SIDES, st.sampled_from([np.int32, np.int64, np.uint16]))
@settings(max_examples=60, deadline=None)
def test_labels_are_only_moved_never_mixed(shape, target, dtype):
    labels = np.arange(1, shape[0] * shape[1] + 1).reshape(shape).astype(dtype)
    resized = resize_labels(labels, target)
    assert (resized.shape, resized.dtype) == (target, dtype)
    assert np.isin(resized, labels).all()
    # Raster order is kept: nearest neighbour is monotonic along both axes.
    assert (np.diff(resized, axis=0) >= 0).all()
    assert (np.diff(resized, axis=1) >= 0).all()
    both = resize_labels(np.stack([labels, labels], -1), target)
    assert np.isin(both, labels).all()
    assert (both.shape, both.dtype) == ((*target, 2), dtype)


def test_ids_beyond_float_precision_survive():
    ids = np.array([[2**31 + 5, 2**53 + 1], [7, 2**62 + 1]])
    doubled = resize_labels(ids, (4, 4))
    assert np.array_equal(doubled, ids.repeat(2, 0).repeat(2, 1))
    small = np.array([[2**24 + 1, 2**31 - 1]], np.int32)
    assert np.array_equal(resize_labels(small, (1, 4)), small.repeat(2, 1))
    both = np.array([[[2**24 + 1, 2**31 - 1]]], np.int32)
    assert np.array_equal(resize_labels(both, (2, 2)), both.repeat(2, 0).repeat(2, 1))


def test_one_compartment_and_both_sample_as_their_references_do():
    labels = np.random.default_rng(1).integers(0, 999, (50, 61)).astype(np.int32)
    one = cv2.resize(labels, (43, 37), interpolation=cv2.INTER_NEAREST)
    assert np.array_equal(resize_labels(labels, (37, 43)), one)
    assert np.array_equal(resize_labels(labels[..., None], (37, 43))[..., 0], one)
    two = np.stack([labels, labels[::-1]], -1)
    expected = resize(two, (37, 43, 2), order=0, preserve_range=True, anti_aliasing=False)
    assert np.array_equal(resize_labels(two, (37, 43)), expected)
    assert not np.array_equal(resize_labels(two, (37, 43))[..., 0], one)


def test_sides_are_cut_off_per_axis():
    assert scaled_shape((512, 512), (0.65, 0.65), 0.5) == (665, 665)
    assert scaled_shape((100, 101), (0.25, 1.0), 0.5) == (50, 202)
    assert scaled_shape((300, 411), (0.5, 0.5), 0.5) == (300, 411)


def test_an_unknown_scale_changes_nothing():
    assert scaled_shape((30, 40), None, 0.5) == (30, 40)
    assert scaled_shape((30, 40), (0.3, 0.3), 0) == (30, 40)


def test_impossible_scales_are_refused():
    with pytest.raises(BadInput, match="positive microns per pixel"):
        scaled_shape((30, 40), (0.0, 0.3), 0.5)
    with pytest.raises(BadInput, match="at least one pixel"):
        scaled_shape((3, 40), (0.1, 0.1), 0.5)


@given(
    st.integers(0, 10**6),
    st.tuples(*[st.integers(1, 4)] * 2),
    st.tuples(*[st.integers(1, 60)] * 2),
    st.integers(1, 3),
    st.sampled_from([np.uint8, np.uint16, np.int32, np.float32]),
)
@settings(max_examples=150, deadline=None)
def test_averaging_is_the_mean_of_what_a_pixel_covers(seed, factors, shape, channels, dtype):
    # A source whose pixels are whole parts of the result's, so that plain means are exact.
    source = drawn(seed, (shape[0] * factors[0], shape[1] * factors[1], channels), dtype)
    blocks = source.reshape(shape[0], factors[0], shape[1], factors[1], channels)
    expected = blocks.astype(np.float64).mean(axis=(1, 3))
    if np.issubdtype(dtype, np.integer):
        expected = np.rint(expected)
    ours = resize_image(source, shape, resampling="averaged")
    assert ours.dtype == dtype
    # A mean of just a half may be rounded either way.
    most = 1 if np.issubdtype(dtype, np.integer) else 1e-4
    assert np.abs(ours - expected).max() <= most


@given(
    st.integers(0, 10**6),
    st.tuples(*[st.integers(1, 130)] * 2),
    st.tuples(*[st.integers(1, 130)] * 2),
)
@settings(max_examples=100, deadline=None)
def test_averaging_is_opencv_s_by_area_when_shrinking_and_linear_when_enlarging(
    seed, shape, target
):
    image = drawn(seed, (*shape, 1), np.float32)
    shrinks = [new <= old for new, old in zip(target, shape, strict=True)]
    if shrinks[0] != shrinks[1]:
        target = (target[0], max(1, round(shape[1] * target[0] / shape[0])))
    way = cv2.INTER_AREA if target[0] <= shape[0] else cv2.INTER_LINEAR
    expected = cv2.resize(image[..., 0], target[::-1], interpolation=way)
    ours = resize_image(image, target, resampling="averaged")[..., 0]
    assert np.abs(ours - expected).max() <= 1e-2


@given(st.integers(0, 10**6), SIDES, SIDES, st.data())
@settings(max_examples=60, deadline=None)
def test_a_window_of_averages_is_that_of_the_whole(seed, shape, target, data):
    image = drawn(seed, (*shape, 2), np.uint16)
    view = ResizedImage(image, target, resampling="averaged")
    y, x = (sorted(data.draw(st.integers(0, side)) for _ in range(2)) for side in target)
    assert np.array_equal(view[slice(*y), slice(*x)], np.asarray(view)[slice(*y), slice(*x)])


def test_averaging_takes_noise_off_of_which_linear_sampling_keeps_half():
    image = np.random.default_rng(0).normal(1000, 100, (400, 400, 1)).astype(np.float32)
    averaged = resize_image(image, (100, 100), resampling="averaged")
    assert averaged.std() == pytest.approx(25, rel=0.1)
    assert resize_image(image, (100, 100)).std() > 1.8 * averaged.std()
