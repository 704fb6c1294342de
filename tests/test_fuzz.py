"""A short form of `make fuzz`: some cases of every reader, with a seed of its own."""

import subprocess
import sys

import pytest

from launch import ROOT
from tests.fuzz import TARGETS


@pytest.mark.skipif(sys.platform != "linux", reason="limits a process's memory by /proc")
@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files_are_one_line_or_pixels(name, tmp_path):
    """In a process of its own: TensorStore, which other tests start, ends one that forks."""
    command = [sys.executable, "-m", "tests.fuzz", "--cases", "60", "--seed", "1"]
    command += ["--target", name, "--kept", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "'read'" in done.stdout
    assert "'refused'" in done.stdout or name == "ome_xml"
