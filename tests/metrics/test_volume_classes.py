"""Classes of voxels: counted plane by plane as if the volume were looked at whole."""

import numpy as np
import pytest
from scipy import ndimage

from cellmill.errors import BadInput
from cellmill.metrics import evaluate_classes, pool_classes

CLASSES = {"background": 1, "nuclear": 2, "spot": 5}


def volume(seed, shape=(7, 40, 33)):
    """Smooth regions of three classes."""
    noise = np.random.default_rng(seed).normal(size=shape)
    smooth = ndimage.gaussian_filter(noise, (1, 3, 3))
    return np.array([1, 2, 5])[np.digitize(smooth, np.quantile(smooth, [0.5, 0.8]))]


def matched(own, other, spacing, tolerance):
    """Boundary voxels, and those near the other's, by distances over the whole volume."""
    lines = []
    for mask in (own, other):
        line = np.zeros_like(mask)
        for axis in range(3):
            for step in (-1, 1):
                beside = np.roll(mask, step, axis)
                edge = [slice(None)] * 3
                edge[axis] = 0 if step == 1 else -1
                beside[tuple(edge)] = mask[tuple(edge)]
                line |= mask & ~beside
        lines.append(line)
    apart = ndimage.distance_transform_edt(~lines[1], sampling=spacing)
    return int(lines[0].sum()), int((lines[0] & (apart <= tolerance)).sum())


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 1.0, 1.0), (0.7, 1.0, 1.0)])
@pytest.mark.parametrize("tolerance", [0.0, 2.0])
def test_planes_give_what_the_whole_gives(spacing, tolerance):
    truth, found = volume(0), volume(1)
    found[:4] = truth[:4]
    found = np.roll(found, 1, 1)
    micron = [0.25 * each for each in spacing]
    given = {"boundary_tolerance_px": tolerance, "spacing": micron}
    scores = evaluate_classes(truth, found, CLASSES, **given)
    for row, true in enumerate(CLASSES.values()):
        for column, own in enumerate(CLASSES.values()):
            both = np.count_nonzero((truth == true) & (found == own))
            assert scores["confusion"][row][column] == both
    for name, value in CLASSES.items():
        boundary = scores["by_class"][name]["boundary"]
        here, there = truth == value, found == value
        counts = [boundary["truth_pixels"], boundary["truth_matched"]]
        assert counts == [*matched(here, there, spacing, tolerance)]
        counts = [boundary["predicted_pixels"], boundary["predicted_matched"]]
        assert counts == [*matched(there, here, spacing, tolerance)]
    # In bands of rows, too.
    assert evaluate_classes(truth, found, CLASSES, **given, memory_mib=0.001) == scores


def test_planes_are_as_far_apart_as_they_are():
    truth = np.ones((9, 12, 12), int)
    truth[3:6, 4:8, 4:8] = 2
    found = np.roll(truth, 1, 0)
    names = {"background": 1, "nuclear": 2}
    near = evaluate_classes(truth, found, names, boundary_tolerance_px=1)
    far = evaluate_classes(truth, found, names, boundary_tolerance_px=1, spacing=(2, 1, 1))
    assert near["by_class"]["nuclear"]["boundary"]["f1"] == 1
    assert far["by_class"]["nuclear"]["boundary"]["f1"] < 1
    assert near["confusion"] == far["confusion"]


def test_unlabelled_voxels_do_not_count_and_volumes_pool():
    truth = volume(2)
    found = truth.copy()
    truth[:, :5] = 0
    found[:, :5] = 1
    scores = evaluate_classes(truth, found, CLASSES)
    assert scores["unlabelled"] == truth[:, :5].size
    assert scores["accuracy"] == scores["mean_dice"] == 1
    assert scores["by_class"]["spot"]["boundary"] is None
    whole = evaluate_classes(found, found, CLASSES)
    pooled = pool_classes([scores, whole])
    assert pooled["pixels"] == scores["pixels"] + found.size
    assert pooled["by_class"]["spot"]["boundary"]["f1"] == 1
    with pytest.raises(BadInput, match="truth: expected classes 1, 2, 5 or 0, found 3"):
        evaluate_classes(np.full((2, 3, 4), 3), np.ones((2, 3, 4), int), CLASSES)
