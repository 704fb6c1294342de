"""Polygons of objects: filled again they are the object, and they are simple."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from cellmill.exports.outlines import outline, polygons_of, simplified


def filled(polygons, shape):
    """Fill rings by the even-odd rule: what lies right of each vertical edge changes sides."""
    found = np.zeros(shape, bool)
    for polygon in polygons:
        for ring in (polygon.outer, *polygon.holes):
            for (x, y), (next_x, next_y) in zip(ring, np.roll(ring, -1, 0), strict=True):
                assert (x == next_x) != (y == next_y), "along one axis at a time"
                if x == next_x:
                    found[min(y, next_y) : max(y, next_y), x:] ^= True
    return found


def area(ring):
    x, y = ring.T
    return int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2


@settings(max_examples=300, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_filled_again_they_are_the_object(mask):
    polygons = outline(mask)
    assert np.array_equal(filled(polygons, mask.shape), mask)
    assert len(polygons) == ndimage.label(mask)[1]


@settings(max_examples=300, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_rings_are_simple_and_holes_lie_in_their_own_part(mask):
    for polygon in outline(mask):
        for ring in (polygon.outer, *polygon.holes):
            corners = [tuple(corner) for corner in ring]
            assert len(set(corners)) == len(corners), "no ring touches itself"
        assert area(polygon.outer) > 0
        assert all(area(hole) < 0 for hole in polygon.holes)
        # Filled alone, a part is one piece, as large as its rings say.
        alone = filled([polygon], mask.shape)
        assert ndimage.label(alone)[1] == 1
        assert alone.sum() == area(polygon.outer) + sum(map(area, polygon.holes))


def test_a_large_object_with_holes():
    y, x = np.mgrid[:200, :210]
    mask = ((y - 100) ** 2 + (x - 100) ** 2 < 90**2) & (np.sin(x / 7) * np.cos(y / 5) > -0.8)
    polygons = outline(mask)
    assert np.array_equal(filled(polygons, mask.shape), mask)
    assert sum(len(each.holes) for each in polygons) > 5


def test_an_object_of_a_label_image_lies_where_it_lies():
    labels = np.zeros((30, 40), np.int32)
    labels[10:14, 20:25] = 7
    labels[12, 22] = 3
    (polygon,) = polygons_of(labels[8:20, 15:], 7, (10, 14, 20, 25), (8, 15))
    assert polygon.outer.tolist() == [[20, 10], [25, 10], [25, 14], [20, 14]]
    assert [sorted(hole.tolist()) for hole in polygon.holes] == [
        [[22, 12], [22, 13], [23, 12], [23, 13]]
    ]


@pytest.mark.parametrize("tolerance", [0.75, 1.0, 2.0])
def test_fewer_corners_stay_within_the_tolerance(tolerance):
    y, x = np.mgrid[:60, :60]
    (polygon,) = outline((y - 30) ** 2 + (x - 30) ** 2 < 25**2)
    fewer = simplified(polygon, tolerance)
    assert 3 <= len(fewer.outer) < len(polygon.outer) * 0.6
    ends = np.roll(fewer.outer, -1, 0)
    for corner in polygon.outer:
        way = ends - fewer.outer
        along = np.clip(((corner - fewer.outer) * way).sum(1) / (way**2).sum(1), 0, 1)
        nearest = fewer.outer + along[:, None] * way
        assert np.linalg.norm(corner - nearest, axis=1).min() <= tolerance + 1e-6
    assert simplified(polygon, 0) is polygon
