"""What a card says of its training objects' size: the median of whole objects, in px and µm."""

import math

import numpy as np
import pytest

from cellmill.labels.objects import object_diameters
from cellmill.training.images import TrainingImage
from cellmill.training.object_sizes import trained_sizes


def discs(*radii, shape=(200, 200)):
    """Discs apart from each other, the first cut by the border."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, np.int32)
    for k, radius in enumerate(radii):
        centre = (50 * (k // 4), 25 + 50 * (k % 4))
        labels[np.hypot(y - centre[0], x - centre[1]) <= radius] = k + 1
    return labels


def image(labels, mpp=None):
    return TrainingImage("a", np.zeros((*labels.shape[:2], 1), np.float32), labels, None, mpp)


def test_a_discs_diameter_is_its_own_and_cut_ones_do_not_count():
    labels = discs(20, 20, 20, 20, 8, 10, 12)
    assert object_diameters(labels) == pytest.approx([16, 20, 24], rel=0.03)


def test_where_the_border_cuts_all_they_count():
    assert object_diameters(discs(20)) == pytest.approx([20 * math.sqrt(2)], rel=0.05)


def test_medians_are_over_all_objects_and_microns_over_those_of_known_pixel_size():
    small, large = discs(1, 1, 1, 1, 5, 5), discs(1, 1, 1, 1, 10, 10, 10)
    found = trained_sizes([image(small, (0.5, 0.5)), image(large)], ("nuclear",))
    assert found["object_diameter"]["nuclear"] == pytest.approx(20, rel=0.05)
    assert found["object_diameter_um"]["nuclear"] == pytest.approx(5, rel=0.05)


def test_each_kind_has_its_own_and_what_is_unknown_is_left_out():
    both = np.stack([discs(1, 1, 1, 1, 12), discs(1, 1, 1, 1, 6)], axis=-1)
    found = trained_sizes([image(both)], ("whole_cell", "nuclear"))
    assert [*found["object_diameter"]] == ["whole_cell", "nuclear"]
    assert found["object_diameter"]["whole_cell"] > 1.8 * found["object_diameter"]["nuclear"]
    assert found["object_diameter_um"] == {}
    assert trained_sizes([image(discs())], ("nuclear",)) == {
        "object_diameter": {},
        "object_diameter_um": {},
    }
