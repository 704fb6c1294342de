"""A pipeline that feeds labels where images are wanted is refused with one line."""

import copy
import doctest

import pytest
import yaml
from kfp import dsl

from components.export_labels.component import export_labels
from components.fetch_model.component import fetch_model
from components.measure.component import measure
from components.metrics.component import metrics
from components.postprocess.component import postprocess
from components.predict.component import predict
from components.preprocess.component import preprocess
from components.summarize.component import summarize
from components.tiff_to_npz.component import tiff_to_npz
from launch import ROOT
from launch.compiling import kinds
from launch.compiling.compiled import pipeline_names, to_yaml
from launch.compiling.lint_ir import lint

SLIDES = yaml.safe_load((ROOT / "pipelines/slide_segmentation/pipeline.yaml").read_text())


def lines_of(spec):
    return list(lint(yaml.safe_dump(spec, sort_keys=False)))


def lines(pipeline):
    return [line for line in lint(to_yaml(pipeline)) if "expected" in line]


def test_the_marks_of_kinds_are_read_as_documented():
    assert doctest.testmod(kinds).failed == 0


def test_labels_for_images_are_one_line():
    @dsl.pipeline(name="p")
    def miswired(items: list[dict[str, str]]):
        read = tiff_to_npz(items=items)
        measure(images=read.outputs["truth"], labels=read.outputs["images"])

    assert lines(miswired) == [
        "root: task 'measure': input 'images': expected cellmill.Images, found "
        "cellmill.GroundTruth (from 'tiff-to-npz.truth')",
        "root: task 'measure': input 'labels': expected cellmill.Labels, found "
        "cellmill.Images (from 'tiff-to-npz.images')",
    ]


def test_an_input_of_two_kinds_takes_both_and_no_third():
    @dsl.pipeline(name="p")
    def wired(items: list[dict[str, str]]):
        model = fetch_model().outputs["model"]
        read = tiff_to_npz(items=items)
        shown = preprocess(images=read.outputs["images"], model=model).outputs["preprocessed"]
        heads = predict(preprocessed=shown, model=model).outputs["predictions"]
        labels = postprocess(predictions=heads).outputs["labels"]
        metrics(labels=labels, truth=labels)
        metrics(labels=labels, truth=read.outputs["truth"])
        metrics(labels=labels, truth=heads)

    assert lines(wired) == [
        "root: task 'metrics-3': input 'truth': expected cellmill.GroundTruth or cellmill.Labels, "
        "found cellmill.Predictions (from 'predict.predictions')"
    ]


def test_loops_collected_lists_and_pipelines_within_hide_nothing():
    @dsl.pipeline(name="inner")
    def inner(labels: dsl.Input[dsl.Dataset]) -> dsl.Dataset:
        return export_labels(labels=labels).outputs["label_images"]

    @dsl.pipeline(name="p")
    def miswired(batches: list[list[dict[str, str]]]):
        with dsl.ParallelFor(batches) as items:
            read = tiff_to_npz(items=items)
            inner(labels=read.outputs["images"])
        summarize(reports=dsl.Collected(read.outputs["images"]))

    assert lines(miswired) == [
        "comp-inner: task 'export-labels': input 'labels': expected cellmill.Labels, found "
        "cellmill.Images (from 'tiff-to-npz.images')",
        "root: task 'summarize': input 'reports': expected cellmill.Reports, found "
        "cellmill.Images (from 'tiff-to-npz.images')",
    ]


@dsl.container_component
def strangers(table: dsl.Output[dsl.Dataset], anything: dsl.Output[dsl.Artifact]):
    """Make what says nothing of kinds."""
    return dsl.ContainerSpec(image="r.example/x", command=["make"])


@dsl.container_component
def strangers_reader(table: dsl.Input[dsl.Dataset]):
    """Read any dataset."""
    return dsl.ContainerSpec(image="r.example/x", command=["read"])


def test_a_strangers_component_can_be_wired_to_ours_by_kfps_type():
    @dsl.pipeline(name="p")
    def wired():
        made = strangers()
        strangers_reader(table=export_labels(labels=made.outputs["table"]).outputs["label_images"])
        export_labels(labels=made.outputs["anything"])

    assert lines(wired) == []
    broken = yaml.safe_load(to_yaml(wired))
    made = broken["components"]["comp-strangers"]["outputDefinitions"]["artifacts"]["table"]
    made["artifactType"]["schemaTitle"] = "system.Model"
    assert [line for line in lines_of(broken) if "expected" in line] == [
        "root: task 'export-labels': input 'labels': expected cellmill.Labels, found "
        "system.Model (from 'strangers.table')"
    ]


@pytest.mark.parametrize("name", pipeline_names())
def test_what_is_committed_is_wired_by_kinds(name):
    """Each artifact that goes from a task of ours to another has a kind, so that it is checked."""
    text = (ROOT / "pipelines" / name / "pipeline.yaml").read_text()
    assert lines_of(yaml.safe_load(text)) == []
    for component in yaml.safe_load(text)["components"].values():
        for artifact in component.get("inputDefinitions", {}).get("artifacts", {}).values():
            assert "dag" in component or kinds.kinds_in(artifact["description"])[0]


def test_a_pipeline_that_holds_itself_ends():
    broken = copy.deepcopy(SLIDES)
    loop = broken["components"]["comp-for-loop-1"]["dag"]["tasks"]
    loop["slide-shards"]["componentRef"]["name"] = "comp-for-loop-1"
    assert any("which is not there" in line for line in lines_of(broken))
