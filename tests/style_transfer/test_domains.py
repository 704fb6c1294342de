"""Whatever is read of a domain lies within its region; planes that are scored share no pixel."""

import numpy as np
import pytest

from cellmill.errors import BadInput
from cellmill.style_transfer.domains import Labelled, halves, open_domain, scored, split, taught
from cellmill.style_transfer.network import reach_of
from cellmill.style_transfer.places import volumes_named
from cellmill.style_transfer.sampling import Source, sample_volumes
from cellmill.style_transfer.volumes import open_volume
from tests.style_transfer import stored_volumes as stored

SHAPE = (12, 150, 170)


class Numbered:
    """A volume whose voxels are told apart: it keeps the windows that were read."""

    shape, dtype = SHAPE, np.dtype(np.uint8)

    def __init__(self, value=1):
        self.value, self.windows = value, []

    def __getitem__(self, window):
        self.windows.append(window)
        return np.full([part.stop - part.start for part in window], self.value, np.uint8)


def planes_read(array):
    return [tuple((part.start, part.stop) for part in window) for window in array.windows]


def test_parts_along_z_follow_the_boxes():
    boxes = ((0, 0, 0, 4, 100, 100), (2, 10, 10, 10, 140, 140))
    volume = Labelled(Source(open_volume(Numbered()), boxes=boxes))
    (low,), (high,) = split([volume], 0.3)
    assert low.boxes == ((0, 0, 0, 4, 100, 100), (2, 10, 10, 7, 140, 140))
    assert high.boxes == ((7, 10, 10, 10, 140, 140),)
    (first,), (second,) = halves([high])
    assert (first.extent, second.extent) == ((7, 8), (8, 10))
    with pytest.raises(BadInput, match="held_out: expected 0 to 1, leaving sections"):
        split([volume], 1.5)


def test_planes_that_are_scored_lie_in_the_region_and_share_no_pixel():
    arrays = [Numbered(1), Numbered(2)]
    mask = np.zeros(SHAPE, bool)
    mask[3:9, 20:, :140] = True
    overlapping = ((0, 0, 0, 12, 120, 120), (0, 10, 10, 12, 150, 170))
    domain = [
        Labelled(Source(open_volume(arrays[0]), boxes=overlapping), np.ones(SHAPE, bool)),
        Labelled(Source(open_volume(arrays[1]), mask=mask), np.zeros(SHAPE, bool)),
    ]
    found, again = (scored(domain, 3, reach_of(2)) for _ in range(2))
    np.testing.assert_array_equal(found.grey, again.grey)
    assert found.grey.shape == found.truth.shape == (len(found.grey), 128, 128)
    # What is true goes with the volume that it is of.
    np.testing.assert_array_equal(found.truth.all((1, 2)), found.grey[:, 0, 0] == 1)
    assert {1, 2} == {*found.grey[:, 0, 0]}
    first, second = map(planes_read, arrays)
    assert first[: len(first) // 2] == first[len(first) // 2 :]
    for window in second:
        assert mask[tuple(slice(*part) for part in window)].all()
    scores = np.zeros(SHAPE, int)
    for z, y, x in first[: len(first) // 2]:
        inner = (slice(y[0] + 40, y[1] - 40), slice(x[0] + 40, x[1] - 40))
        scores[(slice(*z), *inner)] += 1
        assert any(
            b[1] <= y[0] and y[1] <= b[4] and b[2] <= x[0] and x[1] <= b[5] for b in overlapping
        )
    assert scores.max() == 1


def test_a_mask_without_room_is_one_line():
    nothing = Labelled(Source(open_volume(Numbered()), mask=np.zeros(SHAPE, bool)))
    with pytest.raises(BadInput, match="held-out volume: expected a plane of 128 × 128 within the"):
        scored([nothing], 0, reach_of(2))


def test_lists_open_as_domains_that_repeat(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (2, *SHAPE), np.uint8)
    paths = [stored.zarr(tmp_path / f"x {n}", each, "zarr3") for n, each in enumerate(values)]
    coarse = np.zeros([-(-n // f) for n, f in zip(SHAPE, (1, 4, 4), strict=True)], np.uint8)
    coarse[:6, 5:, :30] = 1
    mask = stored.zarr(tmp_path / "mask", coarse, "zarr3")
    named = volumes_named(
        "x", f"'{paths[0]}@3' '{paths[1]}'", "", f"'{mask}' -", "- 2,0,0,9,150,130"
    )
    domain = open_domain(named)
    assert domain[0].source.mask_factors == (1, 4, 4)
    crops, again = (
        list(sample_volumes([each.source for each in domain], (1, 96, 96), seed=5, count=200))
        for _ in range(2)
    )
    drawn = [(crop.source, crop.corner) for crop in crops]
    assert drawn == [(crop.source, crop.corner) for crop in again]
    # Of 200 draws at 3 : 1, five standard deviations at most.
    assert abs(sum(which == 0 for which, _ in drawn) - 150) < 31
    for crop in crops:
        z, y, x = crop.corner
        inside = z < 6 and y >= 20 and x + 96 <= 120
        assert inside if crop.source == 0 else 2 <= z < 9 and x + 96 <= 130
    assert len(taught(domain[1:], 1).truth) == 0


def test_a_mask_of_other_sides_is_one_line(tmp_path):
    volume = stored.zarr(tmp_path / "x", np.zeros((10, 20, 20), np.uint8), "zarr3")
    mask = stored.zarr(tmp_path / "m", np.zeros((10, 20, 11), np.uint8), "zarr3")
    with pytest.raises(BadInput, match=r"mask '.*': expected sides of \(10, 20, 20\), divided by"):
        open_domain(volumes_named("x", volume, "", mask))
    with pytest.raises(BadInput, match=r"box: expected within \(10, 20, 20\)"):
        open_domain(volumes_named("x", volume, "", "", "0,0,0,10,20,30"))
