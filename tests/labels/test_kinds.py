"""Kinds of object are any names; two are well known, come first, and have planes of the truth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellmill.arrays.entries import ArrayInfo
from cellmill.errors import BadInput
from cellmill.labels.kinds import (
    WELL_KNOWN,
    in_order,
    is_kind,
    kinds_in,
    planes_of,
    plural,
    singular,
    typed,
    typed_kinds,
)

OWN = ("mitochondria", "nuclear", "cell")


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("nuclear", ("nuclear",)),
        ("nucleus", ("nuclear",)),
        ("nuclei", ("nuclear",)),
        ("whole-cell", ("whole_cell",)),
        ("whole_cell", ("whole_cell",)),
        ("cell", ("whole_cell",)),
        ("cells", ("whole_cell",)),
        ("both", ("whole_cell", "nuclear")),
        ("all", ("whole_cell", "nuclear")),
        ("nuclei, whole-cell", ("whole_cell", "nuclear")),
    ],
)
def test_what_users_type_is_understood(text, kinds):
    assert typed_kinds(text) == kinds


def test_a_model_s_own_kinds_are_understood_and_come_before_other_meanings():
    assert typed_kinds("mitochondria", OWN) == ("mitochondria",)
    assert typed_kinds("cell", OWN) == ("cell",)
    assert typed_kinds("all", OWN) == ("nuclear", "mitochondria", "cell")
    assert typed_kinds("cell,nuclei", OWN) == ("nuclear", "cell")
    assert typed_kinds("lipid-droplet", offered=None) == ("lipid_droplet",)


@pytest.mark.parametrize("text", ["", ",", "nuclear,", "cytoplasm", "nuclear;cell", "both cells"])
def test_what_there_is_not_is_one_line(text):
    with pytest.raises(BadInput) as error:
        typed_kinds(text)
    assert str(error.value) == f"compartment: expected whole-cell or nuclear, found '{text}'"
    with pytest.raises(BadInput, match="expected nuclear or mitochondria or cell, found 'both'"):
        typed_kinds("both", OWN)
    with pytest.raises(BadInput, match="or the name of another kind of object, found 'a b'"):
        typed_kinds("a b", offered=None)


@given(st.lists(st.sampled_from(["whole_cell", "nuclear", "a", "b", "c"])))
def test_well_known_kinds_come_first_and_the_others_as_they_came(names):
    found = in_order(names)
    assert sorted(found) == sorted(set(names))
    known = [kind for kind in found if kind in WELL_KNOWN]
    assert [*found[: len(known)]] == known == [kind for kind in WELL_KNOWN if kind in names]
    others = [kind for kind in dict.fromkeys(names) if kind not in WELL_KNOWN]
    assert [*found[len(known) :]] == others
    for kind in found:
        assert typed_kinds(typed(kind), found) == (kind,)


def test_names_of_other_arrays_are_no_kinds():
    assert is_kind("mitochondria")
    assert not any(map(is_kind, ("image", "labels", "both", "all", "", "a b", "2nd", "a-b")))


def array(dtype="int32", axes="YX"):
    return ArrayInfo((4,) * len(axes), dtype, axes)


def test_label_images_of_an_entry_are_its_kinds():
    arrays = {
        "droplet": array("uint16"),
        "nuclear": array(),
        "image": array("uint16"),
        "labels": array(),
        "probability": array("float32"),
        "colours": array("uint8", "YXC"),
        "whole_cell": array("int64"),
    }
    assert kinds_in(arrays, "labels") == ("whole_cell", "nuclear", "droplet")
    with pytest.raises(BadInput, match="labels of image 'a': expected label images by kind") as no:
        kinds_in({"image": array()}, "labels of image 'a'")
    assert str(no.value).endswith("found image")
    with pytest.raises(BadInput, match="found no arrays"):
        kinds_in({}, "labels of image 'a'")


def test_what_objects_are_called():
    assert [singular(kind) for kind in WELL_KNOWN] == ["cell", "nucleus"]
    assert [plural(kind) for kind in WELL_KNOWN] == ["cells", "nuclei"]
    assert singular("lipid_droplet") == plural("lipid_droplet") == "lipid droplet"


def test_one_plane_goes_for_all_and_two_are_told_apart():
    planes = np.arange(24).reshape(3, 4, 2)
    one = planes_of(planes[..., 0], WELL_KNOWN, "truth")
    assert all(np.array_equal(plane, planes[..., 0]) for plane in one.values())
    two = planes_of(planes, ("nuclear",), "truth")
    assert np.array_equal(two["nuclear"][:], planes[..., 1])
    with pytest.raises(BadInput, match="truth: expected one plane, or two"):
        planes_of(np.zeros((3, 4, 3)), WELL_KNOWN, "truth")
    with pytest.raises(BadInput, match="truth: expected one plane, of droplets, found two: whole"):
        planes_of(planes, ("nuclear", "droplets"), "truth")
