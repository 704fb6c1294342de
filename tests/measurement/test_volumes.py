"""Objects of volumes: against scikit-image, against balls, against the image of one plane."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import regionprops

from cellmill.arrays.zarr import create_zarr
from cellmill.datasets.phantoms import spheres
from cellmill.errors import BadInput
from cellmill.measurement import (
    VOLUME_COLUMNS,
    background,
    measure_compartments,
    measure_labels,
    shells,
)
from cellmill.measurement.shells import shell_medians
from cellmill.measurement.volumes import sum_solids
from tests.measurement import shells_by_object

SPACING = (2.0, 0.5, 0.4)


def columns(table):
    return {name: np.array(table[name].to_pylist(), float) for name in table.column_names[1:]}


def blobs(seed=0, shape=(7, 30, 40), count=9):
    random = np.random.default_rng(seed)
    seeds = np.zeros(shape, int)
    seeds.flat[random.choice(seeds.size, count, replace=False)] = random.choice(
        np.arange(1, 90), count, replace=False
    )
    near = ndimage.distance_transform_edt(seeds == 0, sampling=(3, 1, 1), return_indices=True)
    labels = seeds[tuple(near[1])] * (near[0] < 7)
    image = random.integers(0, 4000, (*shape, 2), dtype=np.uint16)
    return labels.astype(np.int32), image


@pytest.mark.parametrize("seed", range(3))
def test_as_scikit_image_measures_with_spacing(seed):
    labels, image = blobs(seed)
    table = columns(measure_labels(labels, image, mpp=SPACING, channel_names=["a", "b"]))
    expected = regionprops(labels, image, spacing=SPACING)
    assert table["label"].tolist() == [each.label for each in expected]
    in_voxels = regionprops(labels, image)
    for row, (own, voxels) in enumerate(zip(expected, in_voxels, strict=True)):
        assert table["volume_px"][row] == voxels.area
        assert table["volume_um3"][row] == pytest.approx(own.area)
        assert [table[f"centroid_{a}_um"][row] for a in "zyx"] == pytest.approx(own.centroid)
        assert [table[f"centroid_{a}_px"][row] for a in "zyx"] == pytest.approx(voxels.centroid)
        box = [table[f"bbox_{a}{end}_px"][row] for end in (0, 1) for a in "zyx"]
        assert tuple(box) == voxels.bbox
        assert table["major_axis_um"][row] == pytest.approx(own.axis_major_length, rel=1e-6)
        assert table["minor_axis_um"][row] == pytest.approx(
            own.axis_minor_length, rel=1e-5, abs=1e-3
        )
        assert table["equivalent_diameter_um"][row] == pytest.approx(own.equivalent_diameter_area)
        inside = image[labels == own.label]
        for channel, name in enumerate("ab"):
            assert table[f"mean_{name}"][row] == pytest.approx(inside[:, channel].mean())
            assert table[f"sd_{name}"][row] == pytest.approx(inside[:, channel].std())
            assert table[f"min_{name}"][row] == inside[:, channel].min()
            assert table[f"max_{name}"][row] == inside[:, channel].max()
            assert table[f"sum_{name}"][row] == inside[:, channel].sum()
        ends = voxels.bbox[0] == 0 or voxels.bbox[3] == labels.shape[0]
        sides = [voxels.bbox[a] == 0 or voxels.bbox[3 + a] == labels.shape[a] for a in (1, 2)]
        assert (table["touches_end"][row], table["touches_edge"][row]) == (ends, any(sides))


@pytest.mark.parametrize(
    ("spacing", "within"),
    [((1, 1, 1), 0.02), ((0.5, 0.5, 0.5), 0.02), ((2, 1, 1), 0.04), ((3, 1, 1), 0.06)],
)
@pytest.mark.parametrize("radius", [7.0, 10.0])
def test_a_ball_has_a_ball_s_volume_surface_and_axes(spacing, within, radius):
    sides = [int(2 * radius / each) + 6 for each in spacing]
    places = [
        (np.arange(side) - side / 2 + 0.3) * each for side, each in zip(sides, spacing, strict=True)
    ]
    squares = places[0][:, None, None] ** 2 + places[1][:, None] ** 2 + places[2] ** 2
    labels = (squares <= radius**2).astype(np.uint8)
    table = columns(measure_labels(labels, labels, mpp=tuple(map(float, spacing))))
    assert table["volume_um3"][0] == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.02)
    assert table["surface_um2"][0] == pytest.approx(4 * np.pi * radius**2, rel=within)
    assert table["sphericity"][0] == pytest.approx(1, rel=within + 0.01)
    for name in ("major", "middle", "minor"):
        assert table[f"{name}_axis_um"][0] == pytest.approx(2 * radius, rel=0.03)


def test_a_slab_is_no_ball():
    labels = np.zeros((12, 40, 40), int)
    labels[5:7, 4:36, 4:36] = 1
    table = columns(measure_labels(labels, labels, mpp=(1.0, 1.0, 1.0)))
    # Two large faces and four small ones: thirteen directions take flat faces for less.
    assert table["surface_um2"][0] == pytest.approx(2 * 32 * 32 + 4 * 32 * 2, rel=0.12)
    assert table["sphericity"][0] < 0.5


def test_the_surfaces_of_phantoms_are_those_of_spheres():
    light, labels = spheres((24, 60, 60), (0.5, 0.25, 0.25), count=8, gap_um=1.0, seed=1)
    table = columns(measure_labels(labels, light, mpp=(0.5, 0.25, 0.25)))
    radii = table["equivalent_diameter_um"] / 2
    assert len(radii) > 4
    assert np.allclose(table["surface_um2"], 4 * np.pi * radii**2, rtol=0.06)
    assert (table["sphericity"] > 0.93).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000))
def test_a_volume_of_one_plane_is_its_image(seed):
    labels, image = blobs(seed, (1, 20, 24), 5)
    volume = columns(measure_labels(labels, image, mpp=(1.0, 0.5, 0.4)))
    flat = columns(measure_labels(labels[0], image[0], mpp=(0.5, 0.4)))
    same = {
        "volume_px": "area_px",
        "volume_um3": "area_um2",
        "touches_edge": "touches_edge",
        **{f"centroid_{a}_{unit}": f"centroid_{a}_{unit}" for a in "yx" for unit in ("px", "um")},
        **{f"bbox_{a}{end}_px": f"bbox_{a}{end}_px" for a in "yx" for end in "01"},
        **{
            f"{kind}_channel_{c}": f"{kind}_channel_{c}"
            for kind in ("mean", "sd", "min", "max", "sum")
            for c in range(2)
        },
    }
    for ours, its in same.items():
        assert np.allclose(volume[ours], flat[its], equal_nan=True), ours
    # An ellipsoid's length is √20 of its spread, an ellipse's 4.
    assert np.allclose(volume["major_axis_um"], flat["major_axis_um"] * np.sqrt(20) / 4)
    assert np.allclose(volume["minor_axis_um"], 0)
    assert volume["touches_end"].all()


def test_local_background_is_the_shell_of_nearest_background():
    labels, image = blobs(4, count=3)
    table = columns(measure_labels(labels, image, mpp=SPACING, background_ring=(1, 5)))
    step = np.array(SPACING) / min(SPACING[1:])
    inside = {
        each: ndimage.distance_transform_edt(labels != each, sampling=step)
        for each in table["label"]
    }
    nearest = np.min([*inside.values()], axis=0)
    compared = 0
    for row, label in enumerate(table["label"]):
        mine = inside[label]
        shell = (labels == 0) & (mine > 1) & (mine <= 5) & (mine == nearest)
        # A voxel as near to another object may go to either.
        rivals = sum((other == nearest) & shell for other in inside.values())
        if shell.any() and (rivals[shell] == 1).all():
            compared += 1
            assert table["background_channel_1"][row] == np.median(image[shell][:, 1])
    assert compared


@given(
    st.integers(0, 10_000),
    st.sampled_from(
        [(1.0, 1.0, 1.0), (2.0, 1.0, 1.0), (0.5, 1.0, 1.0), (3.3, 0.7, 0.7), (2.0, 0.5, 0.4)]
    ),
    st.sampled_from([(0, 1), (0, 3), (1, 2), (2, 8)]),
    st.sampled_from([np.uint16, np.int8, ">i4", np.float32, bool]),
    st.sampled_from([(1 << 25, 1024), (4_000, 7), (0, 1)]),
)
@settings(max_examples=40, deadline=None)
def test_shells_of_all_objects_are_those_of_each_by_itself(seed, voxel, ring, dtype, sizes):
    """Objects of few voxels in rows and columns are often equally far from what lies between."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(rng.integers(1, [12, 30, 30]), np.int32)
    for label in rng.permutation(np.arange(1, 9)) * 7:
        corner = rng.integers(0, labels.shape)
        z, y, x = (slice(a, a + b) for a, b in zip(corner, rng.integers(1, 14, 3), strict=True))
        labels[z, y, x] = label
    labels[rng.random(labels.shape) < rng.choice([0.3, 0.8, 0.98])] = 0
    other = (rng.random(labels.shape) < 0.05).astype(np.int32)
    image = rng.normal(0, 60, (*labels.shape, 2)).astype(dtype)
    given = (labels, [other], image, sum_solids(labels), ring, voxel)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shells, "_HELD", sizes[0])
        patch.setattr(shells, "_BLOCK", sizes[1])
        found = shell_medians(*given)
    np.testing.assert_array_equal(found, shells_by_object.shell_medians(*given))


def test_what_is_held_of_shells_does_not_grow_with_the_depth():
    """A lattice that spans the volume, and an image that is made as it is read."""

    def peak(depth):
        labels = np.zeros((depth, 40, 40), np.uint8)
        labels[:, ::20] = 1
        image = np.broadcast_to(np.uint16(7), (*labels.shape, 1))
        given = (labels, [], image, sum_solids(labels), (0, 2), (1.0, 1.0, 1.0))
        tracemalloc.start()
        try:
            assert shell_medians(*given).tolist() == [[7]]
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(background, "COUNTED", 1000)
        peak(30)
        assert peak(960) < 1.2 * peak(240)


def test_nuclei_and_cells_are_joined():
    cells = np.zeros((4, 10, 20), int)
    cells[:, 1:9, 1:9], cells[:, 1:9, 11:19] = 5, 9
    nuclei = np.zeros_like(cells)
    nuclei[1:3, 3:6, 3:6], nuclei[1, 3:5, 12:14], nuclei[2, 6:8, 12:14] = 1, 2, 3
    table = measure_compartments(
        {"whole_cell": cells, "nuclear": nuclei}, cells[..., None], mpp=SPACING
    )
    rows = {(row["compartment"], row["label"]): row for row in table.to_pylist()}
    assert [rows["nuclear", n]["cell_label"] for n in (1, 2, 3)] == [5, 9, 9]
    assert [rows["whole_cell", n]["nucleus_count"] for n in (5, 9)] == [1, 2]
    assert rows["nuclear", 1]["nucleus_cell_volume_ratio"] == pytest.approx(18 / 256)


def test_without_a_voxel_size_microns_are_null_and_every_column_has_a_meaning():
    labels, image = blobs()
    table = measure_labels(labels, image)
    for field in table.schema:
        assert b"meaning" in field.metadata
        if field.name.endswith(("_um", "_um2", "_um3")):
            assert table[field.name].null_count == len(table)
    names = [name for name in table.column_names if name in VOLUME_COLUMNS]
    assert len(names) == len(VOLUME_COLUMNS) - 3


def test_a_store_and_memory_give_the_same(tmp_path):
    labels, image = blobs(2)
    stored = create_zarr(
        str(tmp_path / "a.zarr"),
        {"labels": (labels.shape, np.int32, "ZYX"), "image": (image.shape, np.uint16, "ZYXC")},
    )
    stored["labels"][...], stored["image"][...] = labels, image
    found = measure_labels(stored["labels"], stored["image"], mpp=SPACING)
    assert found.equals(measure_labels(labels, image, mpp=SPACING))


def test_an_empty_volume_has_an_empty_table():
    table = measure_labels(np.zeros((2, 5, 6), int), np.zeros((2, 5, 6), np.uint8), mpp=SPACING)
    assert len(table) == 0
    assert len(sum_solids(np.zeros((2, 5, 6), int))) == 0


@pytest.mark.parametrize("mpp", [(1.0, 1.0), (1.0, 1.0, 0.0)])
def test_sizes_are_those_of_three_axes(mpp):
    labels, image = blobs()
    with pytest.raises(BadInput, match="mpp"):
        measure_labels(labels, image, mpp=mpp)
