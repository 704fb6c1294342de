"""What README says can be done can be done."""

import re
import shlex
import shutil
import subprocess
import sys

import pytest

from launch import samples
from launch.paths import ROOT

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]
STAGES = [
    line
    for language, text in BLOCKS
    if language == "console"
    for line in text.splitlines()
    if line.startswith("cellmill ")
]


@pytest.fixture
def folder(tmp_path):
    for path in samples.sample_image():
        shutil.copy(path, tmp_path)
    (tmp_path / "components").symlink_to(ROOT / "components")
    return tmp_path


@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_python_blocks_run(folder, code):
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.pipeline
def test_stages_by_hand_run_in_turn(folder):
    assert len(STAGES) >= 6
    for line in STAGES:
        command = [sys.executable, "-m", *shlex.split(line)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    assert (folder / "measurements" / "img2d.csv").stat().st_size > 1000


def test_make_targets_are_there():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"(?:`|\n)make ([a-z][a-z-]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_files_are_there():
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link
