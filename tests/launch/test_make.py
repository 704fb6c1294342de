"""What is set on make's command line reaches the programs letter by letter, and runs nothing."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from launch import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")

HOSTILE = (
    "$(shell touch made-by-make)",
    "$(touch made-by-shell)",
    "`touch made-by-shell`",
    "$HOME ${HOME} $$ $(HOME)",
    "a#b;c&d|e>made-by-shell",
    'it\'s a "test"\\',
    "x); touch made-by-shell; (",
    "$(call named) %.tif * ? [a]",
    "$(info said)$(error said)",
)


def make(*arguments, **environ):
    """Run make in the clone; other settings that this process was started with are none of its."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**kept, **environ},
    )


def seen(tmp_path, *settings, **environ):
    """The variables that a recipe of the Makefile sees."""
    script = tmp_path / "dump.py"
    script.write_text("import json, os; print(json.dumps(dict(os.environ)))")
    recipe = f"dump: ; @{sys.executable} {script}"
    done = make("--eval", recipe, "dump", *settings, **environ)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def environments(tmp_path_factory):
    """Settings by which make takes this interpreter for all environments, which are complete."""
    found = []
    for name in ("VENV", "CLOUD", "DEV"):
        folder = tmp_path_factory.mktemp(name)
        (folder / "bin").mkdir()
        python = folder / "bin" / "python"
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
        setting = f"{name}={folder}"
        stamp = make("--eval", f"stamp: ; @echo $({name}_STAMP)", "stamp", setting).stdout.strip()
        assert stamp.startswith(f"{folder}/.complete-")
        (folder / os.path.basename(stamp)).touch()
        found.append(setting)
    return found


def test_settings_are_text(tmp_path):
    names = ["IMAGE", "TRUTH", "OUTPUT", "CHANNELS", "NAME", "MODEL", "STORE", "TARGET", "REGISTRY"]
    given = dict(zip(names, HOSTILE, strict=True))
    found = seen(tmp_path, *(f"{name}={text}" for name, text in given.items()))
    assert {name: found[name] for name in names} == given
    assert set(found["CELLMILL_SETTINGS"].split()) == set(names)
    assert not [name for name in os.listdir(ROOT) if name.startswith("made-by-")]


@settings(max_examples=30, deadline=None)
@given(
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp")), min_size=1).filter(
        lambda text: text == text.lstrip()
    )
)
@example("$(shell false)$")
@example("a$b$(c")
@example("#")
def test_any_text_reaches_a_recipe(tmp_path_factory, text):
    assert seen(tmp_path_factory.getbasetemp(), f"IMAGE={text}")["IMAGE"] == text


def test_what_only_the_environment_sets_is_no_setting(tmp_path):
    found = seen(tmp_path, IMAGE="x.tif", NAME="$(shell touch made-by-make)")
    assert not found.get("IMAGE")
    assert not found.get("NAME")


@pytest.mark.parametrize(
    ("target", "setting", "default"),
    [
        ("train-model", "STEPS", "5000"),
        ("train-model", "NAME", "cellmill-nuclei"),
        ("train-synthetic-model", "SEED", "1"),
        ("run-training", "IMAGE", ""),
        ("bench-crops", "SEGMENTERS", "cellpose:cyto3"),
        ("bench-crops", "DIAMETER", "auto"),
    ],
)
def test_what_a_target_takes_by_itself_gives_way_to_what_is_set(
    environments, tmp_path, target, setting, default
):
    script = tmp_path / "dump.py"
    script.write_text(f"import os, sys; sys.exit('[' + os.environ['{setting}'] + ']')")
    rule = ("--eval", f"{target}: dump", "--eval", f"dump: ; @{sys.executable} {script}")
    assert f"[{default}]" in make(*rule, target, *environments, **{setting: "env"}).stderr
    assert "[$x 7]" in make(*rule, target, *environments, f"{setting}=$x 7").stderr


@pytest.mark.parametrize("target", ["run", "run-slide", "run-training", "run-tuning"])
def test_what_is_run_is_asked_for_the_very_file(environments, target):
    name = 'no such; $(shell touch made-by-make) `x` "$HOME" it\'s #1.tif'
    several = "IMAGES" if target in ("run-training", "run-tuning") else "IMAGE"
    more = ["LABELS=x"] if several == "IMAGES" else []
    done = make(target, *environments, f"{several}={name}", *more, PYTHONPATH=str(ROOT))
    assert done.returncode == 2
    assert done.stdout == ""
    line = done.stderr.splitlines()[0]
    assert line.startswith(f"cellmill: '{name}': expected a file, or a folder, glob or prefix")


@pytest.mark.parametrize(
    ("target", "setting"),
    [
        ("fetch", "OUTPUT"),
        ("estimate", "NAME"),
        ("evaluate-model", "MODEL"),
        ("new-component", "NAME"),
        ("lint-ir", "FILE"),
    ],
)
def test_other_targets_hand_settings_on_as_words(environments, target, setting):
    text = '$(touch made-by-shell) "`touch made-by-shell`" $$x; touch made-by-shell #'
    done = make(target, *environments, f"{setting}={text}", PYTHONPATH=str(ROOT))
    assert done.returncode == 2
    assert text in done.stderr
    assert "made-by-shell" not in os.listdir(ROOT)


def test_no_recipe_hands_a_setting_to_the_shell_as_its_own_text():
    """What make puts into a line of the shell is code to it; a setting is a variable instead."""
    text = (ROOT / "Makefile").read_text()
    names = set(re.search(r"^SETTINGS := (.*?)^\$\(foreach", text, re.M | re.S)[1].split())
    assert {"IMAGE", "NAME", "OUTPUT"} <= names
    recipes = [line for line in text.splitlines() if line.startswith("\t")]
    used = {name for line in recipes for name in re.findall(r"(?<!if )\$\((\w+)\)", line)}
    assert not used & names
