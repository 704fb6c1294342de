"""Reduced resolutions hold the means that they say, whoever wrote what, in whatever order."""

import itertools
import uuid

import numpy as np
import pytest
import tensorstore as ts

from cellmill.arrays.mean_pyramid import MeanPyramid, resolutions, unit_of
from cellmill.arrays.store import Ledger, context
from cellmill.errors import BadInput

RANDOM = np.random.default_rng(0)


def means(values, origin, steps):
    """The next resolution, voxel by voxel, in whole numbers."""
    first = [o // s for o, s in zip(origin, steps, strict=True)]
    last = [-(-(o + n) // s) for o, n, s in zip(origin, values.shape, steps, strict=True)]
    made = np.zeros([b - a for a, b in zip(first, last, strict=True)], values.dtype)
    for place in np.ndindex(made.shape):
        window = tuple(
            slice(max((a + i) * s - o, 0), (a + i + 1) * s - o)
            for a, i, s, o in zip(first, place, steps, origin, strict=True)
        )
        covered = values[window]
        whole, rest = divmod(int(covered.sum()), covered.size)
        up = 2 * rest > covered.size or (2 * rest == covered.size and whole % 2)
        made[place] = whole + bool(up)
    return made


class Store:
    """A volume in memory, for writers of blocks."""

    def __init__(self, shape, origin, sizes, count, side):
        self.levels, self.side = resolutions(shape, origin, sizes, count), side
        place = f"memory://{uuid.uuid4()}"
        self.ledger = Ledger(f"{place}/marks", "work")
        self.arrays = [
            ts.open(
                {"driver": "zarr3", "kvstore": f"{place}/{number}/"},
                create=True,
                dtype="uint8",
                shape=level.shape,
                chunk_layout=ts.ChunkLayout(chunk_shape=[side] * 3),
                context=context(),
            )
            .result()
            .translate_to[level.origin]
            for number, level in enumerate(self.levels)
        ]
        cuts = [[slice(a, min(a + side, n)) for a in range(0, n, side)] for n in shape]
        self.blocks = [*itertools.product(*cuts)]

    def task(self):
        return MeanPyramid(self.arrays, self.levels, self.side, self.ledger)

    def write(self, values, block):
        self.arrays[0].translate_to[0, 0, 0][block].write(values[block]).result()
        self.ledger.mark(unit_of([part.start for part in block]))

    def check(self, values):
        for number, level in enumerate(self.levels):
            if number:
                before = self.levels[number - 1]
                steps = [a // b for a, b in zip(level.factors, before.factors, strict=True)]
                values = means(values, before.origin, steps)
            np.testing.assert_array_equal(self.arrays[number].read().result(), values)


@pytest.mark.parametrize(
    ("shape", "origin", "sizes", "side"),
    [
        ((17, 30, 41), (0, 0, 0), (1, 1, 1), 8),
        ((9, 14, 19), (3, 5, 7), (1, 1, 1), 4),
        ((9, 30, 41), (3, -5, 1), (30, 5, 4), 8),
        ((1, 23, 9), (5, 1, 0), (8, 8, 8), 20),
    ],
)
@pytest.mark.parametrize("seed", range(2))
def test_whoever_comes_last_makes_the_next_level(shape, origin, sizes, side, seed):
    """Tasks write blocks by turns; some are killed before they look, and are started again."""
    random = np.random.default_rng(seed)
    values = random.integers(0, 256, shape, np.uint8)
    store = Store(shape, origin, sizes, 4, side)
    shares = np.array_split(random.permutation(len(store.blocks)), 3)
    tasks = [store.task() for _ in shares]
    turns = random.permutation([n for n, share in enumerate(shares) for _ in share])
    left = [iter(share) for share in shares]
    for n in turns:
        block = store.blocks[next(left[n])]
        store.write(values, block)
        if random.random() < 0.3:
            # Killed; it begins anew with what it has written.
            done, tasks[n] = store.ledger.done(), store.task()
            for other in shares[n]:
                written = store.blocks[other]
                if unit_of([part.start for part in written]) in done:
                    tasks[n].settle(written)
        else:
            tasks[n].settle(block)
    store.check(values)


def test_levels_that_are_asked_for_later_are_made():
    values = RANDOM.integers(0, 256, (12, 20, 20), np.uint8)
    store = Store(values.shape, (0, 0, 0), (1, 1, 1), 3, 4)
    one = MeanPyramid(store.arrays[:1], store.levels[:1], 4, store.ledger)
    for block in store.blocks:
        store.write(values, block)
        one.settle(block)
    assert len(store.ledger.done()) == len(store.blocks)
    task = store.task()
    for block in store.blocks:
        task.settle(block)
    store.check(values)


@pytest.mark.parametrize(
    ("sizes", "factors"),
    [
        ((8, 8, 8), [(1, 1, 1), (2, 2, 2), (4, 4, 4), (8, 8, 8)]),
        ((30, 5, 4), [(1, 1, 1), (1, 2, 2), (1, 4, 4), (1, 8, 8)]),
        ((16, 8, 8), [(1, 1, 1), (1, 2, 2), (2, 4, 4), (4, 8, 8)]),
    ],
)
def test_axes_are_halved_that_bring_voxels_closest_to_cubes(sizes, factors):
    found = resolutions((500, 4096, 4000), (0, 0, 0), sizes)
    assert [level.factors for level in found] == factors
    assert max(found[-1].shape) == 512


def test_a_small_volume_has_one_level_and_more_are_made_if_asked_for():
    assert len(resolutions((20, 512, 512), (0, 0, 0), (1, 1, 1))) == 1
    assert [level.shape for level in resolutions((1, 4, 3), (0, 0, 0), (1, 1, 1), 3)] == [
        (1, 4, 3),
        (1, 2, 2),
        (1, 1, 1),
    ]


@pytest.mark.parametrize(
    ("levels", "line"),
    [
        (-1, "levels: expected 0 or more, found -1"),
        (4, "levels: expected at most 3, the last of which is one voxel, found 4"),
    ],
)
def test_what_cannot_be_made_is_one_line(levels, line):
    with pytest.raises(BadInput) as found:
        resolutions((1, 4, 3), (0, 0, 0), (1, 1, 1), levels)
    assert str(found.value) == line
