"""What Voronoi-Otsu promises beside what every method does: spacing, plateaus, components."""

import numpy as np
import pytest
from scipy import ndimage

from cellmill.arrays.windows import Grid
from cellmill.arrays.workspace import MemoryWorkspace
from cellmill.errors import BadInput
from cellmill.segmentation.interface import Maps
from cellmill.segmentation.methods import find_method
from cellmill.segmentation.voronoi_otsu.in_memory import segment_image
from cellmill.segmentation.voronoi_otsu.parameters import VoronoiOtsuParameters
from cellmill.typed_json import WrongField
from tests.segmentation.maps import balls, smooth_noise


def blobs(shape, centres, radius, spacing):
    """Draw balls of one radius, in the unit of the spacing."""
    grid = np.stack(np.indices(shape), axis=-1) * np.array(spacing)
    image = np.zeros(shape, np.float32)
    for centre in centres:
        image = np.maximum(image, 100 * (np.linalg.norm(grid - centre, axis=-1) < radius))
    return image


def test_in_a_volume_of_anisotropic_spacing_sigma_is_a_length():
    spacing = (2.0, 0.5, 0.5)
    centres = [(12, 10, 10), (12, 10, 22), (24, 22, 10)]
    image = blobs((18, 64, 64), centres, 5, spacing)
    flat = segment_image(image, VoronoiOtsuParameters(3, 1), mpp=spacing)
    assert flat.max() == 3
    # In voxels whatever the spacing, planes are blurred over: 8 µm for 2 µm.
    places = [tuple(int(c / s) for c, s in zip(centre, spacing, strict=True)) for centre in centres]
    assert sorted(flat[place] for place in places) == [1, 2, 3]
    in_microns = segment_image(image, VoronoiOtsuParameters(1.5, 0.5, unit="micron"), mpp=spacing)
    np.testing.assert_array_equal(in_microns, flat)
    with pytest.raises(BadInput, match="unit: expected pixel, as the pixel size is unknown"):
        segment_image(image, VoronoiOtsuParameters(unit="micron"))
    with pytest.raises(WrongField):
        VoronoiOtsuParameters(unit="micron", rule="clesperanto")


def test_scaling_all_lengths_changes_nothing():
    image = smooth_noise(4, (60, 70), 2)
    for mpp in ((0.5, 0.5), (0.2, 0.4)):
        one = segment_image(image, VoronoiOtsuParameters(2, 1), mpp=mpp)
        two = segment_image(image, VoronoiOtsuParameters(2, 1), mpp=(mpp[0] * 3, mpp[1] * 3))
        np.testing.assert_array_equal(one, two)


def test_a_saturated_object_is_one_object_and_lost_by_the_reference_s_rule():
    image = np.zeros((40, 60), np.float32)
    image[10:20, 10:25] = image[24:36, 30:50] = 1
    right = segment_image(image, VoronoiOtsuParameters(0, 0))
    np.testing.assert_array_equal(right, ndimage.label(image)[0])
    assert segment_image(image, VoronoiOtsuParameters(0, 0, rule="clesperanto")).max() == 0


def test_a_shoulder_is_no_seed():
    image = np.tile(np.minimum(np.arange(40), 10).astype(np.float32), (9, 1))
    image[:, 30:] += 5
    assert segment_image(image, VoronoiOtsuParameters(0, 0)).max() == 1


@pytest.mark.parametrize("rule", ["right", "clesperanto"])
def test_every_object_is_connected_and_in_one_part_of_the_mask(rule):
    labels = balls(5, (120, 140), 60, 8)
    noise = np.random.default_rng(5).normal(0, 0.2, labels.shape)
    found = segment_image((labels > 0) + noise, VoronoiOtsuParameters(1.5, 1, rule=rule))
    everywhere = np.ones((3, 3))
    for label in range(1, found.max() + 1):
        assert ndimage.label(found == label, everywhere)[1] == 1
    parts, count = ndimage.label(found > 0, everywhere)
    assert count < found.max()
    assert len(np.unique(parts[found > 0])) == count


@pytest.mark.parametrize("side", [5, 16, 33])
def test_plateaus_and_paths_across_many_tiles_are_as_untiled(side):
    image = np.zeros((70, 90), np.float32)
    image[5:60, 5:80] = 0.2
    image[30:34, 10:70] = 1  # a plateau over several tiles
    image[50:60, 60:80] = 2
    image[0:70:8, 4:86] = 0  # winding gaps
    image[3, 2:88] = 0.9
    for parameters in (
        VoronoiOtsuParameters(0, 0),
        VoronoiOtsuParameters(0.6, 0, rule="clesperanto"),
        VoronoiOtsuParameters(1, 0.4, small_objects_threshold=30),
    ):
        for mpp in (None, (0.3, 0.7)):
            maps = Maps.of(mpp, intensity=image)
            method = find_method("voronoi_otsu")
            work = method.tiled.open(maps, parameters, Grid(image.shape, side), MemoryWorkspace())
            work.prepare(2)
            work.work(range(len(Grid(image.shape, side))), 2)
            work.settle(2)
            expected = method.segment(maps, parameters, "reference")
            found = np.unique(work.labels(2)[:, :], return_inverse=True)[1]
            np.testing.assert_array_equal(found.reshape(image.shape), expected)
