"""The plugin in the real napari, with a window: what lies in `inside/`, and what it declares."""

import os
import platform
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from launch import ROOT
from launch.images.environments import environment_of
from pipelines.outputs import OutputFile

HERE = Path(__file__).parent
MANIFEST = yaml.safe_load((ROOT / "napari_cellmill" / "napari.yaml").read_text())


@pytest.fixture(scope="module")
def napari_python():
    """Give the interpreter of the environment that `requirements.lock` is of.

    Skips, saying so, where there is no virtual screen or no Linux on x86-64, which the lock is for;
    with `CELLMILL_REQUIRE_NAPARI` set (as in CI) nothing is skipped.
    """
    machine = (sys.platform, platform.machine(), sys.version_info >= (3, 11))
    if not os.environ.get("CELLMILL_REQUIRE_NAPARI"):
        if machine != ("linux", "x86_64", True):
            pytest.skip(
                f"NOT tried in napari, locked for Linux and Python 3.11 or later: {machine}"
            )
        if not shutil.which("xvfb-run"):
            pytest.skip("NOT tried in napari: no xvfb-run (.ci/run installs what it needs)")
    return environment_of(HERE / "requirements.lock", "napari")


@pytest.mark.napari
@pytest.mark.parametrize("name", sorted(path.name for path in HERE.glob("inside/test_*.py")))
def test_panels_and_readers_work_in_napari(napari_python, tmp_path, name):
    """A process and a window for each file of tests: napari takes its time to start.

    With all of them in one process, and so with several windows, it ended in a segmentation fault
    within Mesa's `glDrawArrays`, called by vispy as a canvas was drawn: none of it is the plugin's.
    """
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "QT_"))}
    variables |= {"PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    screen = ("xvfb-run", "-a", "-s", "-screen 0 1600x1000x24")
    options = ("-q", "-ra", "--import-mode=importlib", "-p", "no:cacheprovider")
    own = ("-c", HERE / "inside" / "pytest.ini", "--rootdir", ROOT, "--confcutdir", HERE / "inside")
    basetemp = ("--basetemp", tmp_path / "inside")
    done = subprocess.run(
        [*screen, napari_python, "-m", "pytest", *options, *own, *basetemp, HERE / "inside" / name],
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    sys.stdout.write(done.stdout)


def test_the_manifest_names_what_is_there():
    """Without importing Qt: every command is a name that its module defines."""
    commands = MANIFEST["contributions"]["commands"]
    for command in commands:
        module, name = command["python_name"].split(":")
        text = (ROOT / Path(*module.split("."))).with_suffix(".py").read_text()
        assert f"def {name}(" in text or f"class {name}(" in text, command
    named = {c["id"] for c in commands}
    for kind in ("widgets", "readers", "sample_data"):
        assert {each["command"] for each in MANIFEST["contributions"][kind]} <= named


def test_the_manifest_is_found_under_the_package_s_name():
    """napari knows a plugin by its distribution's name, and `cellmill view` asks for it so."""
    from cellmill.commands.view import PLUGIN

    assert MANIFEST["name"] == PLUGIN == "cellmill"
    assert files("cellmill").joinpath("..", "napari_cellmill", "napari.yaml").is_file()


def test_files_of_a_run_are_those_that_pipelines_leave():
    from pipelines.restoration.pipeline import OUTPUTS as RESTORATION
    from pipelines.slide_segmentation.pipeline import OUTPUTS as SLIDE

    left = {each.name for each in (*SLIDE, *RESTORATION) if isinstance(each, OutputFile)}
    reader = (ROOT / "napari_cellmill" / "reader.py").read_text()
    for name in ("labels.tif", "labels.ome.zarr", "measurements.parquet", "restored.tif"):
        assert f'"{name}"' in reader
        assert name in left


def test_view_says_in_one_line_what_is_wrong(tmp_path):
    for path, said in ((tmp_path / "none", "expected a run's folder"), (tmp_path, "napari")):
        command = [sys.executable, "-m", "cellmill", "view", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert said in line
