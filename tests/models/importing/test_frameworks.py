"""What every framework's module must do; and how files are told to be of one."""

import subprocess
import sys

import pytest

from cellmill.errors import BadInput
from cellmill.models.importing.frameworks import (
    FRAMEWORKS,
    find_framework,
    framework_of,
    open_original,
)
from cellmill.models.importing.interface import Said
from launch.images.environments import image_names


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_framework_says_what_it_is(name):
    framework = find_framework(name)
    assert framework.name == name
    assert framework.title
    assert framework.files
    assert framework.image in image_names()


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_files_of_another_kind_are_refused_in_one_line(name, tmp_path):
    (tmp_path / "weights.bin").write_bytes(b"")
    with pytest.raises(BadInput, match=f"^model '{tmp_path}': expected .*, found none"):
        framework_of(tmp_path, name)
    with pytest.raises(BadInput, match=f"^model '{tmp_path}': expected files of one framework"):
        framework_of(tmp_path)


def test_a_framework_that_there_is_not_is_one_line(tmp_path):
    with pytest.raises(BadInput, match=r"^framework: expected one of stardist.*, found 'magic'"):
        framework_of(tmp_path, "magic")


def test_finding_frameworks_imports_none_of_their_packages():
    code = (
        "import sys\n"
        "from cellmill.models.importing.frameworks import FRAMEWORKS, find_framework\n"
        "packages = {find_framework(name).package for name in FRAMEWORKS}\n"
        "assert not packages & set(sys.modules), packages\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_package_that_is_missing_is_one_line_that_says_where_it_is(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "weights_best.h5").write_bytes(b"")
    framework = framework_of(tmp_path)
    assert framework.name == "stardist"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        BadInput, match=r"^framework stardist: expected its package stardist, as in"
    ):
        open_original(framework, tmp_path, Said())


def test_what_a_user_says_of_the_objects_is_one_kind():
    assert Said(compartment="nuclei").kind == "nuclear"
    assert Said(compartment="mitochondria").kind == "mitochondria"
    assert Said().kind == ""
    with pytest.raises(BadInput, match=r"^compartment: expected one kind of object, found 'both'"):
        Said(compartment="both").kind  # noqa: B018
