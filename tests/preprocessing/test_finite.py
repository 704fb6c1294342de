"""NaN and infinity are refused before anything is computed."""

import numpy as np
import pytest

from cellmill.errors import BadInput
from cellmill.preprocessing import require_finite


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
