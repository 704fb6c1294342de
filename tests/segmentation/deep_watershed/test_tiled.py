"""Tiles of any size, in any order, killed or shared out, give the labels of the whole image."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellmill.arrays.windows import BOTTOM, LEFT, RIGHT, TOP, Box, Grid
from cellmill.arrays.workspace import MemoryMarks
from cellmill.errors import BadInput
from cellmill.labels.cleaned import Cleaned, fill_holes_in
from cellmill.labels.holes import fill_holes
from cellmill.labels.numbering import canonical_labels
from cellmill.labels.tiles import Objects, find_objects, number_objects, object_table
from cellmill.morphology.seams import Face, Flooded, exchange
from cellmill.segmentation.deep_watershed import WatershedParameters, segment_maps
from cellmill.segmentation.deep_watershed.tile_flooding import TileFlooder
from cellmill.segmentation.deep_watershed.tile_markers import MaximaStatistics, maxima_statistics
from cellmill.segmentation.deep_watershed.tiled import (
    cleaned_objects,
    flood_parts,
    segment_tiled,
    settle,
)
from tests.segmentation.maps import (
    bfloat16,
    made_maps,
    permutation,
    quantised,
    smooth_noise,
    spiral,
)

MAPS = [(name, maxima, interior) for name, maxima, interior in made_maps() if maxima.ndim == 2]
MESMER = WatershedParameters(
    radius=2,
    maxima_threshold=0.075,
    interior_threshold=0.2,
    interior_smooth=2,
    small_objects_threshold=15,
    fill_holes_threshold=15,
)
PLAIN = WatershedParameters(radius=1, maxima_threshold=0.05, interior_smooth=0)
PEAKS = WatershedParameters(
    radius=3, maxima_threshold=0.1, maxima_algorithm="peak_local_max", interior_smooth=1
)
ODD = WatershedParameters(
    radius=3,
    maxima_threshold=0.1,
    maxima_smooth=1.5,
    interior_threshold=0.3,
    interior_smooth=0.7,
    label_erosion=1,
    small_objects_threshold=6,
    fill_holes_threshold=9,
    pixel_expansion=2,
)
BORDER = WatershedParameters(
    radius=2, maxima_threshold=0.2, maxima_algorithm="peak_local_max", exclude_border=2
)
RELATIVE = WatershedParameters(
    radius=2,
    maxima_threshold=0.05,
    interior_threshold=0.2,
    small_objects_threshold=4,
    small_objects_fraction=0.6,
    fill_holes_threshold=15,
)
PARAMETERS = {
    "mesmer": MESMER,
    "plain": PLAIN,
    "peaks": PEAKS,
    "odd": ODD,
    "border": BORDER,
    "relative": RELATIVE,
}


def tiled(maxima, interior, parameters, side, seed=None, **options):
    out = np.zeros(maxima.shape, np.int32)
    provisional = np.zeros(maxima.shape, np.int64)
    shuffled = None if seed is None else random.Random(seed)
    report = segment_tiled(
        maxima, interior, parameters, provisional, out, side=side, shuffled=shuffled, **options
    )
    return out, report


@pytest.mark.parametrize("parameters", PARAMETERS.values(), ids=PARAMETERS)
@pytest.mark.parametrize("side", [16, 37, 64])
def test_labels_are_those_of_the_whole_image(parameters, side):
    for name, maxima, interior in MAPS:
        expected = segment_maps(maxima, interior, parameters)
        found, report = tiled(maxima, interior, parameters, side, seed=side)
        np.testing.assert_array_equal(found, expected, err_msg=name)
        areas = np.bincount(expected.reshape(-1))[1:]
        np.testing.assert_array_equal(report.areas, areas, err_msg=name)


@pytest.mark.parametrize("levels", [2, 4, 20, 1000])
@pytest.mark.parametrize("parameters", [MESMER, PLAIN, PEAKS], ids=["mesmer", "plain", "peaks"])
def test_ties_and_plateaus(levels, parameters):
    for seed in range(3):
        image = quantised(smooth_noise(seed, (150, 170), 3), levels)
        expected = segment_maps(image, image, parameters)
        found, _ = tiled(image, image, parameters, 48, seed)
        np.testing.assert_array_equal(found, expected)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    shape=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    sigma=st.sampled_from([0, 1, 3, 8]),
    levels=st.sampled_from([0, 2, 4, 20]),
    side=st.integers(16, 70),
    which=st.sampled_from(sorted(PARAMETERS)),
)
def test_any_map_any_tiles_any_order(seed, shape, sigma, levels, side, which):
    image = smooth_noise(seed, shape, sigma)
    image = quantised(image, levels) if levels else bfloat16(image)
    expected = segment_maps(image, image, PARAMETERS[which])
    found, _ = tiled(image, image, PARAMETERS[which], side, seed)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("side", [16, 40])
def test_floods_that_wind_through_all_tiles(side):
    image = spiral(101)
    parameters = WatershedParameters(radius=1, maxima_threshold=0.2, interior_smooth=0)
    expected = segment_maps(image, image, parameters)
    found, report = tiled(image, image, parameters, side, seed=1)
    np.testing.assert_array_equal(found, expected)
    assert report.flooded_again > 0


def test_one_marker_far_from_a_wide_plain():
    image = np.full((300, 260), 0.5, np.float32)
    image[3, 4] = 1
    expected = segment_maps(image, image, PLAIN)
    assert expected.all()
    found, _ = tiled(image, image, PLAIN, 64, seed=0)
    np.testing.assert_array_equal(found, expected)


def test_a_maximum_that_spans_tiles_is_one_object():
    image = np.zeros((200, 210), np.float32)
    image[90:93, 5:200] = 1
    image[20:180, 100] = 1
    parameters = WatershedParameters(radius=1, maxima_threshold=0.2, interior_smooth=0)
    expected = segment_maps(image, image, parameters)
    assert expected.max() == 1
    found, _ = tiled(image, image, parameters, 32, seed=5)
    np.testing.assert_array_equal(found, expected)


def test_numbers_of_the_reference_are_kept():
    maxima, interior = permutation(3, (90, 80)), smooth_noise(3, (90, 80), 4)
    expected = segment_maps(maxima, interior, PLAIN, "reference")
    found, _ = tiled(maxima, interior, PLAIN, 32, numbering="reference")
    np.testing.assert_array_equal(found, expected)


class Killed(Exception):
    """The process ends here."""


class Mortal(MemoryMarks):
    """Marks of a process that is killed after so many."""

    def __init__(self, marks, left):
        self._marks, self.left = marks, left

    def mark(self, part, payload=b""):
        if self.left == 0:
            raise Killed
        self.left -= 1
        super().mark(part, payload)


@pytest.mark.parametrize("seed", range(6))
def test_a_run_that_was_killed_is_gone_on_with(seed):
    image = quantised(smooth_noise(seed, (160, 170), 6), 12)
    expected = segment_maps(image, image, ODD)
    draw = random.Random(seed)
    kept, provisional = {}, np.zeros(image.shape, np.int64)
    kills = 0
    while True:
        out = np.zeros(image.shape, np.int32)
        marks = Mortal(kept, draw.randint(0, 12))
        try:
            segment_tiled(image, image, ODD, provisional, out, side=32, marks=marks)
            break
        except Killed:
            kills += 1
    np.testing.assert_array_equal(out, expected)
    assert kills > 0


def test_tasks_that_share_an_image_out_agree_with_one():
    image = quantised(smooth_noise(8, (200, 190), 7), 30)
    expected = segment_maps(image, image, MESMER)
    provisional, out = np.zeros(image.shape, np.int64), np.zeros(image.shape, np.int32)
    grid, marks = Grid((200, 190), 48), MemoryMarks()
    statistics = MaximaStatistics.from_arrays(maxima_statistics(image, MESMER, grid).to_arrays())
    for share in range(3):
        flooder = TileFlooder(image, image, MESMER, statistics, provisional, grid)
        flood_parts(flooder, range(share, len(grid), 3), marks)
    settle(TileFlooder(image, image, MESMER, statistics, provisional, grid), marks)
    cleaned, _ = cleaned_objects(provisional, MESMER, grid)
    number_objects(cleaned, find_objects(cleaned, grid), out, grid)
    np.testing.assert_array_equal(out, expected)


def test_empty_tiles_are_not_worked_on():
    image = np.zeros((400, 400), np.float32)
    image[10:30, 10:30] = smooth_noise(0, (20, 20), 3)
    marks = MemoryMarks()
    out, report = tiled(image, image, MESMER, 64, marks=marks)
    assert report.empty > report.tiles / 2
    np.testing.assert_array_equal(out, segment_maps(image, image, MESMER))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("which", [0, 1])
def test_values_that_are_not_finite_are_refused(value, which):
    maps = [smooth_noise(1, (80, 80), 3), smooth_noise(2, (80, 80), 3)]
    maps[which][60, 70] = value
    with pytest.raises(BadInput, match="maxima map" if which == 0 else "interior map"):
        tiled(*maps, MESMER, 32)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    side=st.integers(3, 30),
    size=st.integers(2, 20),
    large=st.sampled_from([16, 100, 1 << 24]),
)
def test_holes_are_filled_as_in_the_whole_image(seed, side, size, large):
    draw = np.random.default_rng(seed)
    labels = canonical_labels(draw.integers(0, 4, (25, 28)) * (draw.random((25, 28)) < 0.8))
    labels = np.kron(labels, np.ones((2, 2), np.int32))
    cleaned = Cleaned(labels)
    table = object_table(cleaned, Grid(labels.shape, side))
    fill_holes_in(cleaned, table, size, large)
    expected = fill_holes(labels, size)
    np.testing.assert_array_equal(cleaned[:, :], expected)
    box = Box(3, 30, 5, 41)
    np.testing.assert_array_equal(cleaned[box.slices], expected[box.slices])


class Far:
    """The end of an image of more than 2³¹ pixels, its only labels."""

    shape = (55_000_000, 40)
    dtype = np.dtype(np.int64)

    def __init__(self, corner):
        self.corner = corner

    def __getitem__(self, window):
        y, x = window
        out = np.zeros((y.stop - y.start, x.stop - x.start), np.int64)
        if y.stop == Far.shape[0]:
            out[-self.corner.shape[0] :, -self.corner.shape[1] :] = self.corner
        return out


class Sink:
    """Keeps what is written of the last tile."""

    shape, dtype = Far.shape, np.dtype(np.int32)

    def __setitem__(self, window, values):
        if window[0].stop == Far.shape[0]:
            self.last = values


def test_places_past_two_to_the_31_are_right():
    corner = np.zeros((50, 40), np.int64)
    # Ids past 2³² whose order is not that of the first pixels, nor that of their lower halves.
    corner[10:20, 25:35], corner[12:30, 5:20] = 2**33 + 7, 2**32 + 9
    sink = Sink()
    grid = Grid(Far.shape, 100_000)
    areas = number_objects(Far(corner), find_objects(Far(corner), grid), sink, grid)
    np.testing.assert_array_equal(sink.last[-50:], canonical_labels(corner))
    np.testing.assert_array_equal(areas, [100, 270])


def test_more_labels_than_16_bits_hold():
    shape = (300, 520)
    source = np.random.default_rng(4).permutation(shape[0] * shape[1]).reshape(shape) + 1
    objects = find_objects(source, Grid(shape, 100))
    assert objects.label_dtype == np.int32
    out = np.zeros(shape, np.int32)
    number_objects(source, objects, out, Grid(shape, 64))
    assert out.max() == 156_000
    np.testing.assert_array_equal(out, canonical_labels(source))
    # No object has a pixel of its own here: only their number counts.
    many = np.broadcast_to(np.int64(1), 2**31)
    assert Objects(many, many, many, many).label_dtype == np.int64
    assert Objects(many[1:], many[1:], many[1:], many).label_dtype == np.int32


def test_what_changes_at_one_seam_reaches_no_more_tiles_than_it_must():
    """A line of 60,000 tiles of a pixel; one tile's flood reaches eight tiles either way."""
    grid = Grid((1, 60_000), 1)

    def tile(value, *beliefs):
        line = Face(np.array([value], np.uint64), np.array([value], np.int64))
        digests = {LEFT: beliefs[0], RIGHT: beliefs[1]}
        return Flooded(dict.fromkeys((TOP, BOTTOM, LEFT, RIGHT), line), digests)

    nothing = tile(0, b"", b"").inside[LEFT].digest()
    flooded = dict.fromkeys(range(len(grid)), tile(0, nothing, nothing))
    source = 59_950
    flooded[source] = tile(9, nothing, nothing)
    values = dict.fromkeys(range(len(grid)), 0) | {source: 9}

    def again(number, rim):
        near = max(int(line.labels[0]) for line in rim.values())
        values[number] = max(values[number], near - 1)
        return tile(values[number], *(rim[side].digest() for side in (LEFT, RIGHT)))

    floods = exchange(grid, flooded, again)
    changed = [k for k, value in values.items() if value]
    assert changed == [*range(source - 8, source + 9)]
    assert len(changed) <= floods < 100
