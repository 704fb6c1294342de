"""Growth gives each pixel the label that arrives first, as a slow search over the mask has it."""

import heapq

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as arrays

from cellmill.morphology.growth import alternating_metric, grow_labels, path_metric

SHAPES = st.one_of(
    arrays.array_shapes(min_dims=2, max_dims=2, max_side=9),
    arrays.array_shapes(min_dims=3, max_dims=3, max_side=5),
)
MASKS = arrays.arrays(bool, SHAPES, elements=st.sampled_from([True, True, False]))


def seeds_in(mask, seed):
    rng = np.random.default_rng(seed)
    places = np.flatnonzero(mask)
    chosen = rng.permutation(places)[: len(places) // 5]
    seeds = np.zeros(mask.shape, np.int32)
    seeds.reshape(-1)[chosen] = np.arange(1, len(chosen) + 1)
    return seeds


def by_heap(mask, seeds, metric):
    """Dijkstra: the least (length, label) of all paths."""
    labels = np.zeros_like(seeds)
    todo = [(0, int(seeds[tuple(p)]), *map(int, p)) for p in np.argwhere(seeds)]
    heapq.heapify(todo)
    while todo:
        length, label, *place = heapq.heappop(todo)
        if labels[tuple(place)]:
            continue
        labels[tuple(place)] = label
        for offset, cost in zip(metric.offsets, metric.costs, strict=True):
            there = tuple(int(p + o) for p, o in zip(place, offset, strict=True))
            inside = all(0 <= p < side for p, side in zip(there, mask.shape, strict=True))
            if inside and mask[there] and not labels[there]:
                heapq.heappush(todo, (length + int(cost), label, *there))
    return labels


def by_steps(mask, seeds):
    """Box steps and face steps in turn, until one changes nothing."""
    labels, turn = seeds.copy(), 0
    while True:
        before, padded = labels.copy(), np.pad(labels, 1)
        for offset in np.argwhere(np.ones((3,) * mask.ndim)) - 1:
            if turn % 2 and np.abs(offset).sum() > 1:
                continue
            window = tuple(slice(1 + o, 1 + o + n) for o, n in zip(offset, mask.shape, strict=True))
            wanted = mask & (before == 0)
            labels[wanted] = np.maximum(labels, padded[window])[wanted]
        turn += 1
        if np.array_equal(labels, before):
            return labels


@given(MASKS, st.integers(0, 5))
def test_paths_through_the_mask_are_the_shortest(mask, seed):
    seeds = seeds_in(mask, seed)
    for spacing in ((1.0,) * mask.ndim, (2.5, 1.0, 1.3)[: mask.ndim]):
        metric = path_metric(spacing)
        np.testing.assert_array_equal(
            grow_labels(mask, seeds, metric), by_heap(mask, seeds, metric)
        )


@given(MASKS, st.integers(0, 5))
def test_alternating_steps_are_taken_in_turn_and_end_when_one_changes_nothing(mask, seed):
    seeds = seeds_in(mask, seed)
    found = grow_labels(mask, seeds, alternating_metric(mask.ndim))
    np.testing.assert_array_equal(found, by_steps(mask, seeds))


@pytest.mark.parametrize("spacing", [(1, 1), (3, 1), (0.2, 0.5)])
def test_on_an_open_field_the_border_lies_midway(spacing):
    seeds = np.zeros((41, 61), np.int32)
    seeds[20, 10], seeds[20, 50] = 1, 2
    found = grow_labels(np.ones(seeds.shape, bool), seeds, path_metric(spacing))
    assert (found[:, :30] == 1).all()
    assert (found[:, 31:] == 2).all()
