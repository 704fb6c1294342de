"""Each step of Cellpose's masks against the same done plainly, pixel by pixel."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cellmill.arrays.windows import Box
from cellmill.arrays.workspace import MemoryWorkspace
from cellmill.errors import BadInput
from cellmill.labels.numbering import canonical_labels
from cellmill.segmentation.cellpose import CellposeParameters, flows_of, segment_flows
from cellmill.segmentation.cellpose.ends import LEFT, NONE
from cellmill.segmentation.cellpose.heat import flow_errors
from cellmill.segmentation.cellpose.seeds import count_ends, find_seeds, grow
from cellmill.segmentation.cellpose.selection import too_small
from cellmill.segmentation.cellpose.shared_heat import heat_type, rounds_of, shared_flow_errors
from cellmill.segmentation.cellpose.walks import field_of, follow, follow_again
from cellmill.segmentation.interface import Maps
from cellmill.segmentation.methods import Recipe, Source, find_method, run_tiled
from tests.segmentation.examples import EXAMPLES
from tests.segmentation.maps import balls

EXAMPLE = EXAMPLES["cellpose"]


def wild_maps(seed, shape):
    """Flows that go round, out of the image, and nowhere; no network's."""
    rng = np.random.default_rng(seed)
    smooth = [ndimage.gaussian_filter(rng.normal(0, 1, shape), 3) * 30 for _ in range(2)]
    flows = np.stack(smooth, axis=-1).astype(np.float32)
    flows[::7, ::5] = 0
    return flows, rng.normal(0.5, 1, shape).astype(np.float32)


def walked_normalised_plainly(flows, probability, threshold, count):
    """Walks between -1 and 1, by NumPy, with the types and the roundings that torch has."""
    single = np.float32
    cells = probability > single(threshold)
    sides = np.array(cells.shape)
    steps = (flows * cells[..., None] / single(5)) * (2 / (sides - 1)).astype(single)
    steps = np.pad(steps, ((1, 1), (1, 1), (0, 0)))
    starts = np.argwhere(cells)
    at = starts.astype(single) / (sides - 1).astype(single) * single(2) - single(1)
    for _ in range(count):
        read = ((at + single(1)).astype(float) * (sides / 2) - 0.5).astype(single)
        low = np.floor(read)
        far, (j, k) = read - low, low.T.astype(int) + 1
        near = single(1) - far
        step = np.zeros_like(at)
        for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
            weight = (far if down else near)[:, 0] * (far if right else near)[:, 1]
            values = steps[j + down, k + right].astype(float)
            step = (values * weight[:, None] + step).astype(single)
        at = np.clip(at + step, single(-1), single(1))
    places = ((at + single(1)) * single(0.5) * (sides - 1).astype(single)).astype(np.int64)
    ends = np.full(cells.shape, NONE)
    ends[cells] = places[:, 0] * sides[1] + places[:, 1]
    return ends


def walked_plainly(flows, probability, threshold, count):
    """Each step of each walk, by NumPy, with the types that the reference has."""
    height, width = probability.shape
    cells = probability > np.float32(threshold)
    steps = (flows * cells[..., None] / np.float32(5)).astype(np.float32)
    starts = np.nonzero(cells)
    y, x = (axis.astype(np.float32) for axis in starts)
    for _ in range(count):
        j, k = y.astype(np.int32), x.astype(np.int32)
        v, u = (y - j.astype(np.float64))[:, None], (x - k.astype(np.float64))[:, None]
        below, beside = np.minimum(j + 1, height - 1), np.minimum(k + 1, width - 1)
        step = (
            steps[j, k] * (1 - v) * (1 - u)
            + steps[j, beside] * (1 - v) * u
            + steps[below, k] * v * (1 - u)
            + steps[below, beside] * v * u
        ).astype(np.float32)
        y = np.clip(y + step[:, 0], np.float32(0), np.float32(height - 1))
        x = np.clip(x + step[:, 1], np.float32(0), np.float32(width - 1))
    ends = np.full(cells.shape, NONE)
    ends[starts] = y.astype(np.int64) * width + x.astype(np.int64)
    return ends


@pytest.mark.parametrize("count", [1, 2, 5, 37, 200, 1000])
@pytest.mark.parametrize("wild", [True, False])
def test_walks_end_where_each_step_taken_leads(wild, count):
    flows, probability = wild_maps(1, (60, 75))
    if not wild:
        maps = EXAMPLE.maps(1, (60, 75))
        flows, probability = maps["flows"], maps["probability"]
    whole = Box(0, 60, 0, 75)
    field = field_of(flows, probability, 0.3, whole, (60, 75))
    ends = np.empty((60, 75), np.int64)
    assert follow(field, whole, count, ends) == 0
    np.testing.assert_array_equal(ends, walked_plainly(flows, probability, 0.3, count))


def test_a_walk_that_leaves_its_window_is_known_and_is_the_same_in_a_larger_one():
    shape, box = (90, 80), Box(30, 50, 20, 55)
    flows, probability = wild_maps(2, shape)
    expected = walked_plainly(flows, probability, 0, 200)[box.slices]
    ends = np.empty(box.shape, np.int64)
    for halo in (2, 8, 90):
        window = box.grown(halo, shape)
        field = field_of(flows[window.slices], probability[window.slices], 0, window, shape)
        gone = (follow if halo == 2 else follow_again)(field, box, 200, ends)
        assert gone == (ends == LEFT).sum()
        assert (gone > 50) == (halo == 2)
        known = ends != LEFT
        np.testing.assert_array_equal(ends[known], expected[known])
    assert known.all()


def test_walks_of_cellpose_4_end_where_each_step_taken_leads():
    flows, probability = wild_maps(8, (60, 75))
    whole = Box(0, 60, 0, 75)
    for count in (1, 7, 60, 700):
        field = field_of(flows, probability, 0.3, whole, (60, 75), "cellpose4")
        ends = np.empty((60, 75), np.int64)
        assert follow(field, whole, count, ends) == 0
        np.testing.assert_array_equal(
            ends, walked_normalised_plainly(flows, probability, 0.3, count)
        )
        # Where a walk ends depends on the size of the image.
        assert (ends != walked_plainly(flows, probability, 0.3, count)).any()


@pytest.mark.parametrize("side", [24, 70])
def test_objects_that_touch_see_each_other_s_heat_by_tiles_as_in_memory(side):
    maps = EXAMPLE.maps(6, (140, 140))
    parameters = CellposeParameters(flow_threshold=0.3, min_size=20, rule="cellpose4")
    expected = segment_flows(maps["flows"], maps["probability"], parameters)
    every = replace(parameters, flow_threshold=0)
    assert 3 < expected.max() < segment_flows(maps["flows"], maps["probability"], every).max()
    recipe = Recipe(
        find_method("cellpose"), {"flows": Source("f"), "probability": Source("p")}, parameters
    )
    work, _ = run_tiled(recipe, Maps.of(**maps), side, MemoryWorkspace(), 1)
    np.testing.assert_array_equal(canonical_labels(np.asarray(work.labels(1)[:, :])), expected)


def test_flows_of_all_objects_at_once_are_those_of_each_where_none_touch():
    labels = np.zeros((60, 90), np.int32)
    y, x = np.indices(labels.shape)
    for k, column in enumerate((15, 45, 75), start=1):
        labels[np.hypot(y - 30, x - column) < 11] = k
    boxes = np.array([[20, 41, c - 10, c + 11] for c in (15, 45, 75)])
    told = (labels, np.array([1, 2, 3]), boxes, flows_of(labels).astype(np.float32))
    for dtype in (np.float64, np.float32):
        # In the middle, where no slope is, rounding alone says where it goes.
        assert shared_flow_errors(*told, 2 * (21 + 21 + 4), dtype).max() < 4 / (labels == 1).sum()
    assert rounds_of(boxes) == 2 * (21 + 21 + 2)
    assert heat_type((100, 100)) is np.float64
    assert heat_type((7000, 7000)) is np.float32


@given(st.integers(0, 10_000))
@settings(max_examples=40)
def test_seeds_are_peaks_and_grow_over_what_is_around_them(seed):
    rng = np.random.default_rng(seed)
    counts = rng.choice([0, 1, 2, 3, 5, 11, 12, 30], (23, 31), p=[0.5, 0.1, 0.1] + [0.06] * 5)
    counts = counts.astype(np.int32)
    padded = np.pad(counts, 20)
    peak = ndimage.maximum_filter(padded, 5, mode="constant") == padded
    places = np.flatnonzero((peak & (padded > 10))[20:-20, 20:-20])
    places = places[np.lexsort((places, counts.reshape(-1)[places]))]
    seeds = find_seeds(counts)
    np.testing.assert_array_equal(seeds, places)
    expected = np.zeros(counts.shape, np.int32)
    for number, place in enumerate(places, start=1):
        grown = np.zeros(counts.shape, bool)
        grown.reshape(-1)[place] = True
        for _ in range(5):
            grown = ndimage.binary_dilation(grown, np.ones((3, 3))) & (counts > 2)
        expected[grown] = number
    np.testing.assert_array_equal(grow(counts, seeds, np.arange(1, len(seeds) + 1)), expected)


def test_ends_are_counted():
    ends = np.array([[0, 3], [NONE, 3]])
    counts = np.zeros((2, 2), np.int32)
    count_ends(ends, counts)
    assert counts.tolist() == [[1, 0], [0, 2]]


def test_objects_flows_lead_to_their_middle():
    labels = balls(3, (120, 130), 20, 12)
    flows = flows_of(labels)
    lengths = np.hypot(*np.moveaxis(flows, -1, 0))
    assert (lengths[labels == 0] == 0).all()
    # A piece that is not connected to the middle has no heat, and no flows.
    assert (lengths[labels > 0] > 0.999).mean() > 0.9
    ids = np.unique(labels[labels > 0])
    boxes = [ndimage.find_objects(labels)[i - 1] for i in ids]
    edges = np.array([[b[0].start, b[0].stop, b[1].start, b[1].stop] for b in boxes])
    errors = flow_errors(labels, ids, edges, flows.astype(np.float32))
    assert errors.max() < 1e-12
    turned = flow_errors(labels, ids, edges, -flows.astype(np.float32))
    assert turned.min() > 2


def test_clean_flows_give_back_the_objects_they_were_made_of():
    labels = np.zeros((100, 110), np.int32)
    for k, (y, x) in enumerate([(15, 15), (40, 60), (70, 25), (75, 90)], start=1):
        labels[np.hypot(*(np.indices(labels.shape) - np.array([y, x])[:, None, None])) < 11] = k
    flows = (5 * flows_of(labels)).astype(np.float32)
    found = segment_flows(flows, np.where(labels > 0, 5.0, -5.0))
    np.testing.assert_array_equal(found, canonical_labels(labels))


def test_objects_of_other_flows_than_the_network_s_are_dropped():
    flows, probability = wild_maps(5, (150, 160))
    kept = [
        segment_flows(flows, probability, CellposeParameters(flow_threshold=threshold)).max()
        for threshold in (0, 2.0, 0.4)
    ]
    assert kept[0] > kept[1] > kept[2]


def test_the_reference_takes_places_in_a_list_for_numbers():
    right, reference = (CellposeParameters(rule=rule) for rule in ("right", "reference"))
    areas, numbers = np.array([50, 3, 60, 70]), np.array([1, 3, 4, 5])
    assert too_small(areas, numbers, 1000, right).tolist() == [False, True, False, False]
    assert too_small(areas, numbers, 1000, reference).tolist() == [False, False, False, False]
    # Without background the first object is taken for it, and the second is the list's first.
    assert too_small(areas, np.arange(1, 5), 183, reference).tolist() == [True, False, False, False]
    none = CellposeParameters(rule="reference", min_size=-1)
    assert not too_small(areas, numbers, 1000, none).any()


def test_cellpose_4_takes_the_first_object_for_background_where_there_is_none():
    rule = CellposeParameters(rule="cellpose4")
    areas, numbers = np.array([5, 3, 60]), np.array([1, 3, 4])
    assert too_small(areas, numbers, 1000, rule).tolist() == [True, True, False]
    assert too_small(areas, numbers, 68, rule).tolist() == [False, True, False]


def test_the_rules_differ_once_objects_were_dropped_for_their_flows():
    maps = EXAMPLE.maps(6, (140, 140))
    found = {}
    for rule in ("right", "reference"):
        parameters = CellposeParameters(flow_threshold=0.25, min_size=60, rule=rule)
        found[rule] = segment_flows(maps["flows"], maps["probability"], parameters)
    assert np.bincount(found["right"].ravel())[1:].min() >= 60
    # It drops others, and the small ones as well once numbers are without gaps again.
    assert found["reference"].max() < found["right"].max()


@pytest.mark.parametrize("side", [16, 41])
@pytest.mark.parametrize(
    "parameters",
    [
        CellposeParameters(flow_threshold=0),
        CellposeParameters(flow_threshold=0, min_size=0, rule="reference"),
        CellposeParameters(flow_threshold=1.5, min_size=40, max_size_fraction=0.02),
        CellposeParameters(flow_threshold=1.5, min_size=40, rule="reference", niter=500),
        CellposeParameters(flow_threshold=1.5, min_size=40, rule="cellpose4", niter=500),
    ],
)
def test_tiles_give_what_memory_gives_for_flows_of_any_kind(parameters, side):
    method = find_method("cellpose")
    flows, probability = wild_maps(7, (120, 150))
    flows[50:60] = 0, 4  # a current that carries farther than a tile looks at first
    probability[50:60] += 3
    maps = Maps.of(flows=flows, probability=probability)
    expected = segment_flows(flows, probability, parameters)
    assert expected.max() > 3
    recipe = Recipe(method, {"flows": Source("f"), "probability": Source("p")}, parameters)
    work, counts = run_tiled(recipe, maps, side, MemoryWorkspace(), 1)
    np.testing.assert_array_equal(canonical_labels(np.asarray(work.labels(1)[:, :])), expected)
    assert counts["walked_again"] > 0


@pytest.mark.parametrize(
    ("flows", "probability", "says"),
    [
        (np.zeros((4, 5, 3)), np.zeros((4, 5)), r"flows and prob.*\(Y, X, 2\) and.*\(4, 5, 3\)"),
        (np.zeros((4, 5, 2)), np.zeros((5, 4)), r"flows and probability maps"),
        (np.zeros((4, 5, 2), complex), np.zeros((4, 5)), "flows map: expected real numbers"),
        (np.full((4, 5, 2), np.nan), np.zeros((4, 5)), "flows map: expected finite.*40 NaN"),
    ],
)
def test_maps_that_are_none_have_their_line(flows, probability, says):
    with pytest.raises(BadInput, match=says):
        segment_flows(flows, probability)
