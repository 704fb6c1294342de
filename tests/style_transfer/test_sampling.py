"""Crops are drawn where they may lie, as often as they should, and the same for the same seed."""

import itertools
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellmill.errors import BadInput
from cellmill.style_transfer.sampling import Source, sample_volumes
from cellmill.style_transfer.volumes import open_volume
from tests.style_transfer.stored_volumes import some_values

VALUES = some_values((20, 30, 40))
VOLUME = open_volume(VALUES)
SHAPE = (4, 6, 5)


def window(corner, shape=SHAPE):
    return tuple(slice(c, c + n) for c, n in zip(corner, shape, strict=True))


def drawn(sources, count, **options):
    return list(sample_volumes(sources, SHAPE, count=count, **options))


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1 << 40),
    threads=st.integers(1, 5),
    ahead=st.integers(1, 9),
    start=st.integers(0, 20),
)
def test_a_crop_follows_from_seed_and_number_alone(seed, threads, ahead, start):
    whole = drawn([Source(VOLUME)], 26, seed=seed, threads=1, ahead=1)
    later = drawn([Source(VOLUME)], 6, seed=seed, start=start, threads=threads, ahead=ahead)
    for a, b in zip(whole[start : start + 6], later, strict=True):
        assert a.corner == b.corner
        np.testing.assert_array_equal(a.values, b.values)
        np.testing.assert_array_equal(a.values, VALUES[window(a.corner)])


def test_no_crop_leaves_its_boxes_and_every_corner_is_drawn():
    boxes = ((2, 3, 4, 7, 10, 9), (10, 0, 0, 14, 6, 5))
    corners = {crop.corner for crop in drawn([Source(VOLUME, boxes=boxes)], 300)}
    first = set(itertools.product((2, 3), (3, 4), (4,)))
    assert corners == first | {(10, 0, 0)}


@pytest.mark.parametrize("factors", [(1, 1, 1), (3, 4, 5)])
def test_no_crop_leaves_its_mask(factors):
    fine = np.zeros(VALUES.shape, bool)
    fine[6:15, 8:24, 10:30] = True
    coarse = fine[tuple(slice(f // 2, None, f) for f in factors)]
    coarse = np.pad(
        coarse,
        [(0, -(-n // f) - m) for n, m, f in zip(fine.shape, coarse.shape, factors, strict=True)],
    )
    seen = np.kron(coarse, np.ones(factors, bool))[:20, :30, :40]
    found = drawn([Source(VOLUME, mask=coarse, mask_factors=factors)], 60)
    assert all(seen[window(crop.corner)].all() for crop in found)
    partly = drawn([Source(VOLUME, mask=coarse, mask_factors=factors, least_inside=0.5)], 60)
    assert not all(seen[window(crop.corner)].all() for crop in partly)


def test_volumes_are_drawn_by_their_weights():
    other = open_volume(some_values((9, 9, 9), 1))
    found = drawn([Source(VOLUME, 3.0), Source(other, 1.0)], 800)
    share = np.mean([crop.source == 1 for crop in found])
    # Four standard deviations of 800 draws.
    assert abs(share - 0.25) < 4 * (0.25 * 0.75 / 800) ** 0.5
    assert all(
        (crop.values == (VOLUME, other)[crop.source][window(crop.corner)]).all() for crop in found
    )


class Failing:
    """A volume that fails the first times that each window is read."""

    def __init__(self, times):
        self.shape, self.dtype = VALUES.shape, VALUES.dtype
        self.times, self.asked, self.lock = times, {}, threading.Lock()

    def __getitem__(self, place):
        with self.lock:
            key = str(place)
            self.asked[key] = self.asked.get(key, 0) + 1
            if self.asked[key] <= self.times:
                raise BadInput("volume", expected="an answer", found="none")
        return VALUES[place]


def test_a_crop_that_fails_is_asked_for_again(monkeypatch):
    monkeypatch.setattr("cellmill.style_transfer.sampling._WAIT", 0.0)
    found = drawn([Source(open_volume(Failing(2)))], 10, retries=2)
    assert [crop.corner for crop in found] == [c.corner for c in drawn([Source(VOLUME)], 10)]
    with pytest.raises(BadInput, match="expected an answer"):
        drawn([Source(open_volume(Failing(3)))], 10, retries=2)


class Counting:
    """A volume that counts its reads."""

    def __init__(self):
        self.shape, self.dtype, self.reads, self.lock = (
            VALUES.shape,
            VALUES.dtype,
            0,
            threading.Lock(),
        )

    def __getitem__(self, place):
        with self.lock:
            self.reads += 1
        return VALUES[place]


def test_no_more_is_read_ahead_than_may_be():
    source = Counting()
    crops = sample_volumes([Source(open_volume(source))], SHAPE, ahead=5)
    for _ in range(3):
        next(crops)
    crops.close()
    assert source.reads <= 3 + 5


@pytest.mark.parametrize(
    ("about", "line"),
    [
        ({"boxes": ((0, 0, 0, 3, 30, 40),)}, "expected room for crops of (4, 6, 5)"),
        ({"boxes": ((0, 0, 0, 21, 30, 40),)}, "expected within (20, 30, 40)"),
        ({"mask": np.zeros((20, 30, 39))}, "expected shape (20, 30, 40)"),
        ({"mask": np.zeros((20, 30, 40))}, "mask of volume 'array': expected room for crops"),
        ({"weight": 0.0}, "weight: expected above 0"),
        ({"least_inside": 0.0}, "least_inside: expected 0 to 1"),
    ],
)
def test_where_nothing_can_be_drawn_is_said_in_one_line(about, line):
    with pytest.raises(BadInput) as found:
        drawn([Source(VOLUME, **about)], 1)
    assert line in str(found.value)


def test_of_no_volume_nothing_is_drawn():
    with pytest.raises(BadInput, match="volumes: expected at least one, found none"):
        drawn([], 1)
