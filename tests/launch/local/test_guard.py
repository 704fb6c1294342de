"""What a launcher starts ends with it, whatever ends it; nothing else of a task is changed."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cellmill.compute.processes import Process
from launch import ROOT
from launch.local import guard
from tests.launch.local.test_local import compiled, container

#: A task that has a child of its own, which does not end when it is asked to.
DEAF = """
import os, pathlib, signal, subprocess, sys, time
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True)"
child = subprocess.Popen([sys.executable, "-c", deaf + "; time.sleep(99)"], stdout=-1)
child.stdout.readline()
pathlib.Path({note!r}).write_text(f"{{os.getpid()}} {{child.pid}}\\n")
time.sleep(99)
"""
LAUNCHER = """
import pathlib, sys
from launch.local.running import run_pipeline
run_pipeline(pathlib.Path(sys.argv[1]), {}, *map(pathlib.Path, sys.argv[2:4]), *sys.argv[4:])
"""


def guarded(code, stop=()):
    command = [sys.executable, "-I", "-S", guard.__file__, json.dumps(stop)]
    return subprocess.Popen(
        [*command, sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def processes_in(note):
    """The processes that a task noted, once it has."""
    end = time.monotonic() + 60
    while not (note.is_file() and note.read_text().endswith("\n")):
        assert time.monotonic() < end
        time.sleep(0.02)
    found = [Process.of(int(number)) for number in note.read_text().split()]
    assert all(process.is_alive() for process in found)
    return found


def assert_ended(processes, seconds=60.0):
    end = time.monotonic() + seconds
    while any(process.is_alive() for process in processes):
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("print('said')", 0),
        ("print('said'); exit(2)", 2),
        ("print('said', flush=True); import os; os.kill(os.getpid(), 9)", 137),
    ],
)
def test_a_task_s_words_and_exit_code_are_its_own(code, expected):
    process = guarded(code)
    assert process.stdout.read() == b"said\n"
    assert process.wait() == expected


def test_what_a_task_leaves_behind_ends_with_it(tmp_path):
    note = tmp_path / "note"
    process = guarded(DEAF.format(note=str(note)).replace("time.sleep(99)\n", "time.sleep(1)\n"))
    found = processes_in(note)
    assert process.wait() == 0
    assert_ended(found)


def test_a_closed_pipe_ends_all_and_runs_the_stop_command(tmp_path):
    note, stopped = tmp_path / "note", tmp_path / "stopped"
    process = guarded(DEAF.format(note=str(note)), ["touch", str(stopped)])
    found = processes_in(note)
    process.stdin.close()
    assert process.wait(60) == 128 + signal.SIGTERM
    assert_ended(found)
    assert stopped.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_killed_launcher_takes_its_tasks_along(tmp_path, number):
    note = tmp_path / "note"
    spec = compiled(tmp_path, container(DEAF.format(note=str(note))))
    places = [str(path) for path in (spec, tmp_path / "artifacts", tmp_path / "logs")]
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, *places],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    found = processes_in(note)
    launcher.send_signal(number)
    _, said = launcher.communicate(timeout=60)
    assert_ended(found)
    if number == signal.SIGKILL:
        assert launcher.returncode == -number
    else:
        assert said.splitlines()[-1] == "KeyboardInterrupt"


def test_the_guard_needs_nothing_of_this_project():
    text = Path(guard.__file__).read_text()
    assert "import cellmill" not in text
    assert "from cellmill" not in text
