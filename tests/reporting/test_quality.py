"""Quality measures say what their documentation says."""

import numpy as np
import pytest
from scipy import ndimage

from cellmill.reporting import quality
from cellmill.reporting.quality import area_outliers, focus_measure, image_quality, object_quality


def texture(shape=(96, 80)):
    noise = np.random.default_rng(0).random(shape)
    return ndimage.gaussian_filter(noise, 1.5) * 1000


def one(channel):
    return image_quality(channel[..., None], [0])[0]


def test_blur_lowers_focus_step_by_step():
    values = [focus_measure(ndimage.gaussian_filter(texture(), sigma)) for sigma in (0, 1, 2, 4)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < values[0] / 10


def test_focus_does_not_depend_on_gain_and_offset():
    image = texture()
    assert focus_measure(image * 7 + 30000) == pytest.approx(focus_measure(image), rel=1e-3)


def test_focus_is_the_ratio_of_variances_it_is_said_to_be():
    image = texture()
    kernel = np.outer([1, 2, 1], [1, 2, 1]) / 16
    smooth = ndimage.convolve(image, kernel, mode="nearest")
    expected = ndimage.laplace(smooth, mode="nearest").var() / smooth.var()
    assert focus_measure(image) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 2), (5, 1)])
def test_tiny_and_constant_images_have_no_focus_to_speak_of(shape):
    assert focus_measure(np.full(shape, 60000, np.uint16)) == 0
    assert np.isfinite(focus_measure(np.random.default_rng(0).random(shape)))


def test_bands_and_blocks_change_nothing(monkeypatch):
    image = (np.stack([texture(), texture()[::-1]], axis=-1) * 30).astype(np.uint16)
    whole = image_quality(image, [1, 0])
    monkeypatch.setattr(quality, "_MEMORY_MIB", 1e-9)
    monkeypatch.setattr(quality, "block_rows", lambda shape: 2)
    for strips, at_once in zip(image_quality(image, [1, 0]), whole, strict=True):
        assert strips.focus == pytest.approx(at_once.focus, rel=1e-5)
        assert strips.mean == pytest.approx(at_once.mean)
        assert (strips.minimum, strips.maximum, strips.zero_fraction) == (
            at_once.minimum,
            at_once.maximum,
            at_once.zero_fraction,
        )


@pytest.mark.parametrize(
    ("dtype", "top", "level"),
    [
        (np.uint8, 255, 255),
        (np.uint8, 254, 255),
        (np.uint16, 65535, 65535),
        (np.uint16, 4095, 4095),
        (np.uint16, 4094, 65535),
        (np.uint16, 255, 255),
    ],
)
def test_saturation_is_found_at_the_dtypes_or_the_cameras_end(dtype, top, level):
    channel = np.full((10, 10), 3, dtype)
    channel[:5, 0] = top
    channel[0, 5:7] = 0
    found = one(channel)
    assert found.saturation_value == level
    assert found.saturated_fraction == (0.05 if top == level else 0)
    assert found.zero_fraction == 0.02
    assert not found.empty
    assert (found.minimum, found.maximum) == (0, top)


def test_a_float_channel_has_no_saturation_value():
    found = one(texture().astype(np.float32))
    assert found.saturation_value is None
    assert found.saturated_fraction is None


def test_a_constant_channel_is_empty():
    found = one(np.full((9, 9), 12, np.uint8))
    assert found.empty
    assert found.focus == 0
    assert found.mean == 12


def test_density_counts_each_axis_by_its_own_pixel_size():
    found = object_quality([10, 20, 30], (1000, 2000), (0.5, 0.25))
    assert found.per_mm2 == pytest.approx(3 / 0.25)
    assert found.median_area_px == 20
    assert found.median_diameter_px == pytest.approx(2 * np.sqrt(20 / np.pi))


def test_without_a_pixel_size_or_objects_nothing_is_invented():
    found = object_quality([], (10, 10), None)
    assert found.per_mm2 is None
    assert found.count == found.outliers == 0
    assert np.isnan(found.median_area_px)


def test_area_outliers_are_far_on_either_side():
    areas = np.random.default_rng(0).lognormal(5, 0.2, 200)
    assert not area_outliers(areas[:100]).any() or area_outliers(areas).sum() <= 2
    odd = np.concatenate([areas, [areas.max() * 20, areas.min() / 20]])
    assert area_outliers(odd)[-2:].all()
    assert not area_outliers([5, 5, 5, 5, 900]).any()
    assert area_outliers([]).size == 0
