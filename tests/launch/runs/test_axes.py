"""What a user sets to be tuned is one parameter of the pipeline, under the names of old."""

import pytest

from cellmill.errors import BadInput
from launch import ROOT
from launch.runs.axes import axes_of, axis_settings, json_object
from launch.runs.settings import arguments_of, parameters_of, settings_of

PARAMETERS = parameters_of(ROOT / "pipelines" / "tuning" / "pipeline.yaml")
#: The settings of `make run-tuning` from its first day.
NAMES = (
    *("maxima_threshold", "maxima_smooth", "interior_threshold", "interior_smooth"),
    *("pixel_expansion", "radius", "small_objects_fraction"),
)


def arguments(*argv):
    given = settings_of("tuning", PARAMETERS, {}, argv)
    return arguments_of(PARAMETERS, given, [], 1, list)


def test_each_parameter_that_a_method_tunes_is_a_setting():
    assert set(NAMES) <= set(axis_settings())
    assert all(text for text in axis_settings().values())


@pytest.mark.parametrize("name", NAMES)
def test_make_s_variables_keep_their_names(name, monkeypatch):
    monkeypatch.setenv(name.upper(), "1,2")
    monkeypatch.setenv("CELLMILL_SETTINGS", name.upper())
    assert arguments("--make")["axes"] == {name: "1,2"}


def test_a_flag_each_and_all_at_once_come_together():
    assert arguments()["axes"] == {}
    given = arguments("--axes", '{"radius": [2, 3], "label_erosion": [0, 1]}', "--radius", "4")
    assert given["axes"] == {"radius": "4", "label_erosion": [0, 1]}


@pytest.mark.parametrize("text", ["2,3", "[2]", '"x"', "{", "7"])
def test_what_is_no_object_is_one_line(text):
    with pytest.raises(BadInput, match="AXES: expected a JSON object") as error:
        axes_of({"axes": text})
    assert "\n" not in str(error.value)
    with pytest.raises(BadInput, match="PARAMETERS: expected a JSON object"):
        arguments("--parameters", text)
    assert json_object("PARAMETERS", "") == {}


def test_a_setting_that_is_taken_is_tuned_by_axes_alone():
    assert "radius" not in axis_settings(taken=["radius"])


def test_a_slip_is_told(monkeypatch):
    monkeypatch.setenv("CELLMILL_SETTINGS", "RADUIS")
    with pytest.raises(BadInput, match="setting RADUIS: expected RADIUS"):
        arguments("--make")
