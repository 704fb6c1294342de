"""Extremes and percentiles found by counting are numpy's, whatever the windows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cellmill.errors import BadInput
from cellmill.preprocessing.levels import levels_of

SHAPES = st.tuples(*[st.integers(1, 12)] * 2, st.integers(1, 3))
DTYPES = st.sampled_from(["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])


def images(dtype):
    finite = {"allow_nan": False, "allow_infinity": False} if dtype[0] == "f" else {}
    values = hnp.from_dtype(np.dtype(dtype), **finite)
    # Halved, so that the difference of two values does not overflow.
    return hnp.arrays(dtype, SHAPES, elements=values).map(lambda a: (a / 2).astype(dtype))


@given(DTYPES.flatmap(images), st.floats(0, 100), st.booleans(), st.integers(1, 9))
@settings(max_examples=200, deadline=None)
def test_levels_are_numpys(image, percentile, nonzero, side):
    found = levels_of(image, [percentile, 50.0], nonzero=nonzero, side=side)
    for c, levels in enumerate(found):
        values = image[..., c].ravel()
        assert levels.low == values.min()
        assert levels.high == values.max()
        assert levels.low.dtype == image.dtype
        counted = values[values != 0] if nonzero else values
        if counted.size:
            expected = np.percentile(counted, [percentile, 50.0])
            assert np.array_equal(levels.percentiles, expected.astype(np.float64))
        else:
            assert levels.percentiles == ()


def test_zeros_do_not_lower_a_percentile_of_the_rest():
    image = np.zeros((100, 100, 1), np.uint16)
    image[0, :10] = 1000
    assert levels_of(image, [50], nonzero=True)[0].percentiles == (1000,)
    assert levels_of(image, [50])[0].percentiles == (0,)


def test_not_finite_is_counted_over_all_windows_and_channels():
    image = np.zeros((70, 50, 2), np.float32)
    image[[0, 69, 33], [0, 49, 20], 0] = np.nan
    image[5, 5, 1], image[6, 6, 1] = np.inf, -np.inf
    with pytest.raises(BadInput, match=r"x: .*found 3 NaN and 2 infinite of 7000 values"):
        levels_of(image, side=16, what="x")
