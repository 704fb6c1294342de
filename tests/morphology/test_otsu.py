"""Otsu's threshold is the best of all by its own measure, and nearly scikit-image's."""

import numpy as np
import pytest
from skimage.filters import threshold_otsu

from cellmill.morphology.otsu import BINS, centred_histogram, otsu_threshold
from tests.segmentation.maps import balls, smooth_noise


def images():
    yield smooth_noise(1, (90, 80), 2)
    rng = np.random.default_rng(2)
    shown = balls(2, (100, 90), 20, 9) > 0
    yield (300 * shown + rng.normal(100, 20, shown.shape)).astype(np.float32)
    yield np.array([[0, 0, 1]], np.float32)


@pytest.mark.parametrize("image", [*images()], ids=["noise", "cells", "two values"])
def test_it_parts_the_values_best(image):
    low, high = float(image.min()), float(image.max())
    counts = centred_histogram(image, low, high)
    assert counts.sum() == image.size
    found = otsu_threshold(counts, low, high)
    step = (high - low) / (BINS - 1)
    centred = np.rint((image - low) / step)

    def between(level):
        above = centred > level
        if above.all() or not above.any():
            return 0.0
        return (
            above.mean()
            * (1 - above.mean())
            * ((centred[above].mean() - centred[~above].mean()) ** 2)
        )

    best = max(between(level) for level in range(BINS - 1))
    assert between(round((found - low) / step)) == pytest.approx(best, rel=1e-6)
    assert abs(found - threshold_otsu(image)) <= 2 * step or image.size == 3


def test_counts_of_parts_add_up():
    image = smooth_noise(3, (70, 60), 1)
    low, high = float(image.min()), float(image.max())
    parts = [centred_histogram(image[y : y + 17, :41], low, high) for y in range(0, 70, 17)]
    parts += [centred_histogram(image[:, 41:], low, high)]
    np.testing.assert_array_equal(np.sum(parts, axis=0), centred_histogram(image, low, high))
