"""Tasks in real containers: what they see, who they are, and how they fail.

Those marked `docker` run where an engine answers and `make build-images` has run.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from kfp import compiler, dsl

from cellmill.arrays.entries import STORES_VARIABLE
from cellmill.errors import BadInput, CellmillError
from components.container_images import read_lock
from components.tiff_to_npz.component import tiff_to_npz
from launch import ROOT
from launch.images.docker import docker, engine_answers, has_image
from launch.local.containers import Containers, mounts_of, needs_network
from launch.local.running import RunFailed, run_pipeline
from launch.local.task_handler import Task
from tests.launch.local.test_guard import LAUNCHER

IMAGE = read_lock()["imaging"].reference
PLACEHOLDER = dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER


def task(folder, stage="predict", **parameters):
    executor = {
        "inputs": {"parameterValues": parameters},
        "outputs": {"outputFile": str(folder / "executor_output.json")},
    }
    return Task(IMAGE, stage, ["python", "-m", "cellmill", stage], executor, {"SET": "1"})


def started(tmp_path, of):
    inputs = tmp_path / 'in, "puts"'
    inputs.mkdir(exist_ok=True)
    return Containers((inputs,), (tmp_path / "root",), {IMAGE: "an id"}, "bridge").start(of)


def test_folders_of_inputs_are_mounted_once_with_the_targets_of_links(tmp_path):
    for name in ("a/b", "elsewhere", "model"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("a/1.tif", "a/b/2.tif", "elsewhere/real.tif"):
        (tmp_path / name).touch()
    (tmp_path / "a" / "link.tif").symlink_to(tmp_path / "elsewhere" / "real.tif")
    batches = [[{"image": str(tmp_path / "a" / n), "truth": ""}] for n in ("1.tif", "b/2.tif")]
    batches += [[{"image": str(tmp_path / "a" / "link.tif"), "truth": "gs://bucket/x.tif"}]]
    arguments = {"batches": batches, "model": str(tmp_path / "model"), "channels": "0,1"}
    assert mounts_of(arguments) == [tmp_path / n for n in ("a", "elsewhere", "model")]


def test_volumes_of_lists_are_mounted_in_whatever_form(tmp_path):
    for name in ("a", "b c", "d"):
        (tmp_path / name).mkdir()
    lists = f"n5://{tmp_path}/a@2 '{tmp_path}/b c' gs://bucket/x -"
    found = mounts_of({"x_masks": lists, "volume": f"precomputed://{tmp_path}/d"})
    assert found == [tmp_path / name for name in ("a", "b c", "d")]
    assert needs_network(task(tmp_path, x=f"n5://{tmp_path}/a n5://gs://bucket/x"))
    assert not needs_network(task(tmp_path, x=f"n5://{tmp_path}/a '{tmp_path}/b c'"))


def test_a_mount_hides_nothing_of_the_image(tmp_path):
    assert mounts_of({"channels": "/", "x": "/usr", "y": "/etc/hostname"}) == [
        Path("/etc/hostname")
    ]


def test_a_network_is_given_to_what_opens_what_is_elsewhere(tmp_path):
    assert not needs_network(task(tmp_path, items=[{"image": "/a.tif", "truth": ""}]))
    assert not needs_network(task(tmp_path, items=[{"image": "file:///a.tif"}]))
    assert needs_network(task(tmp_path, items=[{"image": "gs://bucket/a.tif"}]))
    assert not needs_network(task(tmp_path, "fetch_model", source=""))
    assert not needs_network(task(tmp_path, "fetch_model", source=str(tmp_path)))
    assert needs_network(task(tmp_path, "fetch_model", source="Mesmer"))


def test_the_token_is_on_no_command_line_and_known_to_no_other_stage(tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPCELL_ACCESS_TOKEN", "secret-token")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    start = started(tmp_path, task(tmp_path, "fetch_model", source="Mesmer"))
    assert "secret-token" not in " ".join(start.command)
    assert start.command[start.command.index("DEEPCELL_ACCESS_TOKEN") - 1] == "--env"
    assert start.environ["DEEPCELL_ACCESS_TOKEN"] == "secret-token"
    assert "DEEPCELL_ACCESS_TOKEN" not in started(tmp_path, task(tmp_path)).command


def test_a_container_has_the_callers_uid_and_no_more_rights_than_it_needs(tmp_path):
    command = started(tmp_path, task(tmp_path)).command
    assert command[command.index("--user") + 1] == f"{os.getuid()}:{os.getgid()}"
    assert command[command.index("--network") + 1] == "none"
    assert {"--rm", "--pull=never", "--cap-drop=ALL", "--security-opt=no-new-privileges"} <= {
        *command
    }
    mounts = [c for c in command if c.startswith("--mount=")]
    assert len(mounts) == 2
    assert mounts[0] == f'--mount="type=bind","source={tmp_path}/root","target={tmp_path}/root"'
    assert mounts[1].endswith('/in, ""puts""","readonly"')


def test_a_store_is_the_run_s_to_write_and_what_the_run_tells_is_told(tmp_path):
    places = (tmp_path / "root", tmp_path / "store")
    of = replace(task(tmp_path), environ={STORES_VARIABLE: "a\nb"})
    start = Containers((), places, {IMAGE: "an id"}, "bridge").start(of)
    mounts = [c for c in start.command if c.startswith("--mount=")]
    targets = [mount.rsplit('"target=', 1)[1] for mount in mounts]
    assert targets == [f'{place}"' for place in places]
    assert not any("readonly" in mount for mount in mounts)
    assert start.command[start.command.index(STORES_VARIABLE) - 1] == "--env"
    assert start.environ[STORES_VARIABLE] == "a\nb"
    assert start.stop == ("docker", "kill", start.command[start.command.index("--name") + 1])


def test_no_engine_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(CellmillError, match="RUNNER=docker needs Docker's engine") as caught:
        Containers.of([IMAGE], {}, [tmp_path])
    assert "\n" not in str(caught.value)


# With an engine.


@pytest.fixture(scope="module")
def _engine():
    if not engine_answers():
        pytest.skip("no Docker engine answers")
    if not has_image(IMAGE):
        pytest.skip(f"{IMAGE} is not built (make build-images)")


with_engine = [pytest.mark.docker, pytest.mark.usefixtures("_engine")]


def stand_in(code, stage="stand_in"):
    """A task of code where a stage would be, with the same kind of command."""

    @dsl.container_component
    def task(out: dsl.Output[dsl.Dataset], text: str = "") -> dsl.ContainerSpec:
        return dsl.ContainerSpec(
            image=IMAGE,
            command=["python", "-c", f"import json, sys; e = json.loads(sys.argv[3])\n{code}"],
            args=[stage, "--executor-input", PLACEHOLDER],
        )

    return task


WRITE = "open(e['outputs']['artifacts']['out']['artifacts'][0]['uri'], 'w').write(str({}))\n"
WRITE += "json.dump({{}}, open(e['outputs']['outputFile'], 'w'))"


def run(tmp_path, component, text=""):
    """Run one task in a container; what it wrote as its output."""

    @dsl.pipeline(name="one-task")
    def pipeline(text: str = ""):
        component(text=text)

    run_compiled(tmp_path, pipeline, text=text)
    (out,) = (tmp_path / "artifacts").rglob("out")
    return out


def run_compiled(tmp_path, pipeline, **arguments):
    spec = tmp_path / "pipeline.yaml"
    compiler.Compiler().compile(pipeline, str(spec))
    run_pipeline(spec, arguments, tmp_path / "artifacts", tmp_path / "logs", runner="docker")


@pytest.fixture
def own_stage():
    """A name that no other test's container has: an engine serves several processes of tests."""
    return f"stand_in_{uuid.uuid4().hex[:12]}"


class TestInContainers:
    pytestmark = with_engine

    def test_it_sees_its_inputs_only_and_cannot_write_them(self, tmp_path):
        (tmp_path / "inputs").mkdir()
        (tmp_path / "inputs" / "a.tif").write_text("an image")
        (tmp_path / "private").write_text("not for the container")
        look = (
            "import os; p = e['inputs']['parameterValues']['text']\n"
            "def refused():\n"
            "    try: open(p, 'w')\n"
            "    except OSError as error: return error.strerror\n"
            f"seen = [open(p).read(), refused(), os.path.exists({str(tmp_path / 'private')!r}), "
            "os.getuid(), os.listdir('/sys/class/net')]\n" + WRITE.format("json.dumps(seen)")
        )
        path = run(tmp_path, stand_in(look), text=str(tmp_path / "inputs" / "a.tif"))
        seen = json.loads(path.read_text())
        assert seen == ["an image", "Read-only file system", False, os.getuid(), ["lo"]]
        assert path.stat().st_uid == os.getuid()

    def test_bad_input_is_the_stages_one_line_its_log_and_exit_code_2(self, tmp_path):
        image = tmp_path / 'it\'s, "bad".tif'
        image.write_bytes(b"II*\0nothing")

        @dsl.pipeline(name="bad")
        def pipeline(batches: list[list[str]]):
            with dsl.ParallelFor(batches) as items:
                tiff_to_npz(items=items)

        with pytest.raises(RunFailed) as caught:
            run_compiled(tmp_path, pipeline, batches=[[str(image)]])
        assert caught.value.exit_code == 2
        text = str(caught.value)
        assert "\n" not in text
        assert "stage 'tiff_to_npz' failed" in text
        assert image.name in text
        assert "tiff_to_npz-1.log" in text

    def test_a_crash_is_exit_code_1_and_its_traceback_is_in_the_log(self, tmp_path):
        with pytest.raises(RunFailed, match="ZeroDivisionError") as caught:
            run(tmp_path, stand_in("1/0"))
        assert caught.value.exit_code == 1
        assert "Traceback" in (tmp_path / "logs" / "stand_in.log").read_text()

    def test_a_declared_output_that_is_missing_fails_the_run(self, tmp_path):
        with pytest.raises(RunFailed, match="declared output 'out' was not written"):
            run(tmp_path, stand_in("pass"))

    def test_a_container_that_is_taken_away_fails_the_run(self, tmp_path, own_stage):
        def take_away():
            while not (found := running(own_stage)):
                time.sleep(0.1)
            docker("rm", "--force", *found)

        thread = threading.Thread(target=take_away)
        thread.start()
        with pytest.raises(RunFailed, match="killed") as caught:
            run(tmp_path, stand_in("import time; time.sleep(60)", own_stage))
        thread.join()
        assert caught.value.exit_code == 137

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    def test_a_launcher_that_is_stopped_takes_its_container_along(
        self, tmp_path, own_stage, number
    ):
        component = stand_in("import time; time.sleep(600)", own_stage)

        @dsl.pipeline(name="one-task")
        def pipeline():
            component(text="")

        spec = tmp_path / "pipeline.yaml"
        compiler.Compiler().compile(pipeline, str(spec))
        places = [str(path) for path in (spec, tmp_path / "artifacts", tmp_path / "logs")]
        launcher = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, *places, "docker"],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        while not running(own_stage):
            assert launcher.poll() is None
            time.sleep(0.1)
        launcher.send_signal(number)
        _, said = launcher.communicate(timeout=60)
        end = time.monotonic() + 60
        while running(own_stage):
            assert time.monotonic() < end
            time.sleep(0.1)
        if number == signal.SIGKILL:
            assert launcher.returncode == -number
        else:
            assert said.splitlines()[-1] == "KeyboardInterrupt"

    def test_a_store_elsewhere_is_written_where_it_is(self, tmp_path):
        store = tmp_path / "kept" / "store"
        write = f"open({str(store / 'mine')!r}, 'w').write('array')\n"
        component = stand_in(write + WRITE.format("''"))

        @dsl.pipeline(name="one-task")
        def pipeline(store: str = ""):
            component(text="")

        run_compiled(tmp_path, pipeline, store=str(store))
        assert (store / "mine").read_text() == "array"
        assert (store / "mine").stat().st_uid == os.getuid()

    def test_an_image_that_is_not_there_is_said_before_anything_runs(self, tmp_path, monkeypatch):
        with pytest.raises(BadInput, match="make build-images"):
            Containers.of(["localhost/cellmill-imaging:none"], {}, [tmp_path])

    def test_any_user_can_run_the_image(self):
        script = "set -e; touch ~/written; python /opt/cellmill/warm.py; id -u"
        for user in ("10001:10001", "54321:54321"):
            said = docker(
                *("run", "--rm", "--network=none", "--user", user, IMAGE, "sh", "-c", script)
            )
            assert said == user.split(":")[0]

    def test_the_image_has_no_entrypoint_and_is_not_root(self):
        config = json.loads(docker("image", "inspect", IMAGE))[0]["Config"]
        assert not config["Entrypoint"]
        assert config["User"] == "10001:10001"


def running(stage):
    name = f"name=^cellmill-{stage}-".replace("_", "-")
    return docker("ps", "--quiet", "--filter", name).split()
