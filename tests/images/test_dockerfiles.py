"""Each image is pinned, hashed, without root, and has what the components that name it need."""

import re
import subprocess
import sys

import pytest
import yaml
from packaging.requirements import Requirement

from cellmill.errors import BadInput
from cellmill.version import __version__
from components.container_images import LOCAL_LOCK, ContainerImage, read_lock
from launch import ROOT
from launch.compiling.compiled import component_names
from launch.images import pin_base
from launch.images.building import build_wheel, push, sources_digest, stages_of
from launch.images.environments import CUDA, image_folder, image_lock, image_names, wanted_python

NAMES = sorted(read_lock())


def dockerfile(name):
    return (image_folder(name) / "Dockerfile").read_text()


def instructions(name):
    text = re.sub(r"^#.*\n", "", dockerfile(name), flags=re.M).replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip()]


def final_stage(name):
    lines = instructions(name)
    return lines[max(i for i, line in enumerate(lines) if line.startswith("FROM ")) :]


def test_every_environment_is_an_image_with_its_place():
    assert image_names() == NAMES
    for name, image in read_lock().items():
        assert image == ContainerImage(f"localhost/cellmill-{name}", __version__)
        assert (image_folder(name) / "Dockerfile").exists()


def test_every_component_is_in_exactly_one_image():
    found = [s for name in NAMES if not name.endswith(CUDA) for s in stages_of(name)]
    assert sorted(found) == component_names()


@pytest.mark.parametrize("name", NAMES)
def test_the_base_is_pinned_by_digest_and_has_the_locks_python(name):
    tag = pin_base.base_of(dockerfile(name))
    assert tag == f"python:{wanted_python(name) or '3.11'}-slim"
    assert {i for i in instructions(name) if i.startswith("FROM ")} == {
        "FROM ${BASE} AS packages",
        "FROM packages AS code",
        "FROM ${BASE}",
    }


@pytest.mark.parametrize("name", NAMES)
def test_packages_are_installed_by_hash_and_nothing_else_is(name):
    installs = re.findall(r"pip [^&]*? install ([^&]*)", " ".join(instructions(name)))
    assert len(installs) == 2
    assert "--no-deps --require-hashes" in installs[0]
    assert "--only-binary :all:" in installs[0]
    assert installs[1].startswith("--no-deps --target /opt/cellmill /build/*.whl")
    for line in image_lock(name).read_text().splitlines():
        if "==" in line and not line.lstrip().startswith("#"):
            assert line.rstrip().endswith("\\"), f"no hash follows: {line}"


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_without_root_and_leaves_the_command_to_the_component(name):
    lines = final_stage(name)
    users = [line for line in lines if line.startswith("USER ")]
    assert users == ["USER 10001:10001"]
    # A server is no component: what runs it says nothing.
    own = ['CMD ["python", "-m", "serving"]'] if name == "serving" else []
    assert [i for i in instructions(name) if i.startswith(("ENTRYPOINT", "CMD", "ADD"))] == own
    smoke = next(i for i, line in enumerate(lines) if "python -m cellmill --help" in line)
    assert smoke > lines.index(users[0]), "the smoke check runs as the user, not as root"
    environment = " ".join(line for line in lines if line.startswith("ENV "))
    assert "PYTHONUNBUFFERED=1" in environment
    assert "HOME=/home/cellmill" in environment
    assert any("install -d -m 1777 /home/cellmill" in line for line in lines)
    label = " ".join(line for line in lines if line.startswith("LABEL "))
    for key in ("title", "description", "licenses", "version"):
        assert f'org.opencontainers.image.{key}="' in label
    assert f'title="cellmill-{image_folder(name).name}' in label


def pinned(name):
    """Packages of a lock and their versions, where the image's machine needs them."""
    lines = image_lock(name).read_text().splitlines()
    found = [Requirement(line.rstrip("\\ ")) for line in lines if re.match(r"[a-z0-9]", line)]
    machine = {"platform_machine": "x86_64", "sys_platform": "linux", "python_version": "3.11"}
    machine["python_full_version"] = "3.11.9"
    wanted = [r for r in found if not r.marker or r.marker.evaluate(machine)]
    return {r.name: str(r.specifier) for r in wanted}


def test_the_form_with_cuda_differs_in_what_computes_alone():
    cpu, cuda = pinned("tensorflow"), pinned("tensorflow-cuda")
    engines = ("tensorflow", "onnxruntime", "openvino")
    assert {k: v for k, v in cuda.items() if not k.startswith(("nvidia-", *engines))} == {
        k: v for k, v in cpu.items() if not k.startswith(engines)
    }
    assert {k for k in cuda if k.startswith(engines)} == {"tensorflow", "onnxruntime-gpu"}
    assert cuda["tensorflow"] == cpu["tensorflow-cpu"]
    assert {"nvidia-cudnn-cu12", "nvidia-cublas-cu12", "nvidia-cuda-nvcc-cu12"} <= cuda.keys()
    assert stages_of("tensorflow-cuda") == stages_of("tensorflow")
    assert sources_digest("tensorflow-cuda") != sources_digest("tensorflow")


def test_a_pin_changes_the_digest_alone():
    new = "sha256:" + "0" * 64
    for name in NAMES:
        pinned = pin_base.pin(dockerfile(name), new)
        assert pinned.count(new) == 1
        assert re.sub(r"sha256:\w{64}", "", pinned) == re.sub(
            r"sha256:\w{64}", "", dockerfile(name)
        )
    with pytest.raises(BadInput, match="ARG BASE"):
        pin_base.pin("ARG BASE=python:3.11-slim\n", new)


def test_the_wheel_of_an_image_is_the_same_bytes_each_time(tmp_path):
    first, second = (build_wheel(tmp_path / name) for name in ("a", "b"))
    assert first.name == f"cellmill-{__version__}-py3-none-any.whl"
    assert first.read_bytes() == second.read_bytes()
    assert not (ROOT / "build").exists() or not (ROOT / "build" / "lib" / "launch").exists()


def test_sources_are_told_apart(monkeypatch, tmp_path):
    assert sources_digest("imaging") != sources_digest("tensorflow")
    assert sources_digest("imaging") == sources_digest("imaging")


def test_an_image_by_digest_is_named_by_it():
    assert ContainerImage("r.example/p/x", "1", "sha256:12").reference == "r.example/p/x@sha256:12"
    assert ContainerImage("r.example/p/x", "1").reference == "r.example/p/x:1"


def test_the_reference_is_never_pushed():
    with pytest.raises(BadInput, match="academic use only"):
        push("deepcell", "r.example/p")


def test_the_lock_is_what_the_compiled_yaml_names():
    named = {i.reference for i in read_lock(LOCAL_LOCK).values()}
    for path in ROOT.glob("pipelines/*/pipeline.yaml"):
        executors = yaml.safe_load(path.read_text())["deploymentSpec"]["executors"].values()
        assert {e["container"]["image"] for e in executors} <= named


def test_what_images_compile_at_their_build_can_be_computed():
    """A card of a new form would else be found by nothing but a build."""
    path = ROOT / "images" / "warm.py"
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
