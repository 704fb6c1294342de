"""Forms for other programs that images cannot have are refused before anything runs."""

import pytest

from cellmill.errors import BadInput
from launch import ROOT
from launch.run import main
from launch.runs.settings import arguments_of, parameters_of, settings_of

PIPELINES = ("deepcell_segmentation", "slide_segmentation", "pixel_classification", "restoration")


def export_of(name, *argv):
    parameters = parameters_of(ROOT / "pipelines" / name / "pipeline.yaml")
    given = settings_of(name, parameters, {}, argv)
    return arguments_of(parameters, given, [], 1, list)["export"]


@pytest.mark.parametrize("name", PIPELINES)
def test_what_images_can_have_is_handed_on(name):
    assert export_of(name) == ""
    assert export_of(name, "--export", "cellpose anndata") == "cellpose,anndata"
    assert export_of(name, "--export", "tracking", "--t", "all") == "tracking"


@pytest.mark.parametrize("form", ["geojson", "rois"])
def test_forms_of_planes_are_refused_for_volumes(form):
    line = f"EXPORT: expected one plane for {form}; of a volume: anndata, spatialdata, cellpose"
    # A restoration takes volumes unless a plane is named.
    for name, *argv in (("deepcell_segmentation", "--z", "all"), ("restoration",)):
        with pytest.raises(BadInput, match=line):
            export_of(name, *argv, "--export", f"anndata,{form}")
    assert export_of("restoration", "--z", "3", "--export", form) == form
    assert export_of("deepcell_segmentation", "--export", form) == form


def test_a_form_of_series_is_refused_for_single_images():
    with pytest.raises(BadInput, match="EXPORT: expected T=all beside tracking, found T=3"):
        export_of("deepcell_segmentation", "--export", "tracking", "--t", "3")


def test_a_run_is_refused_in_one_line_and_leaves_nothing(tmp_path, capsys):
    given = ["--z", "all", "--export", "geojson", "--output", f"{tmp_path}/run"]
    assert main(["deepcell_segmentation", *given]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "run").exists()
