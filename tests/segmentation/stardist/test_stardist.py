"""StarDist's post-processing: polygons, suppression and drawing against plain words of each."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.draw import polygon

from cellmill.arrays.windows import Box, Grid
from cellmill.arrays.workspace import MemoryWorkspace
from cellmill.errors import BadInput
from cellmill.labels.numbering import canonical_labels
from cellmill.labels.tiles import find_objects, number_objects
from cellmill.segmentation.interface import Maps
from cellmill.segmentation.stardist.candidates import Candidates, find_candidates, rank
from cellmill.segmentation.stardist.drawing import corners, draw
from cellmill.segmentation.stardist.in_memory import segment_maps
from cellmill.segmentation.stardist.parameters import StarDistParameters
from cellmill.segmentation.stardist.polygons import overlaps, polygons_of
from cellmill.segmentation.stardist.suppression import KEPT, OPEN, suppress
from cellmill.segmentation.stardist.tiled import TiledStarDist
from tests.segmentation.examples import EXAMPLES


def candidates_of(y, x, score, rays):
    y, x, score = np.asarray(y, np.int64), np.asarray(x, np.int64), np.asarray(score, np.float32)
    order = rank((y, x), score)
    return Candidates(y[order], x[order], score[order], np.asarray(rays, np.float32)[order])


def scattered(seed, count, side, rays=12, radius=8):
    """Polygons here and there, many of which overlap, some of one score."""
    rng = np.random.default_rng(seed)
    places = rng.choice(side * side, count, replace=False)
    lengths = radius * rng.uniform(0.4, 1.6, (count, 1)) * rng.uniform(0.8, 1.2, (count, rays))
    return candidates_of(*np.divmod(places, side), rng.integers(1, 30, count) / 30, lengths)


def clipped(points, start, end):
    """What lies to the left of a line, by Sutherland and Hodgman."""
    found = []
    sides = [np.cross(end - start, point - start) for point in points]
    for k, here in enumerate(points):
        before, side, last = points[k - 1], sides[k], sides[k - 1]
        if (side > 0) != (last > 0):
            found.append(before + (here - before) * last / (last - side))
        if side > 0:
            found.append(here)
    return found


def shared_area(points, convex):
    """The area that any polygon shares with a convex one, whose corners go around to the left."""
    points, convex = [*points.astype(float)], convex.astype(float)
    for k in range(len(convex)):
        points = clipped(points, convex[k - 1], convex[k])
    xy = np.array(points).reshape(-1, 2)
    return abs(np.cross(xy, np.roll(xy, -1, axis=0)).sum()) / 2 if len(xy) else 0.0


@pytest.mark.filterwarnings("ignore:Arrays of 2-dim")
@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), shift=st.integers(0, 14))
def test_polygons_overlap_if_the_area_that_they_share_says_so(seed, shift):
    rng = np.random.default_rng(seed)
    # One like a star, the other convex: a circle's corners, whatever whole pixels do to them.
    rays = np.stack([rng.uniform(2, 14, 16), np.full(16, rng.uniform(4, 12))])
    pair = Candidates(
        np.array([40, 40 + int(rng.integers(-shift, shift + 1))]),
        np.array([40, 40 + shift]),
        np.ones(2, np.float32),
        rays.astype(np.float32),
    )
    shapes = polygons_of(pair)
    star, circle = (np.stack([shapes.x[i], shapes.y[i]], axis=1) for i in (0, 1))
    steps = np.diff(circle, axis=0, append=circle[:1])
    if (np.cross(steps, np.roll(steps, -1, axis=0)) < 0).any():
        return  # whole pixels made a dent in the circle
    part = shared_area(star, circle) / (shapes.areas.min() / 2)
    arrays = (*vars(shapes).values(), pair.y, pair.x)
    edges = np.empty((2, 16, 5))
    for threshold in (0.0, part - 1e-3, part + 1e-3, 0.4, 0.99):
        if abs(threshold - part) > 1e-6 and threshold >= 0:
            said = overlaps(0, 1, arrays, np.float32(threshold), edges)
            assert said == overlaps(1, 0, arrays, np.float32(threshold), edges)
            assert said == (part > threshold), (part, threshold)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_kept_is_what_going_through_all_pairs_keeps(seed):
    every = scattered(seed, 300, 120, radius=(4, 8, 16, 30)[seed])
    shapes = polygons_of(every)
    arrays, edges = (*vars(shapes).values(), every.y, every.x), np.empty((2, 12, 5))
    kept = []
    for j in range(len(every)):
        if not any(overlaps(i, j, arrays, np.float32(0.3), edges) for i in kept):
            kept.append(j)
    fates = suppress(every, 0.3)
    np.testing.assert_array_equal(np.flatnonzero(fates == KEPT), kept)
    assert 5 < len(kept) < 290
    assert not (fates == OPEN).any()


def test_polygons_that_only_touch_share_nothing():
    rays = np.full((2, 16), 8, np.float32)
    for down, right, kept in ((16, 0, 2), (0, 16, 2), (14, 0, 1), (0, 14, 1)):
        pair = candidates_of([30, 30 + down], [40, 40 + right], [0.9, 0.8], rays)
        assert (suppress(pair, 0.0) == KEPT).sum() == kept


def test_what_may_depend_on_the_unknown_stays_open_and_all_else_is_right():
    every = scattered(5, 400, 140)
    whole = suppress(every, 0.3)
    exposed = (every.x < 30) | (every.y > 110)
    fates = suppress(every, 0.3, exposed=exposed)
    sure = fates != OPEN
    np.testing.assert_array_equal(fates[sure], whole[sure])
    assert not (exposed & (fates == KEPT)).any()
    assert 20 < sure.sum() < 390
    np.testing.assert_array_equal(suppress(every, 0.3, fates=fates), whole)


@pytest.mark.parametrize("seed", range(3))
def test_a_polygon_is_drawn_as_scikit_image_draws_it(seed):
    every = scattered(seed, 200, 90, rays=(5, 32, 8)[seed])
    if seed == 2:  # corners in the middle of pixels, edges through the middles of others
        every = Candidates(every.y, every.x, every.score, np.round(every.rays))
    ys, xs = corners(every)
    for i in range(len(every)):
        expected = np.zeros((90, 90), np.int32)
        expected[polygon(ys[i], xs[i], expected.shape)] = 1
        for box in (Box(0, 90, 0, 90), Box(13, 71, 30, 66)):
            found = np.zeros(box.shape, np.int32)
            draw(every[np.array([i])], np.array([1]), found, box)
            np.testing.assert_array_equal(found, expected[box.slices])


def test_the_likeliest_lies_on_top_and_the_border_has_no_candidates():
    probability = np.zeros((20, 30), np.float32)
    probability[10, 12], probability[10, 15], probability[1, 5] = 0.8, 0.9, 1.0
    distances = np.full((20, 30, 32), 3, np.float32)
    maps = Maps.of(probability=probability, distances=distances)
    labels = segment_maps(maps, StarDistParameters(nms_threshold=0.9), "reference")
    assert labels.max() == 2
    assert labels[10, 13] == 1
    assert labels[10, 10] == 2
    assert not labels[:6].any()
    assert segment_maps(maps, StarDistParameters(border=1)).max() == 2
    # Strictly above, in single precision.
    likely = StarDistParameters(prob_threshold=float(np.float32(0.9)), border=0)
    assert segment_maps(maps, likely).max() == 1


def test_maps_that_do_not_fit_are_refused_in_one_line():
    plane = np.zeros((8, 9), np.float32)
    maps = Maps.of(probability=plane, distances=np.zeros((8, 9, 2), np.float32))
    with pytest.raises(BadInput, match="distances map: expected at least 3 channels, one a ray"):
        segment_maps(maps, StarDistParameters())
    arrays = {"probability": plane, "distances": np.zeros((4, 5, 8), np.float32)}
    maps = Maps(arrays, {role: role for role in arrays}, (8, 9), strides={"distances": 2})
    with pytest.raises(BadInput, match="probability and distances: expected one stride, found 1"):
        segment_maps(maps, StarDistParameters())


def tiled_labels(maps, parameters, side):
    grid = Grid(maps.shape, side)
    work = TiledStarDist(maps, parameters, grid, MemoryWorkspace())
    work.work(range(len(grid)), 2)
    counts = work.settle(2)
    labels, out = work.labels(2), np.zeros(maps.shape, np.int32)
    number_objects(labels, find_objects(labels, grid), out, grid)
    return out, counts


@pytest.mark.parametrize("long", [90, 250])
def test_a_polygon_that_reaches_farther_than_its_neighbours_think_is_reckoned_with(long):
    maps = EXAMPLES["stardist"].maps(3, (200, 280))
    distances = maps["distances"].copy()
    probability = np.where(maps["probability"] > 0, maps["probability"], 0)
    distances[20, 260] = long
    probability[20, 260] = 2
    parameters = StarDistParameters(prob_threshold=0.4)
    given_maps = Maps.of(probability=probability.astype(np.float32), distances=distances)
    expected = segment_maps(given_maps, parameters)
    alone = segment_maps(Maps.of(**maps), parameters)
    assert expected.max() < alone.max() - 5
    found, counts = tiled_labels(given_maps, parameters, 50)
    np.testing.assert_array_equal(found, expected)
    assert counts["tiles_again"] > 0


def test_open_candidates_are_settled_by_what_other_tiles_found():
    # A row of polygons in which each overlaps the next, the last the likeliest: every second stays.
    shape = (40, 400)
    probability = np.zeros(shape, np.float32)
    probability[20, 8:392:8] = np.linspace(0.6, 0.99, 48)
    maps = Maps.of(probability=probability, distances=np.full((*shape, 16), 7, np.float32))
    parameters = StarDistParameters(nms_threshold=0.2)
    expected = segment_maps(maps, parameters)
    assert expected.max() == 24
    found, counts = tiled_labels(maps, parameters, 20)
    np.testing.assert_array_equal(found, expected)
    assert counts["decided_at_seams"] > 0
    assert counts["rounds"] > 1


def test_the_reference_s_numbers_fall_with_probability():
    maps = Maps.of(**EXAMPLES["stardist"].maps(4, (90, 100)))
    parameters = EXAMPLES["stardist"].parameters[0]
    every = find_candidates(maps, parameters, [Box(0, 90, 0, 100)])
    objects = every[suppress(every, parameters.nms_threshold) == KEPT]
    labels = segment_maps(maps, parameters, "reference")
    numbers = labels[objects.y, objects.x]
    seen = numbers[numbers > 0]
    assert len(seen) > 20
    assert (np.diff(seen) >= 0).mean() > 0.9  # an object's centre may be under another
    np.testing.assert_array_equal(canonical_labels(labels), segment_maps(maps, parameters))


class Repeated:
    """A block repeated over a large image, read by windows."""

    def __init__(self, block, shape):
        self._block, self.dtype = block, block.dtype
        self.shape = (*shape, *block.shape[2:])

    def __getitem__(self, window):
        rows, columns = (
            np.arange(*part.indices(side)) % block
            for part, side, block in zip(window[:2], self.shape, self._block.shape, strict=False)
        )
        return self._block[np.ix_(rows, columns)]


def test_many_objects_are_segmented_tile_by_tile_in_little_memory():
    block = EXAMPLES["stardist"].maps(5, (140, 140))
    shape = (5600, 5600)
    arrays = {role: Repeated(array, (2800, 2800)) for role, array in block.items()}
    maps = Maps(arrays, {role: role for role in arrays}, shape, strides=dict.fromkeys(arrays, 2))
    parameters = StarDistParameters(prob_threshold=0.6, nms_threshold=0.3)
    tiled_labels(Maps.of(**block), parameters, 70)  # compiled before memory is counted
    grid = Grid(shape, 1024)
    work = TiledStarDist(maps, parameters, grid, MemoryWorkspace())
    tracemalloc.start()
    try:
        work.work(range(len(grid)), 2)
        counts = work.settle(2)
        most = tracemalloc.get_traced_memory()[1]
        drawn = work.labels()[3000:3200, 3000:3400]
    finally:
        tracemalloc.stop()
    assert counts["objects_kept"] > 20_000
    assert len(np.unique(drawn)) > 20
    # Of its maps 1.1 GB; of all candidates together far more than of a few tiles.
    assert most < 200 << 20
