"""Cellpose's masks of volumes block by block: those in memory, whatever the blocks and kills."""

import dataclasses

import numpy as np
import pytest

from cellmill.arrays.windows import Grid
from cellmill.arrays.workspace import MemoryMarks, MemoryWorkspace
from cellmill.errors import BadInput
from cellmill.labels.numbering import canonical_labels
from cellmill.segmentation.cellpose import CellposeParameters, segment_flows
from cellmill.segmentation.cellpose.volume_walks import (
    follow_block,
    follow_volume,
    volume_field_of,
)
from cellmill.segmentation.interface import Maps
from cellmill.segmentation.methods import Recipe, Source, find_method, run_tiled
from tests.segmentation.cellpose.test_volumes import wild_maps
from tests.segmentation.examples import volume_flows
from tests.segmentation.maps import balls

CELLPOSE = find_method("cellpose")


def recipe(parameters):
    return Recipe(CELLPOSE, {role.name: Source(role.name) for role in CELLPOSE.roles}, parameters)


def perfect(labels, seed=0):
    """Flows of some objects, little noise, and a logit that leaves holes in them."""
    rng = np.random.default_rng(seed)
    flows = 5 * volume_flows(labels) + rng.normal(0, 0.5, (*labels.shape, 3))
    unsure = rng.random(labels.shape) < 0.02
    probability = np.where((labels > 0) & ~unsure, 5, -5)
    return {"flows": flows.astype(np.float32), "probability": probability.astype(np.float32)}


def by_blocks(maps, parameters, side, workspace=None):
    workspace = workspace or MemoryWorkspace()
    work, counts = run_tiled(recipe(parameters), Maps.of(**maps), side, workspace, 2)
    return canonical_labels(np.asarray(work.labels(1)[:, :, :])), counts


@pytest.mark.parametrize("rule", ["right", "reference"])
@pytest.mark.parametrize("side", [5, 12])
def test_walks_that_leave_their_windows_go_on_to_the_same_ends(monkeypatch, rule, side):
    monkeypatch.setattr("cellmill.segmentation.cellpose.volume_walks.HALO", 2)
    shape = (10, 21, 23)
    flows, probability = wild_maps(4, shape)
    grid, windows = Grid(shape, side), []

    def field_at(window):
        windows.append(window)
        here = window.slices
        return volume_field_of(flows[here], probability[here], 0, window, shape, rule)

    expected, more = follow_volume(flows, probability, 0, 200, rule), 0
    for tile in range(len(grid)):
        box = grid.box(tile)
        ends, again = follow_block(box, grid, field_at, 200)
        np.testing.assert_array_equal(ends, expected[box.slices])
        more += again
    assert more > 2 * len(grid)
    assert max(np.prod(window.shape) for window in windows) <= (side + 4) ** 3


@pytest.mark.parametrize("rule", ["right", "reference", "cellpose4"])
def test_dense_balls_by_blocks_smaller_and_larger_than_they_are(rule):
    labels = balls(3, (20, 30, 29), 40, 8)
    maps = perfect(labels)
    # Something is too large, something too small, and much has holes.
    parameters = CellposeParameters(rule=rule, min_size=60, max_size_fraction=0.04)
    expected = segment_flows(maps["flows"], maps["probability"], parameters)
    every = dataclasses.replace(parameters, max_size_fraction=1.0, min_size=0)
    assert 5 < expected.max() < segment_flows(maps["flows"], maps["probability"], every).max()
    assert ((expected > 0) & (maps["probability"] < 0)).any()
    for side in (7, 16, 30):
        found, counts = by_blocks(maps, parameters, side)
        np.testing.assert_array_equal(found, expected)
        assert counts["tiles"] == len(Grid(labels.shape, side))


def test_one_object_in_eight_blocks_and_blocks_that_are_empty():
    labels = np.zeros((40, 40, 60), np.int32)
    apart = np.indices(labels.shape) - np.reshape((20, 20, 20), (3, 1, 1, 1))
    labels[(apart**2).sum(axis=0) < 9**2] = 1
    maps = perfect(labels)
    parameters = CellposeParameters()
    expected = segment_flows(maps["flows"], maps["probability"], parameters)
    assert expected.max() == 1
    found, counts = by_blocks(maps, parameters, 20)
    np.testing.assert_array_equal(found, expected)
    assert (counts["tiles"], counts["objects"]) == (12, 1)
    nothing = {name: np.zeros_like(array) for name, array in maps.items()}
    assert not by_blocks(nothing, parameters, 20)[0].any()


class Killed(Exception):
    """The process is gone."""


class MortalMarks(MemoryMarks):
    """Marks of a process that is killed once it has set so many."""

    left = 0

    def mark(self, part, payload=b""):
        if not self.left:
            raise Killed
        self.left -= 1
        super().mark(part, payload)


@pytest.mark.parametrize("lives", [1, 7])
def test_killed_wherever_it_is_and_gone_on_with(lives):
    maps = perfect(balls(5, (20, 26, 24), 20, 7))
    parameters = CellposeParameters(min_size=30)
    expected = segment_flows(maps["flows"], maps["probability"], parameters)
    workspace, deaths = MemoryWorkspace(), 0
    workspace.marks = MortalMarks()
    while True:
        workspace.marks.left = lives
        try:
            found, _ = by_blocks(maps, parameters, 13, workspace)
            break
        except Killed:
            deaths += 1
    # Eight blocks: their walks, seeds and objects, and what is decided of all.
    assert deaths == (8 * 3 + 1 - 1) // lives
    np.testing.assert_array_equal(found, expected)


def test_planes_that_are_joined_are_not_taken_by_blocks():
    maps = {"flows": np.zeros((4, 9, 9, 2)), "probability": np.zeros((4, 9, 9))}
    with pytest.raises(
        BadInput, match=r"flows map, block by block: expected .* found 2 components"
    ):
        by_blocks(maps, CellposeParameters(stitch_threshold=0.3), 5)
