"""Features are scipy's and scikit-image's, and the same however an image is cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.feature import hessian_matrix_eigvals, multiscale_basic_features

from cellmill.errors import BadInput
from cellmill.pixel_classification import features as module
from cellmill.pixel_classification.feature_set import KINDS, Feature, FeatureSet
from cellmill.pixel_classification.features import features_at, image_features

#: Part of an image's greatest value by which float32 sums may differ from scipy's float64 ones.
BOUND = 4e-6


def _blurred(image, sigmas):
    return ndimage.gaussian_filter(image, sigmas, mode="mirror", truncate=4)


def _sobel(image, axis):
    smoothed = image
    for other in range(image.ndim):
        if other != axis:
            smoothed = ndimage.correlate1d(smoothed, [0.25, 0.5, 0.25], other, mode="mirror")
    return ndimage.correlate1d(smoothed, [-1, 0, 1], axis, mode="mirror")


def _difference(image, axis):
    return ndimage.correlate1d(image, [-0.5, 0, 0.5], axis, mode="mirror")


def _matrices(elements, axes):
    found = np.empty((*elements[0].shape, axes, axes))
    pairs = [(row, column) for row in range(axes) for column in range(row, axes)]
    for element, (i, j) in zip(elements, pairs, strict=True):
        found[..., i, j] = found[..., j, i] = element
    return np.linalg.eigvalsh(found)[..., ::-1]


def reference(image, wanted):
    """The features by scipy in float64, of an image that is mirrored far beyond its border.

    Derivatives of a mirrored image are those of its extension, so the extension is made first.
    """
    axes, spacing = wanted.axes, wanted.z_spacing
    pads = [(far, far) for far in wanted.halo]
    inner = tuple(slice(far, -far) for far in wanted.halo)
    found = []
    for feature in wanted.features:
        channel = np.pad(image[..., feature.channel].astype(float), pads, mode="reflect")
        sigmas = wanted.sigmas(feature.sigma)
        scale = [1 / spacing if axes == 3 and axis == 0 else 1 for axis in range(axes)]
        blurred = _blurred(channel, sigmas)
        sobel = [_sobel(blurred, axis) * scale[axis] for axis in range(axes)]
        pairs = [(i, j) for i in range(axes) for j in range(i, axes)]
        if feature.kind == "gaussian":
            found.append(blurred[inner])
        elif feature.kind == "gradient":
            found.append(np.sqrt(sum(each**2 for each in sobel) / axes)[inner])
        elif feature.kind == "laplacian":
            second = [
                ndimage.correlate1d(blurred, [1, -2, 1], axis, mode="mirror") * scale[axis] ** 2
                for axis in range(axes)
            ]
            found.append(sum(second)[inner])
        elif feature.kind == "hessian":
            elements = [
                (_difference(_difference(blurred, i), j) * scale[i] * scale[j])[inner]
                for i, j in pairs
            ]
            found += [*np.moveaxis(_matrices(elements, axes), -1, 0)]
        else:
            elements = [_blurred(sobel[i] * sobel[j], sigmas)[inner] for i, j in pairs]
            found += [*np.moveaxis(_matrices(elements, axes), -1, 0)]
    return np.stack(found)


def _close(found, wanted, image):
    greatest = max(float(np.abs(image).max()), 1)
    return found.dtype == np.float32 and np.abs(found - wanted).max() <= BOUND * greatest


def _image(seed, *shape):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.random(shape), [3] * (len(shape) - 1) + [0])
    return (smooth / smooth.max() + 0.2 * rng.random(shape)).astype(np.float32)


@pytest.mark.parametrize("shape", [(61, 83, 2), (9, 300, 2), (2, 3, 2), (1, 1, 2)])
def test_features_of_images_are_scipys(shape):
    wanted = FeatureSet.of(KINDS, (0.4, 1.0, 3.3), 2)
    image = _image(1, *shape)
    found = image_features(image, wanted)
    assert found.shape == (wanted.count, *shape[:2]) == (len(wanted.names), *shape[:2])
    assert _close(found, reference(image, wanted), image)


@pytest.mark.parametrize("spacing", [1.0, 3.0])
def test_features_of_volumes_are_scipys(spacing):
    wanted = FeatureSet.of(KINDS, (0.7, 2.0), 1, axes=3, z_spacing=spacing)
    image = _image(2, 7, 35, 140, 1)
    assert _close(image_features(image, wanted), reference(image, wanted), image)


def test_features_inside_an_image_are_scikit_images():
    wanted = FeatureSet.of(("gaussian", "gradient", "hessian"), (0.5, 1, 2, 4))
    image = _image(3, 120, 130, 1)[..., 0]
    found = image_features(image, wanted)
    peers = multiscale_basic_features(image, sigma_min=0.5, sigma_max=4, num_workers=1)
    far = wanted.halo[0]
    inner = (slice(None), slice(far, -far), slice(far, -far))
    assert _close(found[inner], np.moveaxis(peers, -1, 0)[inner], image)


def test_eigenvalues_of_a_volume_are_scikit_images():
    wanted = FeatureSet((Feature("hessian", 1.0),), axes=3)
    image = _image(4, 20, 24, 28, 1)
    blurred = ndimage.gaussian_filter(image[..., 0].astype(float), 1, mode="mirror")
    first = np.gradient(blurred)
    elements = [np.gradient(first[i])[j] for i in range(3) for j in range(i, 3)]
    inner = (slice(None), *(slice(6, -6),) * 3)
    found = image_features(image, wanted)
    assert _close(found[inner], hessian_matrix_eigvals(elements)[inner], image)


@given(st.integers(0, 5), st.integers(1, 90), st.integers(1, 90), st.integers(8, 40))
@settings(max_examples=12, deadline=None)
def test_no_bit_depends_on_the_windows(seed, high, wide, side):
    wanted = FeatureSet.of(KINDS, (0.6, 2.0), 2)
    image = _image(seed, high, wide, 2)
    whole = image_features(image, wanted)
    before = module._WINDOWS[2]
    module._WINDOWS[2] = (side, side + 3)
    try:
        cut = image_features(image, wanted)
    finally:
        module._WINDOWS[2] = before
    assert np.array_equal(whole, cut)


def test_no_bit_of_a_volume_depends_on_the_windows(monkeypatch):
    wanted = FeatureSet.of(KINDS, (0.6, 1.5), 1, axes=3, z_spacing=2)
    image = _image(5, 11, 30, 33, 1)
    whole = image_features(image, wanted)
    monkeypatch.setitem(module._WINDOWS, 3, (4, 13, 9))
    assert np.array_equal(whole, image_features(image, wanted))


@pytest.mark.parametrize("axes", [2, 3])
def test_features_at_some_pixels_are_those_of_the_whole(axes):
    shape = (70, 530) if axes == 2 else (9, 40, 140)
    wanted = FeatureSet.of(KINDS, (1.0,), 1, axes=axes)
    image = _image(6, *shape, 1)
    places = np.random.default_rng(7).random(shape) < 0.01
    places[..., shape[-1] // 2 :] = False
    found = features_at(image, places, wanted)
    assert np.array_equal(found, image_features(image, wanted)[:, places].T)


def test_values_of_any_dtype_are_taken_as_float32():
    wanted = FeatureSet.of(sigmas=(1.0,))
    image = np.random.default_rng(8).integers(0, 4000, (30, 40), np.uint16)
    found = image_features(image, wanted)
    assert np.array_equal(found, image_features(image.astype(np.float64), wanted))


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.zeros((4, 4, 1)), "expected real numbers .* of 2 channel"),
        (np.zeros((4, 4)), "of 2 channel"),
        (np.zeros((0, 4, 2)), "found float64"),
        (np.full((4, 4, 2), np.nan), "NaN"),
        (np.zeros((4, 4, 2), complex), "real numbers"),
    ],
)
def test_what_is_no_image_is_refused(image, says):
    with pytest.raises(BadInput, match=says):
        image_features(image, FeatureSet.of(channels=2))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Feature("sobel", 1.0), "one of gaussian"),
        (lambda: Feature("hessian", 0.0), "more than 0"),
        (lambda: Feature("hessian", float("nan")), "more than 0"),
        (lambda: Feature("hessian", 1.0, -1), "0 or more"),
        (lambda: FeatureSet(()), "at least one"),
        (lambda: FeatureSet((Feature("hessian", 1.0),) * 2), "each once"),
        (lambda: FeatureSet((Feature("hessian", 1.0),), 4), "2 or 3"),
        (lambda: FeatureSet((Feature("hessian", 1.0),), 3, 0.0), "0.01 to 100"),
    ],
)
def test_features_that_are_none_are_refused(make, says):
    with pytest.raises(BadInput, match=says):
        make()
