"""What the documents name is there: files, make's targets and settings; examples of a clone run."""

import os
import re
import subprocess
import sys

import pytest

from launch import ROOT
from tests.documents.examples import examples_of, make_calls

DOCUMENTS = [
    *(p for p in (ROOT / "README.md", ROOT / "CONTRIBUTING.md") if p.is_file()),
    *sorted((ROOT / "docs").rglob("*.md")),
]
TEXTS = {str(path.relative_to(ROOT)): path.read_text() for path in DOCUMENTS}
EXAMPLES = [e for name, text in TEXTS.items() for e in examples_of(text, name)]
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
#: Names that make reads: those that it hands on, and those that a target takes.
SETTINGS = {
    *re.search(r"^SETTINGS := ((?:.*\\\n)*.*)", MAKEFILE, re.MULTILINE)[1]
    .replace("\\", "")
    .split(),
    *re.findall(r"\$\$?[({]?([A-Z][A-Z_]+)", MAKEFILE),
}


@pytest.mark.parametrize("name", TEXTS)
def test_files_are_there(name):
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", TEXTS[name]):
        assert ((ROOT / name).parent / link).exists(), link


@pytest.mark.parametrize("name", TEXTS)
def test_make_targets_that_the_text_names_are_there(name):
    assert set(re.findall(r"`make ([a-z][a-z-]+)", TEXTS[name])) <= TARGETS


@pytest.mark.parametrize(
    "example", [e for e in EXAMPLES if e.language == "console"], ids=lambda e: e.place
)
def test_calls_of_make_are_ones_that_it_knows(example):
    calls = make_calls(example.code)
    assert not calls or example.kind in ("clone", "cloud"), "make needs a clone"
    for target, settings in calls:
        assert target in TARGETS
        assert set(settings) <= SETTINGS


@pytest.mark.parametrize(
    "example",
    [e for e in EXAMPLES if e.language == "python" and e.kind == "clone"],
    ids=lambda e: e.place,
)
def test_python_of_a_clone_runs_in_one(example):
    done = subprocess.run(
        [sys.executable, "-c", example.code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) <= 7000
