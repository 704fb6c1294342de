"""One run at a time works in a store: a living one is refused in one line, a dead one followed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import asdict
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cellmill.arrays import lease
from cellmill.arrays.lease import end_run, hold, leases, may_remove, run_name, run_variables
from cellmill.arrays.store import key_values
from cellmill.compute.processes import Process
from cellmill.compute.threads import in_threads
from cellmill.errors import BadInput
from tests.arrays.buckets import bucket_of

ROOT = Path(__file__).parents[2]
#: Signs of life come fast, so that tests need not wait long.
FAST = {"_BEAT": 0.1, "_DEAD": 3.0, "_PAUSE": 3.5, "_POLL": 0.05}

#: A process that holds a store until it is told to end, on this machine or one that looks like
#: another.
HOLDER = """
import sys
from cellmill.arrays import lease
from cellmill.compute import processes
place, run, machine, begins = sys.argv[1:5]
lease._BEAT, lease._DEAD, lease._PAUSE, lease._POLL = 0.1, 3.0, 3.5, 0.05
if machine:
    for module in (lease, processes):
        module.this_machine = lambda: machine
with lease.leases("some_stage"):
    lease.hold(place, run, begins=bool(begins))
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    for name, seconds in FAST.items():
        monkeypatch.setattr(lease, name, seconds)
    monkeypatch.delenv(lease.RUN_VARIABLE, raising=False)
    monkeypatch.delenv(lease.LAUNCHER_VARIABLE, raising=False)


@pytest.fixture(params=["path", "gs", "s3"])
def place(request, tmp_path, monkeypatch):
    if request.param == "path":
        return str(tmp_path / "store")
    return bucket_of(request.param, monkeypatch)[0]


class Holder:
    """A process of its own that holds a store."""

    def __init__(self, place, run, *, machine="", begins=True, environ=None):
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, place, run, machine, "1" if begins else ""],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(environ or {})},
        )
        self.said = self.process.stdout.readline().strip()

    def __enter__(self):
        assert self.said == "held", self.process.stderr.read()
        return self

    def __exit__(self, *error):
        self.end()

    def end(self):
        """End it as a stage ends; the rest of what it said."""
        if self.process.poll() is None:
            _, said = self.process.communicate("", timeout=30)
            return said
        return ""

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def take(place, run="b", **options):
    with leases("other_stage"):
        hold(place, run, **options)


def refused(place, run="b", **options):
    with pytest.raises(BadInput) as error:
        take(place, run, **options)
    line = str(error.value)
    assert "\n" not in line
    assert f"store '{place}'" in line
    return line


def says(place):
    return json.loads(key_values(place).read("lease.json").result().value)


def test_a_living_run_is_named_and_not_disturbed(place, capsys):
    with Holder(place, "a") as one:
        line = refused(place, begins=True)
        assert "run 'a' on " in line
        assert "(some_stage, last sign of life 20" in line
        assert says(place)["run"] == "a"
        assert one.process.poll() is None
    # It has ended, here: the next may begin at once.
    take(place, begins=True)
    assert "waiting" not in capsys.readouterr().err
    assert says(place)["run"] == "b"


def test_a_run_that_was_killed_here_is_followed_at_once(place, capsys):
    with Holder(place, "a") as one:
        one.kill()
    take(place, begins=True)
    assert "waiting" not in capsys.readouterr().err
    assert says(place)["run"] == "b"


def test_a_run_of_another_machine_is_followed_once_it_gives_no_sign_of_life(place, capsys):
    with Holder(place, "a", machine="elsewhere") as one:
        # As long as it lives it is refused, and that is known by its next sign of life.
        refused(place, begins=True)
        one.kill()
    begun = time.monotonic()
    take(place, begins=True)
    assert time.monotonic() - begun > FAST["_DEAD"] - 0.2
    assert says(place)["run"] == "b"
    assert "waiting: store" in capsys.readouterr().err


def test_between_two_tasks_a_run_of_another_machine_keeps_its_store_for_a_while(
    tmp_path, monkeypatch
):
    place = str(tmp_path / "store")
    monkeypatch.setattr(lease, "_PAUSE", 60.0)
    with Holder(place, "a", machine="elsewhere"):
        pass
    assert says(place)["tasks"] == {}
    found = []

    def wait():
        try:
            take(place, begins=True)
            found.append("taken")
        except BadInput as error:
            found.append(str(error))

    other = threading.Thread(target=wait)
    other.start()
    time.sleep(0.3)
    # The next task of the run comes: who waits is refused.
    with Holder(place, "a", machine="elsewhere again", begins=False):
        other.join(30)
        assert "run 'a'" in found[0]
    # No task comes any more.
    monkeypatch.setattr(lease, "_PAUSE", 1.0)
    take(place, begins=True)


def test_tasks_of_one_run_work_side_by_side_and_one_after_the_other(place):
    with Holder(place, "a") as one, Holder(place, "a", begins=False):
        assert len(says(place)["tasks"]) == 2
        one.end()
        assert len(says(place)["tasks"]) == 1
        refused(place, begins=True)
    take(place, "a")


def test_of_two_that_come_at_once_one_is_refused(place):
    holders = in_threads(lambda run: Holder(place, run), "ab", threads=2)
    assert sorted(holder.said for holder in holders) == ["", "held"]
    for holder in holders:
        holder.end()


def followed_meanwhile(place):
    """A task that slept, or whose network was away, for so long that another run came."""
    with leases("a_stage"):
        hold(place, "a", begins=True)
        assert may_remove(place)
        other = {**says(place), "run": "b", "tasks": {}}
        key_values(place).write("lease.json", json.dumps(other)).result()
        assert not may_remove(place)


def test_a_task_finds_out_that_its_run_was_followed(tmp_path):
    place = str(tmp_path / "store")
    with pytest.raises(BadInput, match="lease of run 'a' until its work was done, found it taken"):
        followed_meanwhile(place)
    assert says(place)["run"] == "b"
    # A later task of it does not go on with what the other one made.
    line = refused(place, "a")
    assert "its own run left there" in line
    take(place, "a", begins=True)


def working_on(place):
    """A task that would work for long, in a store that another run takes over meanwhile."""
    with leases("a_stage"):
        hold(place, "a", begins=True)
        other = {**says(place), "run": "b", "tasks": {}}
        key_values(place).write("lease.json", json.dumps(other)).result()
        for _ in range(300):
            time.sleep(0.1)
        pytest.fail("it went on")


@pytest.mark.parametrize("on_sigint", [signal.SIG_IGN, signal.default_int_handler])
def test_a_task_stops_once_its_run_was_followed(tmp_path, request, on_sigint):
    """In a shell's background, too, where SIGINT is ignored."""
    before = signal.signal(signal.SIGINT, on_sigint)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    place = str(tmp_path / "store")
    with pytest.raises(BadInput, match=r"found it taken over by run 'b'"):
        working_on(place)
    assert says(place)["run"] == "b"


PROFILED = """
import sys
from tests.arrays import test_lease as tests
tests.lease._BEAT = 0.1
work, place = vars(tests)[sys.argv[1]], sys.argv[2]
try:
    work(place, begins=True) if sys.argv[1] == "take" else work(place)
except tests.BadInput:
    pass
calls = []
def called(): pass
sys.setprofile(lambda *about: calls.append(about))
called()
sys.setprofile(None)
print(bool(calls))
"""


@pytest.mark.parametrize("work", ["take", "followed_meanwhile", "working_on"])
def test_what_comes_after_a_lease_can_be_profiled(tmp_path, work):
    """An interruption that is asked for and taken back would hang a profiler or a debugger."""
    command = [sys.executable, "-c", PROFILED, work, str(tmp_path / "store")]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert ran.stdout == "True\n"


def failing(place):
    with leases("a_stage"):
        hold(place, "a", begins=True)
        raise RuntimeError


def test_a_run_that_failed_leaves_no_lease(tmp_path):
    place = str(tmp_path / "store")
    with pytest.raises(RuntimeError):
        failing(place)
    assert not (tmp_path / "store/lease.json").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"run": 3}', "\0" * 300])
def test_a_damaged_lease_is_none(tmp_path, content):
    (tmp_path / "lease.json").write_text(content)
    take(str(tmp_path), begins=True)
    assert says(str(tmp_path))["run"] == "b"


def test_a_launcher_s_run_lives_as_long_as_the_launcher(tmp_path, monkeypatch):
    place = str(tmp_path / "store/image")
    launcher = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    known = json.dumps(asdict(Process.of(launcher.pid)))
    environ = {lease.RUN_VARIABLE: "night", lease.LAUNCHER_VARIABLE: known}
    with Holder(place, "night", environ=environ):
        pass
    line = refused(place, begins=True)
    assert "run 'night'" in line
    assert "between two tasks" in line
    launcher.kill()
    launcher.wait()
    take(place, begins=True)
    # A launcher that ends gives its leases up itself.
    end_run(tmp_path / "store", "night")
    assert says(place)["run"] == "b"
    end_run(tmp_path / "store", "b")
    assert not (tmp_path / "store/image/lease.json").exists()


def test_a_run_is_called_as_its_launcher_says(monkeypatch):
    assert run_name("known") == "known"
    assert run_name() != run_name()
    monkeypatch.setenv(lease.RUN_VARIABLE, "night")
    assert run_name("known") == "night"


def test_this_process_can_be_a_run_s_launcher(tmp_path):
    place = str(tmp_path / "store")
    with Holder(place, "night", environ=run_variables("night")):
        pass
    line = refused(place, begins=True)
    assert "run 'night'" in line


def test_what_cannot_be_written_is_read_without_a_lease(tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    place = f"http://127.0.0.1:{server.server_port}/nowhere"
    take(place, writes=False)
    refused(place, begins=True)
    server.shutdown()


def test_outside_of_a_stage_nothing_is_held(tmp_path):
    hold(str(tmp_path / uuid.uuid4().hex), "a")
    assert list(tmp_path.iterdir()) == []
