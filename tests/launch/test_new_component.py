"""`make new-component` writes a stage and its test; the stage alone makes the component."""

import pytest

from cellmill.errors import BadInput
from launch.new_component import new_component


@pytest.fixture
def make(tmp_path):
    def made(name="count_spots", image="imaging", family="segmentation"):
        return new_component(tmp_path, name, image=image, family=family)

    return made


def test_the_stage_and_its_test_are_written(make):
    stage, test = make(family="measurement")
    assert '@stage(image="imaging", family="measurement")\ndef count_spots(' in stage.read_text()
    assert test.name == "test_count_spots.py"


@pytest.mark.parametrize("name", ["", "Decon", "2d", "class", "a-b", "../x"])
def test_names_that_are_none_are_refused(make, tmp_path, name):
    with pytest.raises(BadInput, match="NAME"):
        make(name)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_taken_is_refused(make):
    make()
    with pytest.raises(BadInput, match="a name that is free"):
        make()


def test_an_image_or_a_family_that_is_not_there_is_refused(make):
    with pytest.raises(BadInput, match="ENVIRONMENT: expected one of"):
        make(image="marble")
    with pytest.raises(BadInput, match="FAMILY: expected one of"):
        make(family="marbles")
