"""Phantoms: apart, inside, repeatable, of the volume that their radii say."""

import numpy as np
import pytest

from cellmill.datasets.phantoms import beads, filaments, spheres
from cellmill.errors import BadInput

SPACING = (0.5, 0.25, 0.25)


def test_spheres_are_whole_apart_and_repeatable():
    light, labels = spheres((40, 100, 110), SPACING, count=12, gap_um=0.5, seed=3)
    again = spheres((40, 100, 110), SPACING, count=12, gap_um=0.5, seed=3)
    assert np.array_equal(light, again[0])
    assert np.array_equal(labels, again[1])
    volume = np.prod(SPACING)
    for number in range(1, labels.max() + 1):
        voxels = np.argwhere(labels == number)
        radius = (3 * len(voxels) * volume / (4 * np.pi)) ** (1 / 3)
        assert 1.4 <= radius <= 3.1
        brightness = light[labels == number]
        assert 0.4 <= brightness.max() <= 1
        assert brightness.min() >= 0.4 * brightness.max()
    # A gap of half a µm is two voxels: no two touch.
    for axis in range(3):
        one, other = (np.moveaxis(labels, axis, 0)[s] for s in (slice(1, None), slice(None, -1)))
        assert not ((one != other) & (one > 0) & (other > 0)).any()
    assert (light[labels == 0] < 1).all()


def test_beads_are_points_far_apart():
    light, places = beads((30, 60, 60), SPACING, count=8, seed=1)
    assert light.sum() == len(places) == 8
    assert (light[tuple(places.T)] == 1).all()
    distance = np.linalg.norm((places[:, None] - places[None]) * SPACING, axis=-1)
    assert distance[~np.eye(8, dtype=bool)].min() > 2


def test_filaments_go_from_side_to_side():
    light, labels = filaments((20, 80, 90), SPACING, count=5, seed=2)
    for number in range(1, 6):
        places = np.argwhere(labels == number)
        assert any(
            len(places) and {0, size - 1} <= {*places[:, axis]} for axis, size in ((1, 80), (2, 90))
        )
    assert 0 < light[labels > 0].mean() <= light.max() == 1


@pytest.mark.parametrize("make", [spheres, beads, filaments])
def test_impossible_sizes_are_refused(make):
    with pytest.raises(BadInput, match="shape: expected"):
        make((0, 10, 10), SPACING)
    with pytest.raises(BadInput, match="spacing: expected"):
        make((10, 10, 10), (1, 1, 0))
