"""Distances of objects of volumes are those of the whole in whatever window they are read."""

import numpy as np
import pytest

from cellmill.arrays.windows import Grid
from cellmill.segmentation.interface import Maps
from cellmill.segmentation.methods import find_method
from cellmill.segmentation.probability_watershed.distances import SeedMap, edge_distances
from cellmill.segmentation.probability_watershed.parameters import ProbabilityWatershedParameters
from tests.segmentation.maps import balls, smooth_noise
from tests.segmentation.test_methods import tiled

METHOD = find_method("probability_watershed")


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0 / 0.7, 1.3, 1.0)])
@pytest.mark.parametrize("threshold", [0.25, 0.6])  # one wide object; many
def test_windows_show_the_distances_of_the_whole(spacing, threshold):
    probability = smooth_noise(2, (30, 66, 70), 4)
    parameters = ProbabilityWatershedParameters(threshold=threshold, largest_radius=25)
    whole = edge_distances(probability, parameters, spacing)
    assert whole.max() > 5
    seeds = SeedMap(probability, parameters, "map", spacing)
    grid = Grid(probability.shape, 13)
    for tile in range(len(grid)):
        window = grid.box(tile).slices
        np.testing.assert_array_equal(seeds[window], whole[window])
    np.testing.assert_array_equal(seeds[3, 5:9], whole[3, 5:9])


def test_objects_wider_than_blocks_are_as_whole():
    labels = balls(5, (24, 60, 64), 12, 12)
    probability = ((labels > 0) * (0.6 + 0.4 * smooth_noise(1, labels.shape, 2))).astype(np.float32)
    maps = Maps.of((1.4, 0.7, 0.5), probability=probability)
    parameters = ProbabilityWatershedParameters(largest_radius=20)
    expected = METHOD.segment(maps, parameters, "canonical")
    assert expected.max() > 3
    for side in (15, 32):
        np.testing.assert_array_equal(tiled(METHOD, parameters, maps, side), expected)
