"""Groups hold the rows of one key, and reduce them."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cellmill.labels.grouping import group_by

KEYS = st.one_of(st.integers(0, 5), st.integers(0, 2**63 - 1))


@settings(deadline=None)  # compiles
@given(arrays.arrays(np.int64, st.integers(0, 40), elements=KEYS), st.integers(0, 2))
def test_groups_reduce_rows_of_equal_keys(keys, columns):
    values = np.random.default_rng(0).integers(-9, 9, (len(keys), *[3] * columns))
    groups = group_by(keys)
    expected, index = np.unique(keys, return_inverse=True)
    np.testing.assert_array_equal(groups.keys, expected)
    np.testing.assert_array_equal(groups.index, index)
    for reduced, reduction in (
        (groups.sum(values), np.sum),
        (groups.min(values), np.min),
        (groups.max(values), np.max),
    ):
        assert reduced.dtype == values.dtype
        assert reduced.shape == (len(expected), *values.shape[1:])
        for key, row in zip(expected, reduced, strict=True):
            np.testing.assert_array_equal(row, reduction(values[keys == key], axis=0))


def test_many_keys_that_crowd_are_told_apart():
    keys = np.concatenate([np.arange(50_000) << 32, np.arange(50_000)])
    np.random.default_rng(1).shuffle(keys)
    groups = group_by(keys)
    np.testing.assert_array_equal(groups.keys, np.unique(keys))
    np.testing.assert_array_equal(groups.keys[groups.index], keys)
