"""Batches shrink when memory runs out and the results stay the same."""

import numpy as np
import pytest

from cellmill.errors import BadInput
from cellmill.inference.backoff import BackingOff


class Exhausted(Exception):
    """Stands for a device's memory error."""


def device(capacity, sizes):
    """A network that fits `capacity` tiles and keeps the sizes that it was called with."""

    def predict(tiles):
        sizes.append(len(tiles))
        if len(tiles) > capacity:
            raise Exhausted
        return [tiles * 2, tiles[..., :1] + 1]

    return predict


@pytest.mark.parametrize("count", [1, 3, 8, 13])
@pytest.mark.parametrize("capacity", [1, 2, 5, 100])
def test_results_are_those_of_enough_memory(count, capacity):
    tiles = np.random.default_rng(0).random((count, 4, 4, 2))
    run = BackingOff(device(capacity, []), 8, Exhausted)
    for ours, whole in zip(run(tiles), device(1000, [])(tiles), strict=True):
        assert np.array_equal(ours, whole)


def test_sizes_are_halved_and_kept():
    sizes: list[int] = []
    run = BackingOff(device(3, sizes), 16, Exhausted)
    tiles = np.zeros((16, 2, 2, 1))
    run(tiles)
    assert sizes == [16, 8, 4, 2, 2, 2, 2, 2, 2, 2, 2]
    assert (run.batch_size, run.retries) == (2, 3)
    sizes.clear()
    run(tiles[:5])
    assert sizes == [2, 2, 1]


def test_one_tile_that_does_not_fit_is_one_line():
    run = BackingOff(device(0, []), 4, Exhausted)
    with pytest.raises(BadInput, match=r"a tile of 6 × 7 px.*batch size 1"):
        run(np.zeros((3, 6, 7, 1)))


def test_other_errors_pass():
    def broken(tiles):
        raise KeyError("x")

    with pytest.raises(KeyError):
        BackingOff(broken, 4, Exhausted)(np.zeros((3, 6, 7, 1)))
