"""Targets mean what Mesmer's heads mean."""

import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from skimage.segmentation import find_boundaries

from cellmill.labels.edges import inner_edges
from cellmill.training.targets import (
    BACKGROUND,
    EDGE,
    INTERIOR,
    inner_distance,
    pixel_classes,
    pixel_weights,
)

label_images = arrays(
    np.int32, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 4)
)


def discs():
    y, x = np.mgrid[:64, :80]
    labels = np.zeros((64, 80), np.int32)
    labels[(y - 20) ** 2 + (x - 20) ** 2 < 100] = 1
    labels[(y - 20) ** 2 + (x - 38) ** 2 < 81] = 2  # touches 1
    labels[50:64, 50:64] = 3  # touches the border
    labels[40:43, 5:30] = 4
    labels[60, 3] = 5  # one pixel
    labels[30:34, 50:60] = 9  # a gap in the numbering
    return labels


@given(label_images)
def test_edges_are_inner_boundaries(labels):
    np.testing.assert_array_equal(inner_edges(labels), find_boundaries(labels, mode="inner"))


@given(label_images)
def test_classes_part_the_image(labels):
    classes = pixel_classes(labels)
    np.testing.assert_array_equal(classes == BACKGROUND, labels == 0)
    np.testing.assert_array_equal(classes == EDGE, inner_edges(labels))
    assert set(np.unique(classes)) <= {EDGE, INTERIOR, BACKGROUND}
    assert INTERIOR == 1


@given(label_images, st.sampled_from(["object", "foreground"]))
def test_inner_distance_is_bounded_and_only_inside(labels, centre):
    distance = inner_distance(labels, centre=centre)
    assert distance.dtype == np.float32
    np.testing.assert_array_equal(distance > 0, labels > 0)
    assert distance.max(initial=0) <= 1


@given(label_images, st.permutations([1, 2, 3, 4]))
def test_ids_do_not_matter(labels, order):
    renamed = np.array([0, *order], np.int32)[labels]
    np.testing.assert_allclose(inner_distance(renamed), inner_distance(labels), rtol=1e-6)
    np.testing.assert_array_equal(pixel_classes(renamed), pixel_classes(labels))
    np.testing.assert_array_equal(pixel_weights(renamed), pixel_weights(labels))


def test_inner_distance_of_a_disc_by_hand():
    y, x = np.mgrid[:41, :41]
    squared = (y - 20) ** 2 + (x - 20) ** 2
    labels = (squared <= 150).astype(np.int32)
    expected = 1 / (1 + squared / np.sqrt(labels.sum())) * labels
    np.testing.assert_allclose(inner_distance(labels), expected, rtol=1e-6)
    np.testing.assert_allclose(
        inner_distance(labels, alpha=0.1, beta=2.0), 1 / (1 + 0.2 * squared) * labels, rtol=1e-6
    )


def test_touching_objects_keep_their_own_centres():
    distance = inner_distance(discs())
    for label, centre in ((1, (20, 20)), (2, (20, 38))):
        inside = np.where(discs() == label, distance, 0)
        peak = np.unravel_index(inside.argmax(), inside.shape)
        assert np.hypot(*np.subtract(peak, centre)) <= 1.5


def test_weights_stress_seams_and_hard_background():
    labels = discs()
    hard = np.zeros_like(labels)
    hard[5:8, 60:63] = 1
    hard[20, 20] = 1  # an object's pixel is never hard background
    weights = pixel_weights(labels, hard, seam_weight=4, hard_weight=7)
    assert (weights[5:8, 60:63] == 7).all()
    assert weights[20, 20] == 1
    assert weights[20, 29] == 4  # between the touching discs
    assert weights[0, 79] == weights[57, 57] == 1
    assert set(np.unique(weights)) == {1, 4, 7}


@pytest.mark.deepcell
def test_equal_to_deepcell(deepcell_python, tmp_path):
    np.save(tmp_path / "labels.npy", discs())
    code = (
        "import numpy as np; from deepcell.utils.transform_utils import *;"
        "m = np.load('labels.npy');"
        "np.savez('out.npz', auto=inner_distance_transform_2d(m, alpha='auto', beta=1),"
        " plain=inner_distance_transform_2d(m, alpha=0.1, beta=2), classes=pixelwise_transform(m))"
    )
    subprocess.run([deepcell_python, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    reference = np.load(tmp_path / "out.npz")
    for name, alpha, beta in (("auto", "auto", 1.0), ("plain", 0.1, 2.0)):
        ours = inner_distance(discs(), alpha, beta, centre="foreground")
        np.testing.assert_allclose(ours, np.squeeze(reference[name]), atol=1e-6)
    np.testing.assert_array_equal(pixel_classes(discs()), reference["classes"].argmax(-1))
