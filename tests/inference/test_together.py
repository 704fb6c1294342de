"""Tiles of several threads go to the network together, and each thread gets its own back."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cellmill.errors import BadInput
from cellmill.inference.together import Together


class Slow:
    """A network that doubles; its first call waits until it is told to go on."""

    def __init__(self):
        self.go, self.busy, self.batches = threading.Event(), threading.Event(), []

    def __call__(self, tiles):
        self.busy.set()
        self.go.wait()
        self.batches.append(len(tiles))
        if (tiles < 0).any():
            raise BadInput("tile", expected="0 or more", found="less")
        return [tiles * 2]


def tiles(count, value):
    return np.full((count, 4, 4, 1), value, np.float32)


@pytest.fixture
def slow():
    return Slow()


def ask_at_once(slow, together, asked):
    """Ask for the first; when the network has it, for the others."""
    with ThreadPoolExecutor(len(asked)) as pool:
        futures = [pool.submit(together, asked[0])]
        slow.busy.wait()
        futures += [pool.submit(together, each) for each in asked[1:]]
        while len(together._waiting) < len(asked) - 1:
            pass
        slow.go.set()
        return [future.exception() or future.result() for future in futures]


def test_what_waits_goes_together_up_to_a_batch(slow):
    seen = []
    together = Together(slow, 4, seen.append)
    found = ask_at_once(slow, together, [tiles(1, n) for n in range(8)])
    assert all((heads[0] == 2 * n).all() for n, heads in enumerate(found))
    assert slow.batches == seen == [1, 4, 3]


def test_a_call_of_more_than_a_batch_goes_alone(slow):
    together = Together(slow, 4)
    found = ask_at_once(slow, together, [tiles(1, 1), tiles(9, 2), tiles(9, 3)])
    assert [len(heads[0]) for heads in found] == [1, 9, 9]
    assert slow.batches == [1, 9, 9]


def test_tiles_of_another_shape_go_by_themselves(slow):
    asked = [tiles(1, 1), tiles(1, 2), tiles(1, 3)[:, :2], tiles(1, 4), tiles(1, 5)]
    found = ask_at_once(slow, Together(slow, 8), asked)
    assert all(np.array_equal(heads[0], 2 * a) for heads, a in zip(found, asked, strict=True))
    assert len(slow.batches) >= 3


def test_a_fault_is_of_those_tiles_alone_that_cause_it(slow):
    found = ask_at_once(slow, Together(slow, 8), [tiles(1, n) for n in (1, 2, -1, 3)])
    assert isinstance(found[2], BadInput)
    assert [found[n][0][0, 0, 0, 0] for n in (0, 1, 3)] == [2, 4, 6]
