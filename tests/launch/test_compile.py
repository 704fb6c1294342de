"""A stage function alone makes a component, and what differs from its stage is named."""

import shutil
import subprocess
import sys

import pytest

from cellmill.contract import HTML, Output, stage
from cellmill.contract.spec import StageSpec
from cellmill.errors import BadInput
from launch import ROOT
from launch.compiling.component_source import component_source

PARTS = ("cellmill", "components", "docs", "images", "launch", "pipelines", "tests/stages")


@pytest.fixture
def clone(tmp_path):
    """Give a copy of the tree, and what runs a module in it: its exit status and output."""
    for part in PARTS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / part, tmp_path / part, ignore=ignored)

    def run(*module, says=""):
        done = subprocess.run(
            [sys.executable, "-m", *module],
            cwd=tmp_path,
            env={"PATH": "", "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.stderr == says
        return done.returncode, done.stdout.splitlines()

    return tmp_path, run


def test_a_stage_alone_makes_a_component(clone):
    tree, run = clone
    assert run("launch.new_component", "count_spots")[0] == 0
    code, lines = run("launch.compile", "--check")
    assert (code, lines) == (1, ["components/count_spots/component.py: out of date (make compile)"])

    code, lines = run("launch.compile")
    made = [f"components/count_spots/{file}" for file in ("component.py", "component.yaml")]
    assert (code, lines) == (
        0,
        [
            f"{path}: written"
            for path in (*made, "components/count_spots/README.md", "components/README.md")
        ],
    )
    assert "[count_spots](count_spots/README.md)" in (tree / "components/README.md").read_text()
    assert run("launch.compile", "--check") == (0, [])

    # What a hand changed is named, and so is a component whose stage is gone.
    source = tree / "components/predict/component.py"
    source.write_text(source.read_text().replace("batch_size: int = ", "batch_size: int = 1"))
    (tree / "cellmill/stages/count_spots.py").unlink()
    files = ("README.md", "component.py", "component.yaml")
    gone = [f"components/count_spots/{file}" for file in files]
    code, lines = run("launch.compile", "--check")
    assert code == 1
    assert lines == [
        "components/predict/component.py: out of date (make compile)",
        *(f"{path}: nothing is left that it is made from (make compile)" for path in gone),
    ]
    code, lines = run("launch.compile")
    assert code == 0
    assert {f"{path}: removed" for path in gone} < set(lines)
    assert run("launch.compile", "--check") == (0, [])

    # A pipeline that is wired wrongly is not compiled.
    source = tree / "pipelines/tuning/pipeline.py"
    wrong = source.read_text().replace('converted.outputs["images"]', 'converted.outputs["truth"]')
    source.write_text(wrong)
    says = (
        "cellmill: pipelines/tuning/pipeline.yaml: comp-for-loop-1: task 'preprocess': input "
        "'images': expected cellmill.Images, found cellmill.GroundTruth (from 'tiff-to-npz.truth')"
    )
    assert run("launch.compile", says=f"{says}\n")[0] == 2


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        (None, "stage 'page': expected @stage"),
        (stage(image="marble", family="reporting"), "stage 'page': image: expected one of"),
        (stage(image="imaging", family="marbles"), "stage 'page': family: expected one of"),
    ],
)
def test_a_stage_that_does_not_say_where_it_runs_is_refused(mark, message):
    def page(html: Output[HTML]) -> None:
        """Write a page.

        Args:
            html: the page.
        """

    with pytest.raises(BadInput, match=message):
        component_source(StageSpec.of(mark(page) if mark else page))
