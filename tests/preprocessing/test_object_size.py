"""The estimate of the objects' diameter: near the truth, at any zoom, whatever it is cut into."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellmill.arrays.windows import Box
from cellmill.preprocessing import estimate_diameter
from cellmill.preprocessing.object_size import sampled_windows


def nuclei(diameter, side=512, spacing=1.5, noise=0.1, seed=0):
    """Soft ellipses of about one size, of unlike brightness, a third of the places empty; noise."""
    rng = np.random.default_rng(seed)
    image = np.zeros((side, side), np.float32)
    step = diameter * spacing
    for y in np.arange(step / 2, side, step):
        for x in np.arange(step / 2, side, step):
            if rng.random() < 1 / 3:
                continue
            centre = [round(16 * (v + rng.uniform(-0.2, 0.2) * step)) for v in (x, y)]
            axes = [round(16 * diameter / 2 * rng.uniform(0.85, 1.2)) for _ in "yx"]
            light = float(rng.uniform(0.4, 1))
            cv2.ellipse(image, centre, axes, rng.uniform(0, 180), 0, 360, light, -1, cv2.LINE_AA, 4)
    image = cv2.GaussianBlur(image, (0, 0), max(diameter / 20, 0.5))
    noisy = 200 + 1000 * (image + rng.normal(0, noise, image.shape))
    return np.clip(np.rint(noisy), 0, 65535).astype(np.uint16)[..., np.newaxis]


@pytest.mark.parametrize("spacing", [1.15, 1.5, 2.5])
@pytest.mark.parametrize("diameter", [7, 15, 27, 60, 120])
def test_the_estimate_is_near_the_diameter_from_crowded_to_apart(diameter, spacing):
    found = estimate_diameter(nuclei(diameter, max(512, 8 * diameter), spacing))
    assert diameter / 1.5 < found.diameter < diameter * 1.5
    assert 0 < found.agreeing <= found.voting <= found.blocks


@given(st.integers(0, 10**4), st.sampled_from([2, 3, 4]))
@settings(max_examples=15, deadline=None)
def test_an_enlarged_image_has_an_enlarged_estimate(seed, zoom):
    image = nuclei(24, 384, seed=seed)
    large = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    once, zoomed = (estimate_diameter(i.reshape(*i.shape[:2], 1)).diameter for i in (image, large))
    assert zoomed == pytest.approx(once * zoom, rel=0.2)


@given(st.integers(0, 10**4), st.sampled_from([np.uint16, np.int32, np.float32, np.float64]))
@settings(max_examples=15, deadline=None)
def test_neither_dtype_nor_brightness_nor_offset_changes_it(seed, dtype):
    image = nuclei(20, 256, seed=seed)
    expected = estimate_diameter(image)
    other = (image.astype(np.float64) * 7 + 5000).astype(dtype)
    found = estimate_diameter(other)
    assert found.diameter == pytest.approx(expected.diameter, abs=0.2)


def dirty(image):
    """A piece of dirt five times as wide as the nuclei and ten times as bright."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.where(np.hypot(y - 130, x - 130)[..., np.newaxis] < 62, 10_000, image)


def uneven(image):
    """The light of a whole nucleus more in the middle than in the corners."""
    y, x = np.mgrid[-1 : 1 : image.shape[0] * 1j, -1 : 1 : image.shape[1] * 1j]
    return image + np.uint16(800 * (1 - (y**2 + x**2) / 2))[..., np.newaxis]


def hot(image):
    """One saturated pixel in ten thousand."""
    pixels = image.copy()
    pixels.flat[np.random.default_rng(1).integers(0, image.size, image.size // 10**4)] = 65535
    return pixels


@pytest.mark.parametrize("spoiled", [dirty, uneven, hot])
def test_dirt_uneven_light_and_hot_pixels_do_not_decide(spoiled):
    found = estimate_diameter(spoiled(nuclei(25, 768)))
    assert 25 / 1.5 < found.diameter < 25 * 1.5


def test_noise_as_strong_as_the_objects_does_not_decide():
    found = estimate_diameter(nuclei(25, 768, noise=0.7))
    assert 25 / 1.5 < found.diameter < 25 * 1.5


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((300, 200, 1), np.uint8),
        np.full((300, 200, 1), 7.5, np.float32),
        np.random.default_rng(0).poisson(9, (600, 700, 1)).astype(np.uint16),
        np.random.default_rng(1).normal(0, 1, (256, 256, 1)),
        np.zeros((1, 1, 1), np.uint8),
        np.arange(20, dtype=np.uint8).reshape(4, 5, 1),
        np.mgrid[:400, :400][1][..., np.newaxis],
    ],
    ids=["black", "grey", "photons", "noise", "a pixel", "tiny", "ramp"],
)
def test_where_nothing_stands_out_there_is_no_estimate(image):
    assert estimate_diameter(image).diameter == 0


def test_what_is_not_finite_is_passed_over():
    image = nuclei(20, 256).astype(np.float32)
    image[3, 4, 0] = np.nan
    assert estimate_diameter(image).diameter == 0


def test_one_channel_is_looked_at():
    image = np.concatenate([nuclei(15, 400), nuclei(45, 400)], axis=-1)
    assert estimate_diameter(image, 0) == estimate_diameter(image[..., :1])
    assert estimate_diameter(image, 1) == estimate_diameter(image[..., 1:])


class Read:
    """An image that says which part of it was read."""

    def __init__(self, image):
        self.image, self.shape, self.dtype = image, image.shape, image.dtype
        self.read = np.zeros(image.shape[:2], bool)

    def __getitem__(self, window):
        self.read[window[:2]] = True
        return self.image[window]


@pytest.mark.parametrize("threads", ["1", "3"])
@pytest.mark.parametrize("memory", [1, 1 << 30])
def test_neither_memory_nor_threads_change_it(monkeypatch, threads, memory):
    image = nuclei(30, 2500)
    monkeypatch.delenv("CELLMILL_THREADS", raising=False)
    expected = estimate_diameter(image)
    monkeypatch.setenv("CELLMILL_THREADS", threads)
    seen = Read(image)
    assert estimate_diameter(seen, memory=memory) == expected
    assert seen.read.all()


@given(st.tuples(*[st.integers(1, 200_000)] * 2))
@settings(max_examples=200, deadline=None)
def test_windows_lie_in_the_image_apart_and_are_bounded(shape):
    boxes = sampled_windows(shape)
    assert 1 <= len(boxes) <= 64
    assert sum(math.prod(box.shape) for box in boxes) <= 64 * 1024**2
    whole = Box(0, shape[0], 0, shape[1])
    for k, box in enumerate(boxes):
        assert box.common(whole) == box
        assert all(box.common(other) is None for other in boxes[:k])
    if math.prod(shape) <= 4096**2 and max(shape) <= 8192:
        assert sum(math.prod(box.shape) for box in boxes) == math.prod(shape)
    # However long and narrow, what is read lies all along it.
    ends = max(box.y1 for box in boxes), max(box.x1 for box in boxes)
    assert all(end > side / 2 for end, side in zip(ends, shape, strict=True))
