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
from launch.images.building import (
    base_of,
    build_arguments,
    build_wheel,
    image_facts,
    make_context,
    push,
    sources_digest,
    stages_of,
)
from launch.images.environments import (
    CUDA,
    IMAGES,
    image_folder,
    image_lock,
    image_names,
    wanted_python,
)

NAMES = sorted(read_lock())


DOCKERFILE = (IMAGES / "Dockerfile").read_text()


def instructions():
    text = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.M).replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip()]


def final_stages():
    """What the stages that are kept do: what all images run in, and a server's own."""
    lines = instructions()
    return lines[lines.index("FROM ${BASE} AS stages") :]


def test_every_environment_is_an_image_with_its_place():
    assert image_names() == NAMES
    for name, image in read_lock().items():
        assert image == ContainerImage(f"localhost/cellmill-{name}", __version__)
        assert (image_folder(name) / "smoke.py").exists()
        facts = image_facts(name)
        assert facts.description
        assert facts.licences.endswith("Apache-2.0")
        assert f"AS {facts.target}" in DOCKERFILE


def test_every_component_is_in_exactly_one_image():
    found = [s for name in NAMES if not name.endswith(CUDA) for s in stages_of(name)]
    assert sorted(found) == component_names()


@pytest.mark.parametrize("name", NAMES)
def test_the_base_is_pinned_by_digest_and_has_the_locks_python(name):
    version = wanted_python(name) or "3.11"
    assert re.fullmatch(rf"python:{version}-slim@sha256:[0-9a-f]{{64}}", base_of(name))
    assert [i for i in instructions() if i.startswith("FROM ")] == [
        "FROM ${BASE} AS packages",
        "FROM packages AS code",
        "FROM ${BASE} AS stages",
        "FROM stages AS server",
    ]


def test_packages_are_installed_by_hash_and_nothing_else_is():
    installs = re.findall(r"pip [^&]*? install ([^&]*)", " ".join(instructions()))
    assert len(installs) == 2
    assert "--no-deps --require-hashes" in installs[0]
    assert "--only-binary :all:" in installs[0]
    assert installs[1].startswith("--no-deps --target /opt/cellmill /build/*.whl")


@pytest.mark.parametrize("name", NAMES)
def test_each_package_of_a_lock_has_a_hash(name):
    for line in image_lock(name).read_text().splitlines():
        if "==" in line and not line.lstrip().startswith("#"):
            assert line.rstrip().endswith("\\"), f"no hash follows: {line}"


@pytest.mark.parametrize("name", NAMES)
def test_a_build_is_told_what_the_dockerfile_asks_for(name):
    asked = {
        line.split()[1].split("=")[0]: "=" in line
        for line in instructions()
        if line.startswith("ARG ")
    }
    told = build_arguments(name)
    assert told.keys() <= asked.keys()
    assert {key for key, has_default in asked.items() if not has_default} <= told.keys()
    assert told["TITLE"] == f"cellmill-{name}"
    assert (told["FORM"] == CUDA) == name.endswith(CUDA)


def test_it_runs_without_root_and_leaves_the_command_to_the_component():
    lines = final_stages()
    users = [line for line in lines if line.startswith("USER ")]
    assert users == ["USER 10001:10001"]
    # A server is no component: what runs it says nothing.
    server = lines.index("FROM stages AS server")
    commands = [i for i, line in enumerate(lines) if line.startswith(("ENTRYPOINT", "CMD", "ADD"))]
    assert [lines[i] for i in commands] == ['CMD ["python", "-m", "serving"]']
    assert commands[0] > server
    assert [name for name in NAMES if image_facts(name).target == "server"] == ["serving"]
    smoke = next(i for i, line in enumerate(lines) if "python -m cellmill --help" in line)
    assert smoke > lines.index(users[0]), "the smoke check runs as the user, not as root"
    assert "python /opt/cellmill/smoke.py" in lines[smoke]
    environment = " ".join(line for line in lines if line.startswith("ENV "))
    assert "PYTHONUNBUFFERED=1" in environment
    assert "HOME=/home/cellmill" in environment
    assert any("install -d -m 1777 /home/cellmill" in line for line in lines)
    label = " ".join(line for line in lines if line.startswith("LABEL "))
    for key in ("title", "description", "licenses", "version"):
        assert f'org.opencontainers.image.{key}="' in label


@pytest.mark.parametrize("name", NAMES)
def test_a_context_holds_what_the_dockerfile_copies(name, tmp_path):
    wheel = tmp_path / "cellmill-0-py3-none-any.whl"
    wheel.touch()
    folder = tmp_path / "context"
    folder.mkdir()
    make_context(name, wheel, [], folder)
    for line in instructions():
        if line.startswith("COPY ") and "--from=" not in line:
            for source in line.split()[1:-1]:
                assert list(folder.glob(source)), source
    own = sorted(str(p.relative_to(folder / "own")) for p in (folder / "own").rglob("*.py"))
    assert "smoke.py" in own
    assert ("warm.py" in own) == image_facts(name).kernels
    assert ("serving/__main__.py" in own) == (name == "serving")


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith(CUDA)])
def test_kernels_are_compiled_where_stages_run_them(name):
    """Each image whose lock has numba and whose stages compute by it, but for Cellpose's own."""
    has_numba = "\nnumba==" in image_lock(name).read_text()
    assert image_facts(name).kernels == (has_numba and not name.startswith("cellpose"))


def test_what_no_stage_opens_is_taken_out_and_the_rest_stays(tmp_path):
    gone = ["scipy/special/tests/test_x.py", "torch/include/a.h", "nvidia/cudnn/include/b.h"]
    gone += ["openvino/libs/libopenvino_intel_gpu_plugin.so"]
    gone += ["openvino/libs/libopenvino_pytorch_frontend.so"]
    kept = ["scipy/special/x.py", "torch/lib/a.so", "openvino/libs/libopenvino_onnx_frontend.so"]
    kept += ["cellmill.pth", "other/tests/test_y.py"]
    for name in (*gone, *kept):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    subprocess.run(["sh", IMAGES / "prune.sh"], cwd=tmp_path, check=True)
    assert sorted(kept) == sorted(
        str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()
    )
    # Where there is none of it, there is nothing to do.
    (tmp_path / "empty").mkdir()
    subprocess.run(["sh", IMAGES / "prune.sh"], cwd=tmp_path / "empty", check=True)


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


def test_a_pin_changes_the_digests_alone():
    text = pin_base.BASES.read_text()
    digests = {tag: f"sha256:{number:064}" for number, tag in enumerate(pin_base.tags(text))}
    assert set(digests) == {"python:3.10-slim", "python:3.11-slim"}
    new = pin_base.pin(text, digests)
    for tag, digest in digests.items():
        assert f": {tag}@{digest}\n" in new
    cut = re.compile(r"sha256:\w{64}")
    assert cut.sub("", new) == cut.sub("", text)
    with pytest.raises(BadInput, match="sha256"):
        pin_base.tags("'3.11': python:3.11-slim\n")


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
