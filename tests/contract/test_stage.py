"""A stage runs the same from KFP's executor input and by hand; its outputs are whole or absent."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pytest

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.contract import (
    HTML,
    Dataset,
    GroundTruth,
    Input,
    Labels,
    Metrics,
    Model,
    Output,
    Record,
    for_each_image,
)
from cellmill.contract.cli import _value, parser
from cellmill.contract.runtime import (
    FAILURE_FILE,
    Bound,
    check_parameter,
    run_executor_input,
    run_stage,
)
from cellmill.contract.spec import StageSpec, stage_names, stage_summary
from cellmill.errors import BadInput, CellmillError

ROOT = Path(__file__).parents[2]


class Counted(NamedTuple):
    count: int


def scale(
    images: Input[Dataset],
    scaled: Output[Dataset],
    page: Output[HTML],
    metrics: Output[Metrics],
    record: Output[Record],
    model: Input[Model] | None = None,
    factor: float = 2.0,
    times: int = 1,
    mode: Literal["", "fast"] = "",
    items: list[str] = [],  # noqa: B006
    exact: bool = True,
    on_bad_image: Literal["fail", "skip"] = "fail",
) -> Counted:
    """Scale images.

    More of it.

    Args:
        images: images to scale,
            on a second line.
        scaled: the scaled images.
        page: a page.
        metrics: numbers.
        record: the record.
        model: a model.
        factor: by how much.
        times: how often.
        mode: how.
        items: things.
        exact: whether.
        on_bad_image: what to do.

    Returns:
        count: how many there were.
    """
    source = Batch.open(images.path)
    with BatchWriter(scaled.path) as out:

        def work(entry: Entry) -> None:
            image = source.read(entry, "image")
            if image.max() == 0:
                raise BadInput(f"image '{entry.name}'", expected="some light", found="none")
            with record.step("multiply"):
                out.write(entry.name, {"image": image * factor}, axes={"image": "YX"})

        for_each_image(source, work, writers=[out], record=record, on_bad_image=on_bad_image)
    page.path.write_text("<p>")
    metrics.metadata["factor"] = factor
    record.note(mode=mode)
    return Counted(len(source.entries))


SPEC = StageSpec.of(scale)


@pytest.fixture
def images(tmp_path):
    with BatchWriter(tmp_path / "images") as out:
        for name, value in (("a", 1), ("dark", 0), ("c", 3)):
            out.write(name, {"image": np.full((2, 2), value, "f4")}, axes={"image": "YX"})
    return tmp_path / "images"


def executor_input(tmp_path, images, **parameters):
    def artifact(name, kind):
        place = {"name": name, "uri": str(tmp_path / "task" / name), "metadata": {}}
        return {"artifacts": [{**place, "type": {"schemaTitle": kind}}]}

    return {
        "inputs": {
            "parameterValues": parameters,
            "artifacts": {"images": {"artifacts": [{"name": "images", "uri": str(images)}]}},
        },
        "outputs": {
            "parameters": {"count": {"outputFile": str(tmp_path / "task" / "count")}},
            "artifacts": {
                "scaled": artifact("scaled", "system.Dataset"),
                "page": artifact("page", "system.HTML"),
                "metrics": artifact("metrics", "system.Metrics"),
                "record": artifact("record", "system.Artifact"),
            },
            "outputFile": str(tmp_path / "task" / "executor_output.json"),
        },
    }


def test_the_interface_is_read_from_signature_and_docstring():
    assert (SPEC.name, SPEC.summary, SPEC.description) == (
        "scale",
        "Scale images.",
        "Scale images.\n\nMore of it.",
    )
    assert [(i.name, i.type, i.optional) for i in SPEC.inputs] == [
        ("images", Dataset, False),
        ("model", Model, True),
    ]
    assert SPEC.inputs[0].description == "images to scale, on a second line."
    assert [o.name for o in SPEC.outputs] == ["scaled", "page", "metrics", "record"]
    assert SPEC.record == "record"
    kinds = {p.name: (p.type, p.default, p.choices) for p in SPEC.parameters}
    assert kinds["mode"] == (str, "", ("", "fast"))
    assert kinds["items"][0] is list
    assert kinds["exact"] == (bool, True, ())
    assert [(r.name, r.type, r.description) for r in SPEC.results] == [
        ("count", int, "how many there were.")
    ]


def test_executor_input_runs_the_stage_and_names_every_output(tmp_path, images):
    text = json.dumps(executor_input(tmp_path, images, factor=3, times=2.0, on_bad_image="skip"))
    run_executor_input(SPEC, text)
    answer = json.loads((tmp_path / "task" / "executor_output.json").read_text())
    assert set(answer["artifacts"]) == {"scaled", "page", "metrics", "record"}
    assert answer["artifacts"]["metrics"]["artifacts"][0]["metadata"] == {"factor": 3.0}
    assert answer["parameterValues"] == {"count": 3}
    assert (tmp_path / "task" / "count").read_text() == "3"
    batch = Batch.open(tmp_path / "task" / "scaled")
    assert [e.ok for e in batch.entries] == [True, False, True]
    assert batch.read(batch.entry("c"), "image").tolist() == [[9, 9], [9, 9]]


def test_the_record_says_what_was_done(tmp_path, images):
    run_executor_input(SPEC, json.dumps(executor_input(tmp_path, images, on_bad_image="skip")))
    record = json.loads((tmp_path / "task" / "record").read_text())
    assert record["stage"] == "scale"
    assert record["parameters"]["factor"] == 2.0
    assert record["inputs"]["images"].startswith("sha256:")
    statuses = {i["name"]: i["status"] for i in record["images"]}
    assert statuses == {"a": "ok", "dark": "skipped", "c": "ok"}
    assert record["images"][0]["steps"][0]["name"] == "multiply"
    assert record["libraries"]["numpy"] == np.__version__
    assert record["totals"]["peak_rss_bytes"] > 1 << 20
    assert record["totals"]["bytes_written"] >= 2 * 16
    assert record["notes"] == {"mode": ""}


def test_a_bad_image_fails_the_stage_and_leaves_no_output(tmp_path, images):
    with pytest.raises(BadInput, match="image 'dark': expected some light, found none"):
        run_executor_input(SPEC, json.dumps(executor_input(tmp_path, images)))
    assert [p.name for p in (tmp_path / "task").rglob("*") if p.is_file()] == [FAILURE_FILE]


def test_a_batch_of_bad_images_fails_even_when_skipping(tmp_path):
    with BatchWriter(tmp_path / "images") as out:
        out.write("d", {"image": np.zeros((2, 2))}, axes={"image": "YX"})
    with pytest.raises(BadInput, match="all 1 images"):
        run_executor_input(
            SPEC, json.dumps(executor_input(tmp_path, tmp_path / "images", on_bad_image="skip"))
        )
    assert [p.name for p in (tmp_path / "task").rglob("*") if p.is_file()] == [FAILURE_FILE]


def test_a_missing_input_is_named(tmp_path):
    with pytest.raises(BadInput, match="input 'images'"):
        run_executor_input(SPEC, json.dumps(executor_input(tmp_path, tmp_path / "none")))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"outputs": {"outputFile": "/tmp/x"}}'])
def test_what_is_no_executor_input_is_refused_in_one_line(text):
    with pytest.raises(BadInput, match="--executor-input") as caught:
        run_executor_input(SPEC, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("factor", "2"), ("times", 1.5), ("times", True), ("mode", "slow"), ("exact", 1)],
)
def test_a_parameter_of_another_type_is_refused(name, value):
    (declared,) = (p for p in SPEC.parameters if p.name == name)
    with pytest.raises(BadInput, match=f"parameter '{name}'"):
        check_parameter(declared, {name: value})


def relabel(labels: Input[Labels | GroundTruth], relabelled: Output[Labels]) -> None:
    """Number labels anew.

    Args:
        labels: label images.
        relabelled: the same.
    """
    relabelled.path.write_bytes(labels.path.read_bytes())


@pytest.mark.parametrize("kind", ["", "cellmill.Labels", "cellmill.GroundTruth", "cellmill.Images"])
def test_an_artifact_of_another_kind_is_refused(kind, tmp_path):
    """What a task makes says its kind; what says none, as a stranger's, is taken on trust."""
    (tmp_path / "given").write_text("x")
    metadata = {"kind": kind} if kind else {}
    given = {"name": "g", "uri": str(tmp_path / "given"), "metadata": metadata}
    made = {"name": "m", "uri": str(tmp_path / "made"), "metadata": {}}
    asked = {
        "inputs": {"artifacts": {"labels": {"artifacts": [given]}}},
        "outputs": {
            "artifacts": {"relabelled": {"artifacts": [made]}},
            "outputFile": str(tmp_path / "task" / "executor_output.json"),
        },
    }
    if kind == "cellmill.Images":
        message = "expected cellmill.GroundTruth or cellmill.Labels, found cellmill.Images"
        with pytest.raises(BadInput, match=message):
            run_executor_input(StageSpec.of(relabel), json.dumps(asked))
        assert not (tmp_path / "made").exists()
        return
    run_executor_input(StageSpec.of(relabel), json.dumps(asked))
    answer = json.loads((tmp_path / "task" / "executor_output.json").read_text())
    (relabelled,) = answer["artifacts"]["relabelled"]["artifacts"]
    assert relabelled["metadata"] == {"kind": "cellmill.Labels"}


def test_an_output_that_is_not_written_is_an_error(tmp_path, images):
    def forgetful(page: Output[HTML], record: Output[Record]) -> None:
        """Forget.

        Args:
            page: never written.
            record: the record.
        """

    bound = Bound(
        outputs={"page": HTML(tmp_path / "p"), "record": Record(tmp_path / "r")},
    )
    with pytest.raises(RuntimeError, match="'page' was not written"):
        run_stage(StageSpec.of(forgetful), bound)
    assert not (tmp_path / "r").exists()


def test_metadata_over_500_bytes_is_an_error(tmp_path):
    def chatty(page: Output[HTML]) -> None:
        """Say much.

        Args:
            page: a page.
        """
        page.path.write_text("")
        page.metadata["x"] = "x" * 500

    with pytest.raises(ValueError, match="metadata of 'page'"):
        run_stage(StageSpec.of(chatty), Bound(outputs={"page": HTML(tmp_path / "p")}))


def test_an_undescribed_parameter_is_no_stage():
    def silent(page: Output[HTML]) -> None:
        """Say nothing."""

    with pytest.raises(TypeError, match="'page' is not described"):
        StageSpec.of(silent)


def test_flags_are_made_from_the_signature():
    made = parser(SPEC)
    paths = ["--images", "i", "--scaled", "s", "--page", "p"]
    values = vars(made.parse_args([*paths, "--factor", "-1", "--no-exact", "--items", "a", "b"]))
    assert values["factor"] == "-1"
    assert values["exact"] is False
    assert values["items"] == ["a", "b"]
    assert "by how much" in made.format_help()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scaled", "s", "--page", "p"], "--images"),
        (["--images", "i", "--scaled", "s", "--page", "p", "--wrong", "1"], "--wrong"),
    ],
)
def test_bad_flags_are_one_line(arguments, message):
    with pytest.raises(CellmillError, match=message) as caught:
        parser(SPEC).parse_args(arguments)
    assert "\n" not in str(caught.value)


def test_flags_have_the_parameters_types():
    by_name = {p.name: p for p in SPEC.parameters}
    assert _value(by_name["items"], ['["x", 1]']) == ["x", 1]
    assert _value(by_name["items"], ["a", '{"b": 1}']) == ["a", {"b": 1}]
    assert _value(by_name["factor"], "1e-3") == 0.001
    with pytest.raises(BadInput, match="--times: expected int, found 'x'"):
        _value(by_name["times"], "x")


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "cellmill", *arguments], capture_output=True, text=True, cwd=ROOT
    )


def test_help_lists_every_stage_with_its_summary():
    done = run("--help")
    assert done.returncode == 0
    for name in stage_names():
        assert name in done.stdout
        assert stage_summary(name).endswith(".")
        assert stage_summary(name) in done.stdout


def test_an_unknown_stage_is_one_line_and_exit_code_2():
    done = run("segmentify")
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "found segmentify" in done.stderr


def test_the_command_line_needs_only_numpy():
    code = (
        "import sys; before = set(sys.modules); import cellmill.contract.cli, cellmill.__main__;"
        "loaded = set(sys.modules) - before;"
        "heavy = {m.split('.')[0] for m in loaded} - set(sys.stdlib_module_names);"
        "print(sorted(m for m in heavy if not m.startswith('_')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert set(eval(done.stdout)) <= {"cellmill", "numpy"}


@pytest.mark.parametrize("name", stage_names())
def test_every_stage_has_a_help_and_a_record(name):
    spec = StageSpec.load(name)
    assert spec.record == "record"
    assert spec.summary.endswith(".")
    assert "--record" in parser(spec).format_help()
    for parameter in spec.parameters:
        assert parameter.default is not None, f"{parameter.name}: parameters use sentinels"
