"""Synthetic tissue repeats by its seed, and its membranes part its cells."""

import numpy as np
import pytest

from cellmill.datasets.synthetic_em import LOOK_X, LOOK_Y, make_tissue, show
from cellmill.errors import BadInput

SHAPE = (20, 50, 60)
TISSUE = make_tissue(SHAPE, seed=3)


def test_a_seed_repeats():
    again = make_tissue(SHAPE, seed=3)
    for name in ("labels", "membranes", "organelles"):
        np.testing.assert_array_equal(getattr(again, name), getattr(TISSUE, name))
    np.testing.assert_array_equal(show(TISSUE, LOOK_X, seed=1), show(again, LOOK_X, seed=1))
    assert (show(TISSUE, LOOK_X, seed=1) != show(TISSUE, LOOK_X, seed=2)).any()
    assert (make_tissue(SHAPE, seed=4).labels != TISSUE.labels).any()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_where_cells_meet_there_is_a_membrane(axis):
    labels = np.moveaxis(TISSUE.labels, axis, 0)
    membranes = np.moveaxis(TISSUE.membranes, axis, 0)
    meet = labels[1:] != labels[:-1]
    # Bent space lets a wall slip between two voxels here and there.
    assert (membranes[1:] | membranes[:-1])[meet].mean() > 0.99
    assert 0.1 < membranes.mean() < 0.5


def test_membranes_are_dark_in_both_looks_and_the_looks_differ():
    x, y = show(TISSUE, LOOK_X), show(TISSUE, LOOK_Y)
    for shown in (x, y):
        assert shown.dtype == np.uint8
        assert shown[TISSUE.membranes].mean() < shown[~TISSUE.membranes].mean() - 25
    assert y.mean() > x.mean() + 20


def test_impossible_sizes_are_refused():
    with pytest.raises(BadInput, match="shape: expected"):
        make_tissue((20, 50))
    with pytest.raises(BadInput, match="cell: expected more than two membranes wide"):
        make_tissue(SHAPE, cell=4.0)
