"""Copies stand beside what is there, in the picture as in the labels."""

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cellmill.training.crowding import crowd


def scene():
    y, x = np.mgrid[:120, :140]
    labels = np.zeros((120, 140), np.int32)
    for label, (cy, cx, r) in {3: (30, 30, 9), 4: (80, 60, 12), 8: (60, 110, 7)}.items():
        labels[(y - cy) ** 2 + (x - cx) ** 2 < r**2] = label
    labels[:10, 120:] = 9  # touches the border, so it is never copied
    return (labels > 0).astype(np.float32)[..., None] * 0.8, labels


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1))
@example(1211)
def test_labels_and_light_agree(seed):
    picture, labels = scene()
    before = picture.copy(), labels.copy()
    crowded, found = crowd(picture, labels, np.random.default_rng(seed), most=5)
    again = crowd(picture, labels, np.random.default_rng(seed), most=5)
    np.testing.assert_array_equal(crowded, again[0])
    np.testing.assert_array_equal(found, again[1])
    np.testing.assert_array_equal(picture, before[0])
    np.testing.assert_array_equal(labels, before[1])
    assert crowded.shape == picture.shape
    assert (crowded.dtype, found.dtype) == (np.float32, np.int32)
    new = np.setdiff1d(np.unique(found), np.unique(labels))
    assert len(new) <= 5
    # Nothing becomes background, and every object is brighter than the background around it.
    assert (found[labels > 0] > 0).all()
    inside = ndimage.binary_erosion(found > 0, iterations=2)
    outside = ~ndimage.binary_dilation(found > 0, iterations=4)
    # Dimmest where the soft rim of a copy, at 0.6 of 0.8, fills a notch beside another object.
    assert crowded[inside].min() > 0.1
    assert np.abs(crowded[outside]).max() < 1e-6


def test_copies_touch_more_often_than_not():
    picture, labels = scene()
    pieces = ndimage.label(labels > 0)[1]
    joined = made = 0
    for seed in range(40):
        _, found = crowd(picture, labels, np.random.default_rng(seed), most=1)
        if found.max() > labels.max():
            made += 1
            joined += ndimage.label(found > 0, np.ones((3, 3)))[1] == pieces
    assert made > 20
    assert joined > 0.7 * made


def test_nuclei_go_with_their_cells():
    picture, cells = scene()
    nuclei = np.where(ndimage.binary_erosion(cells > 0, iterations=4), cells, 0)
    both = np.stack([cells, nuclei], -1)
    for seed in range(20):
        _, found = crowd(picture, both, np.random.default_rng(seed), most=4)
        alone = crowd(picture, cells, np.random.default_rng(seed), most=4)[1]
        np.testing.assert_array_equal(found[..., 0], alone)
        inside = found[..., 1] > 0
        np.testing.assert_array_equal(found[inside, 1], found[inside, 0])
        new = np.setdiff1d(found[..., 0], cells)
        assert all((found[..., 1][found[..., 0] == label] > 0).any() for label in new[:1])


def test_nothing_to_copy():
    empty = np.zeros((32, 32), np.int32)
    picture = np.zeros((32, 32, 1), np.float32)
    assert crowd(picture, empty, np.random.default_rng(0))[1] is empty
    border = empty.copy()
    border[:, :5] = 1
    assert crowd(picture, border, np.random.default_rng(0))[1] is border


def test_condensed_copies_are_small_and_bright_and_may_lie_alone():
    picture, labels = scene()
    pieces = ndimage.label(labels > 0)[1]
    least = min(np.count_nonzero(labels == label) for label in (3, 4, 8))
    areas, lights, alone, made = [], [], 0, 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        crowded, found = crowd(picture, labels, random, most=1, condensed=1.0)
        copy = found > labels.max()
        if copy.any():
            made += 1
            areas.append(np.count_nonzero(copy))
            lights.append(crowded[copy].max())
            alone += ndimage.label(found > 0, np.ones((3, 3)))[1] == pieces + 1
    assert made > 20
    assert alone > 0.2 * made
    assert min(areas) < 0.7 * least
    assert max(areas) < 0.7 * np.count_nonzero(labels == 4)
    assert np.median(lights) > 0.9
