"""Distances are scipy's, up to the one that is enough, in windows as in the whole."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from cellmill.morphology.distances import capped_distances
from tests.segmentation.maps import smooth_noise


def expected(mask, most, spacing):
    if mask.all():
        return np.full(mask.shape, most, np.float32)
    exact = ndimage.distance_transform_edt(mask, sampling=spacing)
    return np.minimum(exact, most).astype(np.float32)


@settings(deadline=None, max_examples=100)
@given(
    hnp.arrays(
        bool,
        hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=9),
        elements=st.integers(0, 9).map(lambda n: n > 0),
    ),
    st.integers(1, 9),
    st.sampled_from([1, 2, 4]),
)
def test_small_masks(mask, most, step):
    spacing = (step, *(1,) * (mask.ndim - 1))
    np.testing.assert_array_equal(
        capped_distances(mask, most, spacing), expected(mask, most, spacing)
    )


def test_a_volume_whose_planes_lie_apart():
    mask = smooth_noise(1, (30, 50, 60), 4) > 0.35
    for spacing in (None, (4.0, 1.4, 1.0)):
        found = capped_distances(mask, 12, spacing)
        np.testing.assert_allclose(found, expected(mask, 12, spacing), rtol=1e-6)
