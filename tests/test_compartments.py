"""Compartments come in their own order, and each gets its plane of the truth."""

import numpy as np
import pytest

from cellmill.compartments import COMPARTMENTS, compartments_of, planes_of
from cellmill.errors import BadInput


def test_compartments_keep_their_order_whatever_the_names():
    assert compartments_of(["nuclear", "whole_cell"], "labels") == COMPARTMENTS
    assert compartments_of({"raw": 0, "nuclear": 1}, "labels") == ("nuclear",)
    with pytest.raises(BadInput, match="labels of image 'a': expected an array whole_cell or"):
        compartments_of([], "labels of image 'a'")


def test_one_plane_goes_for_all_and_two_are_told_apart():
    planes = np.arange(24).reshape(3, 4, 2)
    one = planes_of(planes[..., 0], COMPARTMENTS, "truth")
    assert all(np.array_equal(plane, planes[..., 0]) for plane in one.values())
    two = planes_of(planes, ("nuclear",), "truth")
    assert np.array_equal(two["nuclear"][:], planes[..., 1])
    with pytest.raises(BadInput, match="truth: expected one plane, or two"):
        planes_of(np.zeros((3, 4, 3)), COMPARTMENTS, "truth")
