"""Independent tasks of a pipeline side by side.

kfp.local's orchestrator runs the turns of a loop two at a time, and the tasks of one turn one after
the other, though most wait for few of the others. `side_by_side` begins a task as soon as those are
done that it waits for. Loops, conditions and exit handlers stay kfp's. How many tasks run at a
time, `LocalRun` says.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from kfp.local import io, logging_utils, status
from kfp.local.orchestrator import enhanced_dag_orchestrator as orchestrator
from kfp.local.orchestrator.orchestrator_utils import OrchestratorUtils

#: More tasks of one graph than this are not begun before others have ended.
_MOST = 4


@contextlib.contextmanager
def side_by_side() -> Iterator[None]:
    """Let kfp.local run independent tasks side by side within the block.

    Raises:
        RuntimeError: this kfp has no such seam.
    """
    check_seam()
    original, indented = orchestrator.run_enhanced_dag, logging_utils.indented_print

    def run(**given: Any) -> tuple[dict[str, Any], Any]:
        is_plain = all(map(_is_plain, given["dag_component_spec"].dag.tasks.values()))
        return _run(**given) if is_plain else original(**given)

    orchestrator.run_enhanced_dag = run
    logging_utils.indented_print = _as_it_is
    try:
        yield
    finally:
        orchestrator.run_enhanced_dag = original
        logging_utils.indented_print = indented


@contextlib.contextmanager
def _as_it_is(num_spaces: int = 4) -> Iterator[None]:
    """In place of kfp's indentation, which swaps `print` for one that calls it twice.

    Threads that begin and end across each other leave theirs in place, one around the other: after
    a few dozen tasks a single line is printed 2³⁰ times.
    """
    yield


def check_seam() -> None:
    """Check that kfp.local's orchestrator is what this module knows.

    Raises:
        RuntimeError: it is not.
    """
    names = ("run_enhanced_dag", "execute_task")
    known = all(hasattr(orchestrator, name) for name in names)
    if not (known and hasattr(logging_utils, "indented_print")):
        raise RuntimeError(
            "kfp has moved kfp.local's orchestrator; launch/local/side_by_side.py must follow it "
            "(known to work: kfp 2.17.0)"
        )


def _is_plain(task: Any) -> bool:
    """Whether a task is run once, after others that went well."""
    policy = task.trigger_policy
    completed = policy.TriggerStrategy.ALL_UPSTREAM_TASKS_COMPLETED
    return not (task.WhichOneof("iterator") or policy.condition or policy.strategy == completed)


def _run(
    *,
    dag_component_spec: Any,
    dag_arguments: Mapping[str, Any],
    fail_stack: list[str],
    parent_io_store: Any = None,
    **others: Any,
) -> tuple[dict[str, Any], Any]:
    """Run a graph of plain tasks; its outputs and whether all went well."""
    store = io.IOStore(parent=parent_io_store)
    arguments = OrchestratorUtils.join_user_inputs_and_defaults(
        dag_arguments=dag_arguments, dag_inputs_spec=dag_component_spec.input_definitions
    )
    for name, value in arguments.items():
        store.put_parent_input(name, value)
    dag = dag_component_spec.dag

    def execute(name: str) -> tuple[dict[str, Any], Any]:
        return orchestrator.execute_task(
            task_name=name,
            task_spec=dag.tasks[name],
            io_store=store,
            fail_stack=fail_stack,
            **others,
        )

    def done(name: str, outputs: Mapping[str, Any]) -> None:
        for key, value in outputs.items():
            store.put_task_output(name, key, value)

    waits = {name: {*task.dependent_tasks} for name, task in dag.tasks.items()}
    failed = _each_in_turn(waits, execute, done)
    if failed:
        fail_stack.extend(failed)
        return {}, status.Status.FAILURE
    outputs = OrchestratorUtils.get_dag_outputs(
        dag_outputs_spec=dag_component_spec.dag.outputs, io_store=store
    )
    return outputs, status.Status.SUCCESS


def _each_in_turn(
    waits: dict[str, set[str]],
    execute: Callable[[str], tuple[dict[str, Any], Any]],
    done: Callable[[str, Mapping[str, Any]], None],
) -> list[str]:
    """Execute each once those are done that it waits for; the names of those that failed.

    What waits for one that failed is left out; the rest is executed.
    """
    left, ended, failed = dict(waits), set[str](), list[str]()
    running: dict[Future[tuple[dict[str, Any], Any]], str] = {}
    with ThreadPoolExecutor(_MOST) as pool:
        while True:
            for name in [name for name, others in left.items() if others <= ended]:
                del left[name]
                running[pool.submit(execute, name)] = name
            if not running:
                return failed
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                name = running.pop(future)
                outputs, state = future.result()
                if state == status.Status.SUCCESS:
                    done(name, outputs)
                    ended.add(name)
                else:
                    failed.append(name)
