"""Flooding against a rule that knows no age of a queue, where no two pixels are equal."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from cellmill.segmentation import watershed
from tests.segmentation.maps import permutation

SHAPES = hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=7)


def settled_by_key(height, markers, mask):
    """Settle pixels in order of (level, steps, label); an unlabelled neighbour joins the settler.

    No age and no queue: level is the highest point of the way (heights turned over), steps count
    what was walked since, and equal pixels of one label need no order between them.
    """
    level = -height
    keys = {tuple(p): (level[tuple(p)], 0, markers[tuple(p)]) for p in np.argwhere(markers * mask)}
    open_keys = dict(keys)
    while open_keys:
        p = min(open_keys, key=open_keys.__getitem__)
        highest, steps, owner = open_keys.pop(p)
        for axis in range(level.ndim):
            for step in (-1, 1):
                q = (*p[:axis], p[axis] + step, *p[axis + 1 :])
                inside = all(0 <= i < side for i, side in zip(q, level.shape, strict=True))
                if inside and mask[q] and q not in keys:
                    rises = level[q] > highest
                    keys[q] = (level[q], 1, owner) if rises else (highest, steps + 2, owner)
                    open_keys[q] = keys[q]
    labels = np.zeros(level.shape, int)
    for p, (_, _, owner) in keys.items():
        labels[p] = owner
    return labels


@st.composite
def floods(draw):
    shape = draw(SHAPES)
    height = permutation(draw(st.integers(0, 10**6)), shape)
    spots = draw(hnp.arrays(bool, shape, elements=st.integers(0, 5).map(lambda n: n == 0)))
    markers, _ = ndimage.label(spots, np.ones((3,) * len(shape)))
    mask = height > draw(st.floats(-0.1, 0.9))
    return height, markers, mask


@settings(deadline=None, max_examples=60)
@given(floods())
def test_without_ties_labels_follow_from_levels_and_steps(flood):
    assert np.array_equal(watershed(*flood), settled_by_key(*flood))


@settings(deadline=None)
@given(floods(), st.booleans())
def test_what_is_reached_and_what_is_not(flood, tied):
    height, markers, mask = flood
    if tied:
        height = np.round(height * 3).astype(np.float32)
    labels = watershed(height, markers, mask)
    assert labels.dtype == np.int32
    assert not labels[~mask].any()
    assert np.array_equal(labels[mask & (markers > 0)], markers[mask & (markers > 0)])
    rooms, count = ndimage.label(mask)
    for room in range(1, count + 1):
        reached = labels[rooms == room] > 0
        assert reached.all() == reached.any() == markers[rooms == room].any()
    # A label is in one piece with its marker's pixels, of which it has at least one in each piece.
    for owner in np.unique(labels[labels > 0]):
        pieces, count = ndimage.label(labels == owner)
        assert set(pieces[(markers == owner) & mask]) == set(range(1, count + 1))
