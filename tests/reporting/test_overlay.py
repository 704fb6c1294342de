"""Outlines separate what they should, are thin, and lie on the image they are drawn on."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from cellmill.errors import BadInput
from cellmill.reporting import outline, overlay, overlay_png
from cellmill.reporting.display import reduce_labels
from cellmill.reporting.overlay import COLOURS, colour_of

label_images = arrays(
    np.int32, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 4)
)


@given(label_images)
def test_outlines_part_every_two_objects(labels):
    edge = outline(labels)
    for here, there in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        differ = labels[here] != labels[there]
        assert (edge[here] | edge[there])[differ].all()


@given(label_images)
def test_outlines_lie_on_objects_and_only_where_labels_change(labels):
    edge = outline(labels)
    assert not edge[labels == 0].any()
    around = np.pad(labels, 1, mode="edge")
    changes = np.zeros(labels.shape, bool)
    for dy, dx in ((0, 1), (2, 1), (1, 0), (1, 2)):
        changes |= around[dy : dy + labels.shape[0], dx : dx + labels.shape[1]] != labels
    assert not (edge & ~changes).any()


@given(label_images)
def test_outlines_do_not_depend_on_orientation(labels):
    edge = outline(labels)
    assert np.array_equal(outline(labels[::-1, ::-1])[::-1, ::-1], edge)
    assert np.array_equal(outline(labels.T).T, edge)


def test_a_boundary_between_two_objects_is_one_pixel_thick():
    labels = np.ones((8, 8), np.int32)
    labels[:, 4:] = 2
    assert outline(labels).sum(axis=1).tolist() == [1] * 8


def test_an_object_on_background_is_outlined_inside_all_around():
    labels = np.zeros((7, 7), np.int32)
    labels[1:6, 1:6] = 9
    expected = labels > 0
    expected[2:5, 2:5] = False
    assert np.array_equal(outline(labels), expected)


def test_overlay_has_the_images_size_and_draws_in_the_compartments_colours(make_disks):
    labels = {"whole_cell": make_disks(), "nuclear": make_disks(radius=4)}
    image = np.random.default_rng(0).integers(0, 999, (*labels["nuclear"].shape, 3), np.uint16)
    picture = overlay(image, labels, channels=[0, 2])
    assert picture.shape == (*labels["nuclear"].shape, 3)
    nuclei = outline(labels["nuclear"])
    cells = outline(labels["whole_cell"]) & ~nuclei
    assert (picture[nuclei] == COLOURS["nuclear"]).all()
    assert (picture[cells] == COLOURS["whole_cell"]).all()
    rest = picture[~nuclei & ~cells]
    assert np.array_equal(rest[:, 0], rest[:, 2])  # magenta: red is blue


def test_overlay_of_one_channel_is_grey_but_for_outlines(make_disks):
    labels = make_disks()
    image = np.random.default_rng(0).normal(size=(*labels.shape, 1)).astype(np.float32)
    picture = overlay(image, {"nuclear": labels})
    plain = picture[~outline(labels)]
    assert (plain[:, 0] == plain[:, 1]).all()
    assert (plain[:, 0] == plain[:, 2]).all()
    assert plain.min() == 0
    assert plain.max() == 255


@pytest.mark.parametrize("channels", [[], [0]])
def test_a_blank_channel_is_black_with_outlines(make_disks, channels):
    labels = make_disks()
    picture = overlay(np.full((*labels.shape, 1), 7, np.uint8), {"nuclear": labels}, channels)
    assert (picture[~outline(labels)] == 0).all()
    assert (picture[outline(labels)] == colour_of("nuclear")).all()


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 40))
def test_a_large_image_is_reduced_within_the_bound(height, width, bound):
    labels = np.zeros((height, width), np.int32)
    picture = overlay(np.zeros((height, width, 1), np.uint8), {"nuclear": labels}, max_side=bound)
    factor = -(-max(height, width) // bound)
    assert picture.shape[:2] == (-(-height // factor), -(-width // factor))
    assert max(picture.shape[:2]) <= bound


def test_outlines_of_a_reduced_image_stay_thin_and_part_objects(make_disks):
    labels = make_disks((400, 400), step=40, radius=18)
    picture = overlay(np.zeros((400, 400, 1), np.uint8), {"nuclear": labels}, max_side=100)
    drawn = (picture == colour_of("nuclear")).all(axis=-1)
    assert np.array_equal(drawn, outline(reduce_labels(labels, 4)))


def test_png_files_hold_what_was_drawn(make_disks):
    labels = make_disks()
    image = np.arange(labels.size, dtype=np.uint16).reshape(*labels.shape, 1)
    with Image.open(io.BytesIO(overlay_png(image, {"nuclear": labels}))) as picture:
        assert picture.mode == "RGB"
        assert np.array_equal(np.asarray(picture), overlay(image, {"nuclear": labels}))


def test_labels_of_another_shape_are_refused():
    with pytest.raises(
        BadInput, match=r"labels 'nuclear': expected shape \(4, 5\), found \(5, 4\)"
    ):
        overlay(np.zeros((4, 5, 1)), {"nuclear": np.zeros((5, 4), int)})
    with pytest.raises(BadInput, match="with pixels"):
        overlay(np.zeros((0, 5, 1)), {})
