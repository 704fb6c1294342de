"""Cellpose's masks of volumes against the same done plainly, and of planes that are joined."""

import numpy as np
import pytest
from scipy import ndimage

from cellmill.errors import BadInput
from cellmill.labels.numbering import canonical_labels
from cellmill.labels.stitching import stitch_planes
from cellmill.segmentation.cellpose import (
    CellposeParameters,
    combine_orientations,
    flows_of,
    segment_flows,
)
from cellmill.segmentation.cellpose.ends import NONE
from cellmill.segmentation.cellpose.volume_walks import follow_volume
from cellmill.segmentation.interface import Maps
from cellmill.segmentation.methods import Recipe, Source, find_method, segment_one
from tests.segmentation.examples import EXAMPLES, volume_flows
from tests.segmentation.maps import balls


def wild_maps(seed, shape):
    """Flows that go round, out of the volume, and nowhere; no network's."""
    rng = np.random.default_rng(seed)
    smooth = [ndimage.gaussian_filter(rng.normal(0, 1, shape), 2) * 40 for _ in range(3)]
    return np.stack(smooth, axis=-1).astype(np.float32), rng.normal(0.5, 1, shape)


def corners(position, shape):
    """The eight voxels around positions, each with its weights along the axes, float64."""
    low = [axis.astype(np.int64) for axis in position]
    for corner in np.ndindex(2, 2, 2):
        at = tuple(
            np.minimum(k + up, side - 1) for k, up, side in zip(low, corner, shape, strict=True)
        )
        parts = [p - k for p, k in zip(position, low, strict=True)]
        weights = [part if up else 1 - part for part, up in zip(parts, corner, strict=True)]
        yield at, np.prod(weights, axis=0)


@pytest.mark.parametrize("count", [1, 2, 17, 200])
def test_walks_end_where_each_step_taken_leads(count):
    shape = (11, 25, 30)
    flows, probability = wild_maps(1, shape)
    cells = probability.astype(np.float32) > np.float32(0.3)
    steps = (flows * cells[..., None] / np.float32(5)).astype(np.float32)
    starts = np.nonzero(cells)
    position = [axis.astype(np.float32) for axis in starts]
    most = [np.float32(side - 1) for side in shape]
    for _ in range(count):
        step = sum(steps[at] * weight[:, None] for at, weight in corners(position, shape))
        position = [
            np.clip(p + s, np.float32(0), m)
            for p, s, m in zip(position, step.astype(np.float32).T, most, strict=True)
        ]
    found = follow_volume(flows, probability, 0.3, count, "right")
    assert (found[~cells] == NONE).all()
    ends = np.stack(np.unravel_index(found[starts], shape))
    # The order of sums is another: a last bit may be, and where walks part a few ends are others.
    same = (ends == [axis.astype(np.int64) for axis in position]).all(axis=0)
    assert same.mean() > 0.995


@pytest.mark.parametrize("rule", ["right", "reference"])
def test_a_long_walk_ends_where_as_many_shorter_ones_lead(rule):
    """What goes round is not walked to its end, step by step; it comes out the same."""
    flows, probability = wild_maps(2, (9, 20, 22))
    one, two = (follow_volume(flows, probability, 0, n, rule) for n in (3000, 3000 + 2520))
    # Walks that came to rest or go round with a period that divides 2520 are where they were.
    assert (one == two).mean() > 0.97


def test_clean_flows_give_back_the_objects_they_were_made_of():
    labels = np.zeros((30, 60, 62), np.int32)
    for k, centre in enumerate([(12, 14, 14), (15, 42, 40), (14, 15, 44)], start=1):
        apart = np.indices(labels.shape) - np.reshape(centre, (3, 1, 1, 1))
        labels[(apart**2).sum(axis=0) < 10**2] = k
    flows = (5 * volume_flows(labels)).astype(np.float32)
    probability = np.where(labels > 0, 5.0, -5.0)
    for rule in ("right", "reference"):
        found = segment_flows(flows, probability, CellposeParameters(rule=rule))
        np.testing.assert_array_equal(found, canonical_labels(labels))


def test_the_rule_of_the_reference_depends_on_the_size_of_the_volume():
    maps = EXAMPLES["cellpose"].maps(3, (16, 40, 44))
    margins = [(0, 9), (0, 30), (0, 30)]
    wider = {
        name: np.pad(a, margins + [(0, 0)] * (a.ndim - 3), constant_values=-9)
        for name, a in maps.items()
    }
    same = {}
    for rule in ("right", "reference"):
        parameters = CellposeParameters(rule=rule, min_size=0)
        alone = segment_flows(maps["flows"], maps["probability"], parameters)
        within = segment_flows(wider["flows"], wider["probability"], parameters)[:16, :40, :44]
        same[rule] = (alone > 0) == (within > 0)
    assert same["right"].mean() > same["reference"].mean()


def test_what_an_object_of_a_volume_encloses_becomes_its():
    labels = np.zeros((28, 44, 44), np.int32)
    apart = np.indices(labels.shape) - np.reshape((13, 21, 21), (3, 1, 1, 1))
    labels[(apart**2).sum(axis=0) < 144] = 1
    flows = (5 * volume_flows(labels)).astype(np.float32)
    probability = np.where(labels > 0, 5.0, -5.0)
    probability[12, 27, 27] = -5
    tunnel = probability.copy()
    tunnel[12, 27, 27:] = -5
    closed, open_ = (segment_flows(flows, each) for each in (probability, tunnel))
    assert closed[12, 27, 27] == 1
    assert open_[12, 27, 27] == 0
    assert open_.max() == 1


def test_planes_are_segmented_each_and_joined():
    method = find_method("cellpose")
    labels = balls(4, (8, 70, 75), 12, 9)
    flows = np.stack([flows_of(plane) for plane in labels])
    heads = {
        "flows": (5 * flows).astype(np.float32),
        "probability": np.where(labels > 0, 5.0, -5.0)[..., None],
    }
    sources = {role.name: Source(role.name) for role in method.roles}
    with pytest.raises(BadInput, match="stitch_threshold: expected more than 0"):
        segment_one(heads, Recipe(method, sources, CellposeParameters()))
    parameters = CellposeParameters(stitch_threshold=0.3, min_size=0)
    found = segment_one(heads, Recipe(method, sources, parameters))
    planes = [
        segment_flows(f, p[..., 0], parameters)
        for f, p in zip(heads["flows"], heads["probability"], strict=True)
    ]
    np.testing.assert_array_equal(found, stitch_planes(np.stack(planes), 0.3))
    assert 3 < found.max() < sum(plane.max() for plane in planes)
    # A head of three components is one of the volume itself.
    whole = {**heads, "flows": (5 * volume_flows(labels)).astype(np.float32)}
    recipe = Recipe(method, sources, parameters)
    assert recipe.maps(whole)["flows"].shape == (*labels.shape, 3)
    assert segment_one(whole, recipe).max() > 3


def test_three_orientations_are_of_one_volume():
    shape = (4, 5, 6)
    stacks = [np.ones((*turned, 3), np.float32) for turned in ((4, 5, 6), (5, 4, 6), (6, 4, 5))]
    flows, probability = combine_orientations(*stacks)
    assert flows.shape == (*shape, 3)
    assert (flows == 2).all()
    assert (probability == 3).all()
    with pytest.raises(BadInput, match=r"planes across Y: expected \(5, 4, 6, 3\)"):
        combine_orientations(stacks[0], stacks[2], stacks[1])


def test_maps_that_do_not_fit_are_refused_in_one_line():
    maps = {"flows": np.zeros((3, 4, 5, 4)), "probability": np.zeros((3, 4, 5))}
    with pytest.raises(BadInput, match=r"or \(Z, Y, X, 3\) and.*found \(3, 4, 5, 4\)"):
        find_method("cellpose").segment(Maps.of(**maps), CellposeParameters(), "canonical")
