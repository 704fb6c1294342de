"""What decides the scale an image is segmented at, in which order, and what is refused."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellmill.errors import BadInput
from cellmill.models.card import InputChannel, ModelInput, known_cards
from cellmill.preprocessing import parsed_diameter, scaling_of
from cellmill.preprocessing.scale import MOST_SCALING, check_diameter_known
from tests.preprocessing.test_object_size import nuclei

MESMER = known_cards()["Mesmer"]
#: A card that knows its objects' size, 30 px and 15 µm, and prescribes no pixel size.
SIZED = replace(
    MESMER,
    default_compartment="nuclear",
    input=ModelInput(
        (InputChannel("nuclear"),),
        object_diameter={"nuclear": 30.0, "whole_cell": 50.0},
        object_diameter_um={"nuclear": 15.0},
        scale_tolerance=1.5,
    ),
)
BLANK = np.zeros((400, 600, 1), np.uint8)


@pytest.mark.parametrize(
    ("text", "told"),
    [("", None), (" ", None), ("auto", "auto"), (" AUTO ", "auto"), ("30", 30.0), ("1e2", 100.0)],
)
def test_what_users_type(text, told):
    assert parsed_diameter(text) == told


@pytest.mark.parametrize("text", ["-3", "0", "abc", "nan", "inf", "30 px", "3,5", "autos"])
def test_nonsense_is_refused_in_one_line(text):
    with pytest.raises(
        BadInput, match=r"^diameter: expected the objects' diameter in pixels, or a"
    ):
        parsed_diameter(text)


@given(st.floats(2, 400), st.integers(1, 5000), st.integers(1, 5000))
def test_a_told_diameter_is_brought_to_the_trained_one(diameter, height, width):
    image = np.broadcast_to(np.uint8(0), (height, width, 1))
    if diameter > min(height, width):
        with pytest.raises(BadInput, match=f"shorter side, {min(height, width)} px"):
            scaling_of(image, SIZED, diameter=diameter)
        return
    found = scaling_of(image, SIZED, diameter=diameter)
    assert (found.by, found.diameter, found.network_diameter) == ("diameter", diameter, 30)
    for new, old in zip(found.shape, (height, width), strict=True):
        assert abs(new - old * 30 / diameter) <= 0.5


@given(st.floats(4, 100), st.sampled_from([2, 3, 4, 8]), st.integers(100, 900))
def test_an_image_k_times_as_large_with_k_times_the_diameter_has_the_same_scale(
    diameter, zoom, side
):
    small = np.broadcast_to(np.uint8(0), (side, side + 7, 1))
    large = np.broadcast_to(np.uint8(0), (side * zoom, (side + 7) * zoom, 1))
    one, other = (
        scaling_of(image, SIZED, diameter=told).shape
        for image, told in ((small, diameter), (large, diameter * zoom))
    )
    assert one == other


def test_the_diameter_is_of_what_is_segmented():
    assert scaling_of(BLANK, SIZED, diameter=50, kind="whole_cell").shape == (400, 600)
    assert scaling_of(BLANK, SIZED, diameter=50, kind="nuclear").shape == (240, 360)
    assert scaling_of(BLANK, SIZED, diameter=50).kind == "nuclear"


def test_pixels_that_are_not_square_become_so():
    found = scaling_of(BLANK, SIZED, diameter=30, mpp=(0.5, 0.125))
    assert found.shape == (800, 300)
    scales = np.divide(found.shape, BLANK.shape[:2])
    assert math.prod(scales) == pytest.approx(1)
    assert scales[0] / scales[1] == pytest.approx(0.5 / 0.125)


@pytest.mark.parametrize("diameter", [30 / MOST_SCALING - 0.01, 0.001, 401, 1e9])
def test_a_diameter_that_no_object_of_the_image_has_is_refused(diameter):
    with pytest.raises(BadInput, match=r"diameter of the objects in image 'a': expected 1\.9 px t"):
        scaling_of(BLANK, SIZED, diameter=diameter, what="image 'a'")


def test_a_card_without_diameters_takes_none():
    for diameter in (30.0, "auto"):
        with pytest.raises(BadInput, match=r"'Mesmer' does not say on which.*MPP=… brings"):
            scaling_of(np.zeros((90, 90, 2)), MESMER, diameter=diameter)
    with pytest.raises(BadInput, match="does not say on which diameter of cytoplasm"):
        check_diameter_known(SIZED, "cytoplasm")


def test_what_is_told_comes_before_the_pixel_size():
    mpp = (0.124, 0.124)
    image = nuclei(60)
    told = scaling_of(image, SIZED, diameter=60, mpp=mpp)
    auto = scaling_of(image, SIZED, diameter="auto", mpp=mpp)
    size = scaling_of(image, SIZED, mpp=mpp)
    none = scaling_of(image, SIZED)
    assert [each.by for each in (told, auto, size, none)] == ["diameter", "auto", "mpp", ""]
    assert told.shape == (256, 256)
    assert auto.diameter == auto.estimate.diameter != 60
    assert auto.shape == (round(512 * 30 / auto.diameter),) * 2
    assert size.shape == (int(512 * 0.124 / 0.5),) * 2
    assert none.shape == (512, 512)
    assert none.network_diameter == 30


@given(st.floats(0.01, 10))
def test_a_pixel_size_leaves_alone_what_the_network_was_trained_over(mpp):
    found = scaling_of(BLANK, SIZED, mpp=(mpp, mpp))
    expected = 15 / mpp
    if 20 <= expected <= 45 or expected > 400 or expected * MOST_SCALING < 30:
        assert (found.by, found.shape) == ("", (400, 600))
    else:
        assert found.by == "mpp"
        assert found.shape == (int(400 * mpp / 0.5), int(600 * mpp / 0.5))
        assert "px across" in found.remark
    assert found.diameter == pytest.approx(expected, abs=0.051)


def test_a_pixel_size_that_is_not_believed_is_remarked():
    found = scaling_of(BLANK, SIZED, mpp=(25.4, 25.4))
    assert (found.by, found.shape) == ("", (400, 600))
    assert found.remark == (
        "at 25.4 µm/px objects should be about 0.59 px across: not believed, so segmented at its "
        "own scale"
    )


@pytest.mark.parametrize("mpp", [(0.5, 0.5), (0.25, 0.4), (0.7, 0.6)])
def test_a_card_with_a_pixel_size_is_followed_exactly(mpp):
    image = np.zeros((150, 211, 2))
    found = scaling_of(image, MESMER, mpp=mpp)
    expected = tuple(int(n * m / 0.5) for n, m in zip(image.shape, mpp, strict=False))
    assert (found.by, found.shape, found.remark) == ("mpp", expected, "")
    assert scaling_of(image, MESMER).by == ""
    with pytest.raises(BadInput, match=r"at most 16 times .*found 25.4 µm/px \(XML\)"):
        scaling_of(image, MESMER, mpp=(25.4, 25.4), mpp_source="XML")


def test_an_estimate_is_told_with_what_it_rests_on():
    found = scaling_of(nuclei(60), SIZED, diameter="auto")
    estimate = found.estimate
    assert 60 / 1.5 < found.diameter < 60 * 1.5
    assert found.remark.startswith(f"objects of about {estimate.diameter:g} px, estimated (")
    assert f"({estimate.agreeing} of {estimate.voting} parts of the image agree)" in found.remark
    assert found.to_attributes()["estimate"]["diameter"] == found.diameter


@pytest.mark.parametrize(
    ("mpp", "by", "says"),
    [(None, "", "at its own scale"), ((0.124, 0.124), "mpp", "by its pixel size")],
)
def test_without_an_estimate_it_is_as_if_none_was_asked_for(mpp, by, says):
    found = scaling_of(BLANK, SIZED, diameter="auto", mpp=mpp)
    assert found.by == by
    assert (
        found.remark == f"diameter auto: nothing of a cell's size stands out, so segmented {says}"
    )
    assert found.shape == scaling_of(BLANK, SIZED, mpp=mpp).shape


def test_the_estimate_is_of_the_kind_that_a_channel_shows():
    both = replace(
        SIZED,
        input=replace(SIZED.input, channels=(InputChannel("membrane"), *SIZED.input.channels)),
    )
    image = np.concatenate([nuclei(120), nuclei(40)], axis=-1)
    found = scaling_of(image, both, diameter="auto", kind="whole_cell")
    assert (found.kind, found.network_diameter) == ("nuclear", 30)
    assert 40 / 1.5 < found.diameter < 40 * 1.5
