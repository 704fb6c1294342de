"""StarDist's polyhedra block by block: what is left open, what is merged, labels as in memory."""

import contextlib
import random
import tracemalloc

import numpy as np
import pytest

from cellmill.arrays.windows import Grid
from cellmill.arrays.workspace import MemoryWorkspace, StoredWorkspace
from cellmill.labels.numbering import dense_labels
from cellmill.segmentation.interface import Maps
from cellmill.segmentation.labelling import (
    fits_memory,
    label_in_memory,
    label_in_tiles,
    write_in_tiles,
)
from cellmill.segmentation.methods import Recipe, Source
from cellmill.segmentation.stardist import volume_overview
from cellmill.segmentation.stardist.method import METHOD
from cellmill.segmentation.stardist.parameters import StarDistParameters
from cellmill.segmentation.stardist.polyhedra import polyhedra_of
from cellmill.segmentation.stardist.rays import golden_spiral
from cellmill.segmentation.stardist.suppression import DROPPED, KEPT, OPEN
from cellmill.segmentation.stardist.volume_candidates import find_volume_candidates
from cellmill.segmentation.stardist.volume_overview import measure, overview_of
from cellmill.segmentation.stardist.volume_suppression import suppress_volumes
from cellmill.segmentation.stardist.volumes import segment_volume
from tests.segmentation.maps import balls, edge_distance, quantised, ray_distances

PARAMETERS = StarDistParameters(prob_threshold=0.6, nms_threshold=0.3)


def dense(seed, shape, stride=(1, 2, 2), rays=24, radius=6):
    """Maps of balls that touch and overlap, with few values of probability."""
    labels = balls(seed, shape, int(np.prod(shape)) // (4 * radius**3), radius)
    window = tuple(slice(None, None, step) for step in stride)
    rng = np.random.default_rng(seed)
    near = quantised(edge_distance(labels), 12)[window]
    distances = ray_distances(labels, rays)[window]
    distances *= rng.uniform(0.9, 1.1, distances.shape).astype(np.float32)
    arrays = {"probability": near, "distances": distances}
    return Maps(arrays, {r: r for r in arrays}, shape, strides=dict.fromkeys(arrays, stride))


def in_blocks(maps, parameters, grid, order=None):
    """The settled segmentation, and its counts."""
    work = METHOD.tiled.open(maps, parameters, grid, MemoryWorkspace())
    work.prepare(1)
    work.work(range(len(grid)) if order is None else order, 2)
    return work, work.settle(1)


def assert_as_in_memory(maps, parameters, grid, order=None):
    """The same objects, numbered by rank as the reference numbers them."""
    work, counts = in_blocks(maps, parameters, grid, order)
    labels = work.labels(1)[:, :, :]
    expected = segment_volume(maps, parameters, "reference")
    np.testing.assert_array_equal(dense_labels(labels.astype(np.int32)), expected)
    return counts


@pytest.mark.parametrize(("seed", "share"), [(0, 0.1), (1, 0.6), (2, 1.0)])
def test_what_is_decided_without_knowing_all_is_what_knowing_all_decides(seed, share):
    rng = np.random.default_rng(seed)
    points, lengths = rng.integers(0, 30, (150, 3)), rng.uniform(4, 7, (150, 16))
    polyhedra = polyhedra_of(points, lengths, golden_spiral(16))
    expected = suppress_volumes(polyhedra, 0.3)
    assert set(expected) == {KEPT, DROPPED}
    exposed = rng.random(150) < share
    found = suppress_volumes(polyhedra, 0.3, exposed=exposed)
    assert (found[exposed] != KEPT).all()
    assert (found == OPEN).any()
    np.testing.assert_array_equal(found[found != OPEN], expected[found != OPEN])
    np.testing.assert_array_equal(suppress_volumes(polyhedra, 0.3, fates=found), expected)
    others = np.arange(150) % 2 == 0
    half = suppress_volumes(polyhedra, 0.3, fates=found, decided=others)
    np.testing.assert_array_equal(half[others], found[others])
    np.testing.assert_array_equal(half[half != OPEN], expected[half != OPEN])


@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_mean_sides_are_summed_by_rank_whatever_the_blocks(monkeypatch, at_once):
    maps = dense(5, (20, 44, 46))
    every = find_volume_candidates(maps, PARAMETERS)
    assert len(np.unique(every.score)) < 9 < 200 < len(every)
    rays = golden_spiral(24)
    expected = polyhedra_of(every.points, every.rays, rays).anisotropy
    monkeypatch.setattr(volume_overview, "_AT_ONCE", at_once)
    monkeypatch.setattr(volume_overview, "_EVERY", max(at_once // 3, 1))
    for side in (9, 32):
        grid = Grid(maps.shape, side)
        boxes = [grid.box(block) for block in range(len(grid))]
        parts = [measure(maps, PARAMETERS, rays, grid, box) for box in boxes]
        found = overview_of(parts.__getitem__, len(parts), len(grid)).anisotropy
        assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("grid", "anisotropy"),
    [
        (Grid((24, 50, 53), 9), (1.0, 1.0, 1.0)),  # objects in more than eight blocks
        (Grid((24, 50, 53), 25, 12), (2.0, 1.0, 1.0)),  # corners of eight blocks within objects
        (Grid((24, 50, 53), 17), (1.0, 1.0, 1.0)),
    ],
)
def test_labels_are_those_in_memory(grid, anisotropy):
    maps = dense(3, grid.shape)
    parameters = StarDistParameters(0.6, 0.3, 1, *anisotropy)
    counts = assert_as_in_memory(maps, parameters, grid)
    assert counts["objects_kept"] > 30
    order = [*range(len(grid))]
    random.Random(1).shuffle(order)
    assert_as_in_memory(maps, parameters, grid, order)


def test_one_polyhedron_that_reaches_far_counts_wherever_it_reaches():
    maps = dense(7, (16, 40, 100), stride=(1, 1, 1), rays=16, radius=5)
    probability, distances = maps["probability"], maps["distances"]
    probability[:, :, 40:70] = 0  # empty blocks
    probability[8, 20, 20] = 2
    distances[8, 20, 20] = 70
    counts = assert_as_in_memory(maps, PARAMETERS, Grid(maps.shape, 16))
    assert counts["rounds"] > 0


def test_a_volume_without_candidates_has_no_objects():
    maps = dense(1, (9, 20, 20))
    maps["probability"][:] = 0
    work, counts = in_blocks(maps, PARAMETERS, Grid(maps.shape, 8))
    assert counts["objects_kept"] == 0
    assert not work.labels(1)[:, :, :].any()


def test_preparing_goes_on_where_it_was_killed(monkeypatch):
    maps, grid, workspace = dense(2, (20, 30, 30)), Grid((20, 30, 30), 12), MemoryWorkspace()
    calls = []

    def killed(*given):
        calls.append(given)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return measure(*given)

    monkeypatch.setattr(volume_overview, "_READ_SIDE", 1)
    monkeypatch.setattr("cellmill.segmentation.stardist.tiled_volumes.measure", killed)
    work = METHOD.tiled.open(maps, PARAMETERS, grid, workspace)
    with pytest.raises(KeyboardInterrupt):
        work.prepare(1)
    METHOD.tiled.open(maps, PARAMETERS, grid, workspace).prepare(1)
    assert len(calls) == len(grid) + 1
    assert workspace.marks.done() == {"overview"}


class Repeated:
    """A map that repeats a block along X; nothing of it is held."""

    dtype = np.dtype(np.float32)

    def __init__(self, block, width):
        self._block, self.shape = block, (*block.shape[:2], width, *block.shape[3:])

    def __getitem__(self, window):
        z, y, x = (*window, *(slice(None),) * (3 - len(window)))
        columns = np.arange(self.shape[2])[x] % self._block.shape[2]
        return self._block[(z, y)].take(columns, axis=1 if isinstance(z, int) else 2)


def test_memory_does_not_grow_with_the_volume(tmp_path, monkeypatch):
    monkeypatch.setattr(volume_overview, "_READ_SIDE", 40)
    maps = dense(6, (16, 40, 40), stride=(1, 1, 1), rays=16)
    parameters = StarDistParameters(prob_threshold=0.8, nms_threshold=0.3)

    def most(width):
        repeated = {role: Repeated(maps[role], width) for role in ("probability", "distances")}
        wide = Maps(repeated, {r: r for r in repeated}, (16, 40, width))
        grid = Grid(wide.shape, 40)
        workspace = StoredWorkspace(str(tmp_path / f"{width}"), "", side=64)
        tracemalloc.start()
        try:
            work = METHOD.tiled.open(wide, parameters, grid, workspace)
            work.prepare(1)
            work.work(range(len(grid)), 1)
            work.settle(1)
            assert work.labels(1)[8, :, -40:].max() > 0
            return tracemalloc.get_traced_memory()[1], METHOD.tiled.bytes_of(grid, wide)
        finally:
            tracemalloc.stop()

    most(40)  # compiled before memory is counted
    (small, _), (large, allowed) = most(120), most(240)
    assert large < 1.1 * small
    assert large < allowed


def test_a_small_budget_gives_what_a_large_one_gives():
    shape = (20, 70, 90)
    maps = dense(8, shape)
    heads = {role: maps[role] for role in ("probability", "distances")}
    heads["probability"] = heads["probability"][..., np.newaxis]
    sources = {role: Source(role, 0, 2, 1) for role in heads}
    recipes = {"nuclear": Recipe(METHOD, sources, PARAMETERS)}
    assert not fits_memory(recipes, shape, 1)
    expected, facts = label_in_memory(heads, recipes, shape)
    segmented, _, side = label_in_tiles(
        heads, recipes, lambda name, side: MemoryWorkspace(), memory_mib=1, model_shape=shape
    )
    made = {"nuclear": np.zeros(shape, np.int32)}
    found = write_in_tiles(
        segmented,
        shape,
        lambda layouts, said: contextlib.nullcontext(made),
        side=side,
        memory_mib=1,
        axes=3,
    )
    assert found == facts
    assert facts["nuclear"].objects > 30
    np.testing.assert_array_equal(made["nuclear"], expected["nuclear"])
