"""A task that is forked from a warm interpreter is what it would be as a process started anew."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cellmill.compute.processes import Process
from cellmill.contract.spec import stage_names
from components.tiff_to_npz.component import tiff_to_npz
from launch import ROOT
from launch.local import task_handler, warm
from launch.local.running import run_pipeline
from launch.local.task_handler import LocalRun, Start, Task, in_environment
from launch.local.warm import WarmInterpreters, Warmth
from tests.launch.local.test_guard import DEAF, assert_ended, processes_in
from tests.launch.local.test_local import IMAGE, compiled

#: What a process can tell of itself.
SELF = """
import json, os, resource, signal, sys, threading
open_files = sorted(int(name) for name in os.listdir("/proc/self/fd"))
handlers = [str(signal.getsignal(n)) for n in (2, 15, 1, 13, 17)]
print(json.dumps([
    dict(os.environ), os.getcwd(), sys.argv[1:], sys.path, sys.executable, __name__,
    os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid(), os.readlink("/proc/self/fd/0"),
    len([file for file in open_files if file < 3]), handlers, threading.active_count(),
    [resource.getrlimit(n) for n in range(10)], os.nice(0), len(os.sched_getaffinity(0)),
    sys.stdout.line_buffering, sys.stdout.encoding, sys.flags[:], bool(sys.modules["__main__"]),
]))
print("an error", file=sys.stderr)
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux alone")


@pytest.fixture
def program(tmp_path):
    """A program in cellmill's place that runs what it is given; a start of it."""
    package = tmp_path / "packages" / "cellmill"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text("import sys\nexec(sys.argv[1])\n")
    environ = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    environ |= {"PYTHONPATH": f"{package.parent}:{ROOT}", "PYTHONSAFEPATH": "1"}
    environ |= {"PYTHONUNBUFFERED": "1"}

    def start(code, is_warm=True):
        command = [sys.executable, "-m", "cellmill", code, "and more"]
        told = {**environ, "CELLMILL_SECRET": "told late"}
        return Start(command, told, warmth=Warmth(sys.executable, environ) if is_warm else None)

    return start


@pytest.fixture
def run(tmp_path):
    found = LocalRun(tmp_path / "logs")
    (tmp_path / "task").mkdir()
    yield found
    found.warm.end()


def ended(run, start, tmp_path):
    """What a task said, and its exit code."""
    process = run._begun(start, tmp_path / "task")
    said = "".join(process.output)
    return said, process.wait()


def test_a_fork_is_what_a_process_started_anew_is(program, run, tmp_path):
    forked, code = ended(run, program(SELF), tmp_path)
    anew, _ = ended(run, program(SELF, is_warm=False), tmp_path)
    assert code == 0
    assert len(run.warm._started) == 1
    told, *others = json.loads(forked.splitlines()[0])
    assert [told, *others] == json.loads(anew.splitlines()[0])
    assert told["CELLMILL_SECRET"] == "told late"
    assert others[0] == str(tmp_path / "task")
    assert forked.splitlines()[1:] == ["an error"]


def test_every_fork_has_chances_of_its_own(program, run, tmp_path):
    code = "import numpy, random, tempfile, uuid; print(numpy.random.rand(), random.random())"
    run.warm.start(program(code).warmth, ["numpy", "random"])
    assert len({ended(run, program(code), tmp_path)[0] for _ in range(3)}) == 3


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("print('said')", 0),
        ("print('said'); raise SystemExit(2)", 2),
        ("print('said'); raise SystemExit('a last line')", 1),
        ("print('said'); 1/0", 1),
        ("print('said'); import os; os.kill(os.getpid(), 9)", 137),
        ("print('said'); import atexit; atexit.register(print, 'at its end')", 0),
        ("import threading; threading.Timer(0.2, print, ['said']).start()", 0),
    ],
)
def test_words_and_exit_code_are_those_of_a_process_started_anew(
    code, expected, program, run, tmp_path
):
    said, found = ended(run, program(code), tmp_path)
    anew, _ = ended(run, program(code, is_warm=False), tmp_path)
    assert found == expected
    assert said.startswith("said\n")
    assert said.splitlines()[-1] == anew.splitlines()[-1]


def test_what_a_task_leaves_behind_ends_with_it(program, run, tmp_path):
    note = tmp_path / "note"
    code = DEAF.format(note=str(note)).replace("time.sleep(99)\n", "time.sleep(1)\n")
    process = run._begun(program(code), tmp_path / "task")
    found = processes_in(note)
    assert process.wait() == 0
    assert_ended(found)


def test_a_run_that_stops_ends_its_tasks_and_interpreters(program, run, tmp_path):
    note = tmp_path / "note"
    process = run._begun(program(DEAF.format(note=str(note))), tmp_path / "task")
    run._processes.add(process)
    found = processes_in(note)
    run.stop()
    run.stop()
    assert process.wait() == 143
    assert_ended(found)
    run.warm.end()
    assert run.warm.begin(program("").warmth, [""], {}, tmp_path, []) is None


def test_a_guard_that_is_killed_is_a_task_that_was_killed(program, run, tmp_path):
    code = "import os, time; os.kill(os.getppid(), 9); time.sleep(0.1); os.kill(os.getpid(), 9)"
    assert ended(run, program(code), tmp_path)[1] in task_handler._KILLED


LAUNCHER = """
import json, pathlib, sys
from launch.local.warm import WarmInterpreters, Warmth
python, environ, folder, code, modules = json.loads(sys.argv[1])
warm, warmth = WarmInterpreters(), Warmth(python, environ)
warm.start(warmth, modules)
print(warm._started[warmth].process.pid, flush=True)
warm.begin(warmth, [code], environ, pathlib.Path(folder), []).wait()
"""


@pytest.mark.parametrize("slow", [False, True])
def test_a_killed_launcher_takes_interpreters_and_tasks_along(slow, program, tmp_path):
    note = tmp_path / "note"
    (tmp_path / "packages" / "slow.py").write_text(
        f"import os, time\nopen({str(note)!r}, 'w').write(f'{{os.getpid()}}\\n')\ntime.sleep(99)\n"
    )
    start = program("")
    code = DEAF.format(note=str(note))
    given = [sys.executable, start.warmth.environ, str(tmp_path), code, ["slow"] if slow else []]
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, json.dumps(given)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    interpreter = Process.of(int(launcher.stdout.readline()))
    found = [interpreter, *processes_in(note)]
    launcher.kill()
    launcher.communicate()
    assert_ended(found)


def test_what_cannot_be_forked_is_started_anew(program, run, tmp_path):
    (tmp_path / "packages" / "threads.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=[9], daemon=True).start()"
    )
    start = program("print('said')")
    run.warm.start(start.warmth, ["threads"])
    assert run.warm.begin(start.warmth, [""], {}, tmp_path, []) is None
    assert ended(run, start, tmp_path) == ("said\n", 0)
    assert WarmInterpreters().begin(Warmth("/none", {}), [""], {}, tmp_path, []) is None


def test_an_interpreter_that_was_killed_is_done_without(program, run, tmp_path):
    start = program("print('said')")
    assert ended(run, start, tmp_path) == ("said\n", 0)
    process = run.warm._started[start.warmth].process
    process.kill()
    process.wait()
    assert ended(run, start, tmp_path) == ("said\n", 0)


def test_a_module_that_is_not_there_is_the_task_s_to_miss(program, run, tmp_path):
    start = program("import no_such_module")
    run.warm.start(start.warmth, ["no_such_module"])
    said, code = ended(run, start, tmp_path)
    assert code == 1
    assert "ModuleNotFoundError" in said


def test_locks_are_held_until_a_task_has_ended(program, run, tmp_path):
    import fcntl

    with (tmp_path / "lock").open("w") as file, (tmp_path / "lock").open("w") as other:
        fcntl.flock(file, fcntl.LOCK_EX)
        run.locks = [file.fileno()]
        process = run._begun(program("import time; time.sleep(0.5)"), tmp_path / "task")
        file.close()
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert process.wait() == 0
        # The guard says how the task ended, and then ends.
        end = time.monotonic() + 10
        while True:
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                assert time.monotonic() < end
                time.sleep(0.01)


def warmth(stage, monkeypatch, environ=()):
    monkeypatch.setenv("DEEPCELL_ACCESS_TOKEN", "secret")
    task = Task(IMAGE, stage, ["python", "-m", "cellmill", stage], {}, dict(environ))
    return in_environment(task).warmth


def test_an_interpreter_knows_no_token(monkeypatch):
    assert "secret" not in warmth("fetch_model", monkeypatch).environ.values()


def test_stages_that_see_other_variables_have_other_interpreters(monkeypatch):
    monkeypatch.setenv("SOME_PASSWORD", "x")
    assert warmth("predict", monkeypatch) != warmth("measure", monkeypatch)
    assert warmth("measure", monkeypatch) == warmth("fetch_model", monkeypatch)


def test_what_an_import_would_see_another_value_of_is_started_anew(monkeypatch):
    assert warmth("measure", monkeypatch, {"CELLMILL_MACHINE": "x"})
    assert warmth("measure", monkeypatch, {"NUMBA_NUM_THREADS": "1"}) is None
    monkeypatch.setenv(warm.VARIABLE, "0")
    assert warmth("measure", monkeypatch) is None


def test_imports_of_stages_start_no_threads():
    """But those of OpenBLAS, which ends them before a fork, and of jemalloc, which knows forks."""
    code = (
        "import importlib, pathlib, sys\n"
        "import cellmill.compute.ready\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(f'cellmill.stages.{name}')\n"
        "print([p.read_text().strip() for p in pathlib.Path('/proc/self/task').glob('*/comm')])"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, *stage_names()],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    names = [name for name in eval(said) if name != "jemalloc_bg_thd"]
    assert len(names) == 1, names


def test_a_pipeline_s_tasks_are_forked_and_leave_the_same(tmp_path, monkeypatch):
    image = tmp_path / "it's an image.tif"
    tifffile.imwrite(image, np.arange(64, dtype=np.uint16).reshape(8, 8))
    spec = compiled(tmp_path, tiff_to_npz, items=[str(image)])
    begun = []
    original = WarmInterpreters.begin
    monkeypatch.setattr(
        WarmInterpreters, "begin", lambda *given: begun.append(original(*given)) or begun[-1]
    )

    def left(name):
        run_pipeline(spec, {}, tmp_path / name / "artifacts", tmp_path / "logs")
        (images,) = (tmp_path / name).rglob("images")
        return {p.name: p.read_bytes() for p in Path(images).iterdir()}

    forked = left("forked")
    assert len(begun) == 1
    assert begun[0]
    monkeypatch.setenv(warm.VARIABLE, "0")
    assert left("anew") == forked
    assert len(begun) == 1
