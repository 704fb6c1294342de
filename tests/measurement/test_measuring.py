"""Measurements equal scikit-image's, on the original pixels, in any bands."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.ndimage import gaussian_filter, label
from skimage.measure import regionprops_table

from cellmill.errors import BadInput
from cellmill.measurement import CHANNEL_COLUMNS, COLUMNS, measure_compartments, measure_labels
from cellmill.measurement import background as background_module
from tests.arrays.stored import Stored

SKIMAGE = {
    "label": "label",
    "area": "area_px",
    "centroid-0": "centroid_y_px",
    "centroid-1": "centroid_x_px",
    "bbox-0": "bbox_y0_px",
    "bbox-1": "bbox_x0_px",
    "bbox-2": "bbox_y1_px",
    "bbox-3": "bbox_x1_px",
    "eccentricity": "eccentricity",
    "axis_major_length": "major_axis_px",
    "axis_minor_length": "minor_axis_px",
    "equivalent_diameter_area": "equivalent_diameter_px",
    "perimeter": "perimeter_px",
}


def blobs(seed: int, shape: tuple[int, int] = (120, 90)) -> np.ndarray:
    """Make touching, hollow and ragged objects with labels that are far apart."""
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.normal(size=shape), 2)
    labels = label(smooth > 0.02)[0]
    split = rng.integers(0, shape[1])
    labels[:, split:] = np.where(labels[:, split:] > 0, labels[:, split:] + 500, 0)
    return np.where(labels > 0, 3 * labels, 0).astype(np.int32)


def picture(seed: int, dtype: type, shape: tuple[int, int] = (120, 90)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if np.issubdtype(dtype, np.integer):
        return rng.integers(0, np.iinfo(dtype).max, (*shape, 2), dtype, endpoint=True)
    return rng.normal(1e4, 1, (*shape, 2)).astype(dtype)


def column(table: pa.Table, name: str) -> np.ndarray:
    return table.column(name).to_numpy()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("memory_mib", [0, 1024])
def test_values_equal_scikit_image(dtype, memory_mib):
    labels, image = blobs(1), picture(2, dtype)
    names = ("DAPI", "actin")
    table = measure_labels(labels, image, channel_names=names, memory_mib=memory_mib)
    theirs = regionprops_table(
        labels,
        image,
        properties=[*{name.split("-")[0] for name in SKIMAGE}, "intensity_mean"],
    )
    for name, mine in SKIMAGE.items():
        np.testing.assert_allclose(column(table, mine), theirs[name], rtol=1e-9, atol=1e-6)
    for c, name in enumerate(("DAPI", "actin")):
        for row, value in enumerate(column(table, "label")):
            pixels = image[..., c][labels == value]
            exact = pixels.astype(np.float64)
            assert table[f"mean_{name}"][row].as_py() == pytest.approx(exact.mean(), rel=1e-12)
            assert table[f"sd_{name}"][row].as_py() == pytest.approx(exact.std(), rel=1e-9)
            assert table[f"min_{name}"][row].as_py() == pixels.min()
            assert table[f"max_{name}"][row].as_py() == pixels.max()
            assert table[f"sum_{name}"][row].as_py() == pytest.approx(exact.sum(), rel=1e-12)


@pytest.mark.parametrize("dtype", [np.bool_, np.int16, np.uint16, np.int64, np.float32, ">u2"])
def test_bands_change_nothing_to_the_last_bit(dtype):
    labels = {"whole_cell": blobs(3), "nuclear": blobs(5)}
    image = (picture(4, np.float32) * 3).astype(dtype)
    whole = measure_compartments(labels, image)
    for memory_mib in (0, 0.2, 0.5):
        assert measure_compartments(labels, image, memory_mib=memory_mib).equals(whole)


@pytest.mark.parametrize("memory_mib", [0, 0.5, 1024])
def test_windowed_arrays_measure_as_arrays_do_and_are_read_once_a_pass(memory_mib):
    cells, nuclei, image = blobs(3), blobs(5), picture(4, np.uint16)
    whole = measure_compartments({"whole_cell": cells, "nuclear": nuclei}, image)
    labels = {"whole_cell": Stored(cells), "nuclear": Stored(nuclei)}
    pixels = Stored(image)
    assert measure_compartments(labels, pixels, memory_mib=memory_mib).equals(whole)
    rows = list(range(len(image)))
    assert all(each.rows() == rows + rows for each in labels.values())
    for channel in (0, 1):
        windows = [window[0] for window in pixels.read if window[2] == channel]
        assert [row for window in windows for row in range(len(image))[window]] == rows


def test_what_is_read_at_once_keeps_to_the_budget():
    rng = np.random.default_rng(0)
    labels = Stored(np.kron(np.arange(1200).reshape(60, 20), np.ones((40, 40), np.int32)))
    image = Stored(rng.integers(0, 9, (*labels.shape, 3), np.uint8))
    labels.array[::40] = labels.array[:, ::40] = 0
    measure_labels(labels, image, memory_mib=6)
    heights = [window[0].stop - window[0].start for window in labels.read + image.read]
    assert max(heights) * labels.shape[1] * 40 <= 6 * 2**20
    assert min(heights[1:-1]) < labels.shape[0] / 4


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint8, np.int16, np.uint16])
@pytest.mark.parametrize("step", [1, 3])
def test_rings_of_many_pixels_may_be_counted_by_value(dtype, step, monkeypatch):
    """Objects in pieces all over the image beside others."""
    labels = blobs(10) % (3 * step) + (blobs(10) > 0)
    image = (picture(11, np.float32) * 7).astype(dtype)
    plain = measure_labels(labels, image)
    monkeypatch.setattr(background_module, "COUNTED", 20)
    assert measure_labels(labels, image, memory_mib=0).equals(plain)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.float32, np.float64])
def test_deviations_keep_their_digits_far_from_zero(dtype):
    values = np.random.default_rng(12).integers(0, 7, 500)
    image = (values + 60_000).astype(dtype).reshape(20, 25, 1)
    row = measure_labels(np.ones((20, 25), int), image, memory_mib=0).to_pylist()[0]
    assert row["sd_channel_0"] == pytest.approx(values.std(), rel=1e-12)


def rings(labels: np.ndarray, inner: int, outer: int) -> dict[int, list[tuple[int, int]]]:
    """Give each background pixel to the nearest object, the slow way."""
    y, x = np.nonzero(labels)
    found: dict[int, list[tuple[int, int]]] = {}
    for py, px in np.argwhere(labels == 0) if len(y) else ():
        square = (y - py) ** 2 + (x - px) ** 2
        if inner**2 < square.min() <= outer**2:
            owner = labels[y, x][square == square.min()].min()
            found.setdefault(int(owner), []).append((int(py), int(px)))
    return found


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        np.int32, st.tuples(st.integers(1, 14), st.integers(1, 14)), elements=st.integers(-12, 3)
    ),
    st.integers(0, 3),
    st.integers(1, 4),
)
def test_background_is_the_median_of_the_ring(raw, inner, width):
    labels = np.maximum(raw, 0)
    image = np.random.default_rng(0).integers(0, 9999, (*labels.shape, 1)).astype(np.uint16)
    expected = rings(labels, inner, inner + width)
    for pixels in (image, image.astype(np.float32)):
        table = measure_labels(labels, pixels, background_ring=(inner, inner + width))
        for row in table.select(["label", "background_channel_0"]).to_pylist():
            ring = [image[y, x, 0] for y, x in expected.get(row["label"], [])]
            assert row["background_channel_0"] == (np.median(ring) if ring else None)
    huge = measure_labels(
        labels.astype(np.int64) << 37, image, background_ring=(inner, inner + width)
    )
    small = measure_labels(labels, image, background_ring=(inner, inner + width))
    assert huge["background_channel_0"].equals(small["background_channel_0"])


def test_an_enclosed_object_has_no_background_and_the_other_compartment_is_none():
    cell = np.zeros((30, 30), int)
    cell[1:29, 1:29] = 1
    nucleus = np.zeros((30, 30), int)
    nucleus[13:17, 13:17] = 1
    image = np.full((30, 30, 1), 7, np.uint8)
    table = measure_compartments({"whole_cell": cell, "nuclear": nucleus}, image)
    assert table["background_channel_0"].to_pylist() == [None, None]
    alone = measure_labels(nucleus, image, compartment="nuclear")
    assert alone["background_channel_0"].to_pylist() == [7.0]


def test_integer_sums_are_exact_where_narrow_arithmetic_overflows():
    image = np.full((700, 700, 1), 65535, np.uint16)
    row = measure_labels(np.ones((700, 700), np.uint8), image).to_pylist()[0]
    assert row["sum_channel_0"] == 700 * 700 * 65535
    assert (row["mean_channel_0"], row["sd_channel_0"]) == (65535.0, 0.0)


def test_moments_far_from_the_origin_lose_nothing():
    far = np.zeros((40, 30_000), np.int32)
    far[5:15, 29_950:29_980] = 1
    image = np.zeros((40, 30_000, 1), np.uint8)
    row = measure_labels(far, image).to_pylist()[0]
    near = measure_labels(far[:, 29_900:], image[:, 29_900:]).to_pylist()[0]
    assert row["eccentricity"] == near["eccentricity"]
    assert row["major_axis_px"] == near["major_axis_px"]
    assert row["centroid_x_px"] == near["centroid_x_px"] + 29_900


def test_an_unknown_pixel_size_leaves_microns_null():
    table = measure_labels(blobs(6), picture(6, np.uint8))
    microns = [name for name in table.column_names if name.endswith(("_um", "_um2"))]
    assert len(microns) == 7
    for name in microns:
        assert table[name].null_count == table.num_rows > 0


def test_microns_follow_the_pixel_size_on_each_axis():
    labels = np.zeros((30, 30), int)
    labels[5:15, 10:15] = 1  # 10 rows of 0.5 µm, 5 columns of 1 µm: a square
    row = measure_labels(labels, np.zeros((30, 30, 0), np.uint8), mpp=(0.5, 1.0)).to_pylist()[0]
    assert (row["area_px"], row["area_um2"]) == (50, 25.0)
    assert (row["centroid_y_um"], row["centroid_x_um"]) == (9.5 * 0.5, 12.0)
    assert row["major_axis_px"] > 1.9 * row["minor_axis_px"]
    assert row["major_axis_um"] == pytest.approx(row["minor_axis_um"], rel=0.03)
    assert row["eccentricity"] < 0.25
    assert row["equivalent_diameter_um"] == pytest.approx(2 * np.sqrt(25 / np.pi))
    assert row["perimeter_um"] is None
    square = measure_labels(labels, np.zeros((30, 30, 0), np.uint8), mpp=(0.5, 0.5)).to_pylist()[0]
    assert square["perimeter_um"] == square["perimeter_px"] / 2
    assert square["eccentricity"] > 0.8


def test_nuclei_name_their_cell_and_cells_count_their_nuclei():
    cells, nuclei = np.zeros((2, 10, 20), int)
    cells[0:8, 0:10], cells[0:8, 10:18] = 4, 9
    nuclei[1:3, 1:3], nuclei[5:7, 5:7] = 1, 2
    nuclei[1:3, 8:14] = 3  # two columns in cell 4, four in cell 9
    nuclei[9, 19] = 8
    table = measure_compartments(
        {"nuclear": nuclei, "whole_cell": cells}, np.zeros((10, 20, 1), np.uint8)
    )
    names = ["compartment", "label", "cell_label", "nucleus_count", "nucleus_cell_area_ratio"]
    assert [tuple(row.values()) for row in table.select(names).to_pylist()] == [
        ("whole_cell", 4, None, 2, 8 / 80),
        ("whole_cell", 9, None, 1, 12 / 64),
        ("nuclear", 1, 4, None, 4 / 80),
        ("nuclear", 2, 4, None, 4 / 80),
        ("nuclear", 3, 9, None, 12 / 64),
        ("nuclear", 8, None, None, None),
    ]


def test_edges_are_the_images_own():
    labels = np.zeros((6, 6), int)
    labels[0, 2], labels[2, 2], labels[5, 5], labels[2, 0] = 1, 2, 3, 4
    table = measure_labels(labels, np.zeros((6, 6, 1), np.uint8))
    assert table["touches_edge"].to_pylist() == [True, False, True, True]


def test_a_single_pixel_is_a_circle_without_extent():
    row = measure_labels(np.ones((1, 1), int), np.full((1, 1, 1), 5, np.uint8)).to_pylist()[0]
    assert (row["eccentricity"], row["major_axis_px"], row["perimeter_px"]) == (0.0, 0.0, 0.0)
    assert (row["sd_channel_0"], row["background_channel_0"]) == (0.0, None)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_no_objects_give_an_empty_table_of_the_same_columns_and_types(dtype):
    image = picture(7, dtype)
    full = measure_labels(blobs(8), image, mpp=(1, 1))
    empty = measure_labels(np.zeros_like(blobs(8)), image, mpp=(1, 1))
    assert empty.num_rows == 0
    assert empty.schema.equals(full.schema, check_metadata=True)


def test_every_column_is_typed_and_explained():
    labels = blobs(9)
    table = measure_compartments(
        {"whole_cell": labels, "nuclear": labels},
        picture(9, np.uint16),
        mpp=(0.5, 0.25),
        channel_names=("DAPI", "DAPI"),
    )
    channels = [f"{kind}_{name}" for name in ("DAPI 0", "DAPI 1") for kind in CHANNEL_COLUMNS]
    assert sorted(table.column_names) == sorted([*COLUMNS, *channels])
    assert all(field.metadata[b"meaning"] for field in table.schema)
    about = json.loads(table.schema.metadata[b"cellmill"])
    assert (about["mpp"], about["channels"]) == ([0.5, 0.25], ["DAPI 0", "DAPI 1"])
    assert table.schema.field("area_px").type == table.schema.field("sum_DAPI 0").type == pa.int64()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["DAPI", "DAPI 1", "DAPI_1", "", "area_px", "label", "x_mean_a", "mean_a", "a", "_px"]
        ),
        min_size=1,
        max_size=5,
    )
)
def test_whatever_channels_are_called_each_has_columns_of_its_own(names):
    pixels = np.stack([np.full((2, 3), 7 * (i + 1), np.uint16) for i in range(len(names))], -1)
    table = measure_labels(np.ones((2, 3), int), pixels, channel_names=names)
    assert len(set(table.column_names)) == table.num_columns
    suffixes = json.loads(table.schema.metadata[b"cellmill"])["channels"]
    assert table.num_columns == len(COLUMNS) - 3 + len(CHANNEL_COLUMNS) * len(names)
    for index, (name, suffix) in enumerate(zip(names, suffixes, strict=True)):
        assert table[f"mean_{suffix}"].to_pylist() == [7 * (index + 1)]
        if name and names.count(name) == 1:
            assert suffix == name


LABELS, IMAGE = np.ones((3, 4), int), np.ones((3, 4, 1), np.uint8)


@pytest.mark.parametrize(
    ("labels", "image", "more", "line"),
    [
        (LABELS.T, IMAGE, {}, r"whole_cell labels: expected the image's Y, X \(3, 4\), found"),
        (LABELS * 1.0, IMAGE, {}, "whole_cell labels: expected integers"),
        (-LABELS, IMAGE, {}, "found -1"),
        (LABELS << 41, IMAGE, {}, "values from 0 to"),
        (LABELS, IMAGE[0, :, 0], {}, r"expected an array \(Y, X, C\)"),
        (LABELS, IMAGE.astype(complex), {}, "complex"),
        (LABELS[:0], IMAGE[:0], {}, "expected pixels"),
        (LABELS, IMAGE, {"mpp": (0, 1)}, "mpp: expected two sizes above 0"),
        (LABELS, IMAGE, {"background_ring": (3, 3)}, "background ring"),
        (LABELS, IMAGE, {"compartment": "a b"}, "compartments: expected names of kinds of obj"),
    ],
)
def test_bad_input_is_named(labels, image, more, line):
    with pytest.raises(BadInput, match=line):
        measure_labels(labels, image, **more)
