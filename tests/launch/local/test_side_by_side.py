"""Independent tasks run side by side, as many as there is room for; what waits for others waits."""

import builtins
import threading
import time

import pytest
from kfp import compiler, dsl
from kfp.local import logging_utils

from launch.local import room, side_by_side
from launch.local.room import Room
from launch.local.running import RunFailed, run_pipeline
from tests.launch.local.test_local import IMAGE, PLACEHOLDER


def meets(name, other, folder, then="pass"):
    """A task that ends once another has begun."""
    code = (
        "import json, pathlib, sys, time\n"
        f"folder = pathlib.Path({str(folder)!r})\n"
        f"(folder / {name!r}).touch()\n"
        "end = time.monotonic() + 100\n"
        f"while {other!r} and not (folder / {other!r}).exists() and time.monotonic() < end:\n"
        "    time.sleep(0.01)\n"
        f"assert time.monotonic() < end\n{then}\n"
        "e = json.loads(sys.argv[3])['outputs']\n"
        "open(e['artifacts']['out']['artifacts'][0]['uri'], 'w').write('')\n"
        "json.dump({}, open(e['outputFile'], 'w'))\n"
    )

    def spec(out: dsl.Output[dsl.Dataset]):
        return dsl.ContainerSpec(
            image=IMAGE,
            command=["python", "-c", code],
            args=[name, "--executor-input", PLACEHOLDER],
        )

    spec.__name__ = name
    return dsl.container_component(spec)


def run(tmp_path, pipeline, **arguments):
    path = tmp_path / "pipeline.yaml"
    compiler.Compiler().compile(pipeline, str(path))
    return run_pipeline(path, arguments, tmp_path / "artifacts", tmp_path / "logs")


def looped(tmp_path, then="pass", waiting=True):
    """Two tasks in a loop's turn, that may wait for each other to begin, and one after both.

    Those of several turns must not wait: two that do would hold all the room there is.
    """
    one = meets("one", "two" if waiting else "", tmp_path)
    two = meets("two", "one" if waiting else "", tmp_path, then)
    last = meets("last", "", tmp_path)

    @dsl.pipeline(name="loop")
    def pipeline(turns: list[str]):
        with dsl.ParallelFor(turns):
            last().after(one(), two())

    return pipeline


@pytest.fixture(autouse=True)
def _memory(monkeypatch):
    monkeypatch.setattr(room, "available_mib", lambda: 2000)


def test_independent_tasks_of_a_turn_run_side_by_side(tmp_path):
    run(tmp_path, looped(tmp_path), turns=["a"])
    assert (tmp_path / "last").exists()


def test_what_waits_for_a_task_that_failed_does_not_run(tmp_path):
    with pytest.raises(RunFailed, match="stage 'two' failed"):
        run(tmp_path, looped(tmp_path, "1/0"), turns=["a"])
    assert not (tmp_path / "last").exists()


def test_no_more_tasks_run_than_there_is_room_for():
    room_, most, running = Room(2), [0], [0]
    lock = threading.Lock()

    def work(memory):
        with room_.take(memory):
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
            time.sleep(0.05)
            with lock:
                running[0] -= 1

    def at_most(memory):
        most[0] = 0
        threads = [threading.Thread(target=work, args=[memory]) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return most[0]

    assert at_most(100) <= 2
    # Where memory is short one runs at a time, however much it wants.
    assert at_most(5000) == 1


def test_the_seam_in_kfp_is_where_it_was(monkeypatch):
    side_by_side.check_seam()
    monkeypatch.delattr(side_by_side.orchestrator, "execute_task")
    with pytest.raises(RuntimeError, match=r"side_by_side\.py must follow"):
        side_by_side.check_seam()


def test_no_task_swaps_print(tmp_path, monkeypatch):
    """kfp swaps it in each thread, and those that end across each other would leave theirs."""
    own, seen = builtins.print, set()
    execute = side_by_side.orchestrator.execute_task

    def watched(**given):
        found = execute(**given)
        seen.add(builtins.print)
        return found

    monkeypatch.setattr(side_by_side.orchestrator, "execute_task", watched)
    indented = logging_utils.indented_print
    with side_by_side.side_by_side(), logging_utils.indented_print():
        seen.add(builtins.print)
    run(tmp_path, looped(tmp_path, waiting=False), turns=["a", "b", "c"])
    assert seen == {own}
    assert logging_utils.indented_print is indented
