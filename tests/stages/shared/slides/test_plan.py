"""Slides are cut into whole units; a plan is what plan_slide wrote, or it is refused."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellmill.arrays.windows import Box
from cellmill.errors import BadInput
from cellmill.models.card import Preprocessing, known_cards
from cellmill.preprocessing.normalisation import normalisation_of
from cellmill.segmentation.methods import recipes_of
from cellmill.stages.shared.slides.plan import SlidePlan, check_shard, map_sources, shard_boxes


@given(
    shape=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    most=st.integers(1, 40),
    unit=st.sampled_from([16, 32, 100]),
)
def test_shards_cover_the_slide_once_in_whole_units(shape, most, unit):
    boxes = shard_boxes(shape, most, unit)
    assert 1 <= len(boxes) <= most
    seen = np.zeros(shape, np.uint8)
    for box in boxes:
        seen[box.slices] += 1
        assert box.y0 % unit == box.x0 % unit == 0
        assert box.y1 % unit == 0 or box.y1 == shape[0]
        assert box.x1 % unit == 0 or box.x1 == shape[1]
    assert (seen == 1).all()


def test_a_slide_of_709_megapixels_is_shared_out_among_tens_of_tasks():
    boxes = shard_boxes((27_120, 26_139), 64)
    assert len(boxes) == 49
    sizes = [math.prod(box.shape) for box in boxes]
    assert max(sizes) <= 4096**2


def made():
    image = np.arange(60, dtype=np.uint16).reshape(5, 6, 2)
    normalisation = normalisation_of(image, Preprocessing(method="none"))
    return SlidePlan(
        name="slide",
        store="gs://bucket/slide",
        shape=(5, 6),
        channels=(1, -1),
        normalisation=normalisation,
        compartments=("whole_cell", "nuclear"),
        shards=(Box(0, 5, 0, 4), Box(0, 5, 4, 6)),
        fingerprint="f" * 64,
    )


def test_a_plan_is_read_as_it_was_written():
    assert SlidePlan.of({"plan": made().to_dict()}, "slide") == made()


@pytest.mark.parametrize("value", [None, "x", 7, ["a b"], [None]])
@pytest.mark.parametrize(
    "key", ["plan", "shape", "channels", "normalisation", "compartments", "shards"]
)
def test_a_damaged_plan_is_one_line(key, value):
    attributes = {"plan": {**made().to_dict(), key: value}}
    if key == "plan":
        attributes = {"plan": value}
    with pytest.raises(BadInput, match=r"^plan of 'slide'[^\n]*$"):
        SlidePlan.of(attributes, "slide")


@pytest.mark.parametrize("key", [*made().to_dict()])
def test_a_plan_that_lacks_something_is_refused(key):
    values = made().to_dict()
    del values[key]
    with pytest.raises(BadInput, match=f"^plan of 'slide'.*{key}"):
        SlidePlan.of({"plan": values}, "slide")


def test_a_shard_has_a_number():
    check_shard(0)
    with pytest.raises(BadInput, match="found -1"):
        check_shard(-1)


def test_only_the_maps_that_are_read_later_are_kept():
    card = known_cards()["Mesmer"]
    both = map_sources(card, recipes_of(card, ("whole_cell", "nuclear")))
    assert [*both] == [
        *("whole_cell_maxima", "whole_cell_interior", "nuclear_maxima", "nuclear_interior")
    ]
    nuclear = map_sources(card, recipes_of(card, ("nuclear",)))
    assert [*nuclear] == ["nuclear_maxima", "nuclear_interior"]
    heads = {head.name: head.channels for head in card.heads}
    assert all(kept.channels < heads[kept.head] and not kept.depth for kept in both.values())
