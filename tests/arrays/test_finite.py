"""NaN and infinity are refused before anything is computed."""

import numpy as np
import pytest

from cellmill.arrays.finite import require_finite
from cellmill.errors import BadInput


def test_finite_images_of_any_dtype_pass():
    for dtype in (np.uint8, np.uint16, np.int32, np.float16, np.float32, np.float64):
        require_finite(np.ones((4, 5, 2), dtype))
    require_finite(np.zeros((0, 5), np.float32))


def test_the_counts_are_over_all_rows():
    image = np.zeros((2500, 3), np.float32)
    image[[0, 1500, 2499], 0] = np.nan
    image[2000, 1] = -np.inf
    with pytest.raises(BadInput, match=r"page 2: .*found 3 NaN and 1 infinite of 7500 values"):
        require_finite(image, "page 2")


def test_large_values_are_finite_though_their_sum_is_not():
    image = np.full((600, 3), np.finfo(np.float32).max, np.float32)
    require_finite(image)
    image[300, 1] = np.nan
    with pytest.raises(BadInput, match="found 1 NaN and 0 infinite of 1800 values"):
        require_finite(image)
