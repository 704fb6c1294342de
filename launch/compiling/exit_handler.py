"""Puts a pipeline into an exit handler, whose task says how the run ended."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from kfp import dsl

from components.report_failure.component import report_failure
from pipelines.hardware import Machine

_TASK = "report-failure"


def reporting_failure(inner: Any, machine: Machine) -> Any:
    """Return a pipeline of the same name and parameters that runs another to its end.

    It has no outputs, which kfp lets none return out of an exit handler; `pipeline_dag` finds
    those of the other in it. Kubeflow before 2.15 refuses a pipeline whose exit handler asks how
    the run ended, and a run of this machine says so itself: therefore this is in the renderings for
    clouds alone.

    Args:
        inner: the pipeline.
        machine: where the last task runs.
    """
    function = inner.pipeline_func
    signature = inspect.signature(function)

    def outer(*arguments: Any) -> None:
        # What a run before this one was told is no answer.
        told = machine.place(report_failure(pipeline=inner.name)).set_caching_options(False)
        with dsl.ExitHandler(told, name="run"):
            inner(**dict(zip(signature.parameters, arguments, strict=True)))

    outer.__name__, outer.__doc__ = function.__name__, function.__doc__
    outer.__signature__ = signature.replace(  # type: ignore[attr-defined]
        return_annotation=inspect.Signature.empty
    )
    return dsl.pipeline(name=inner.name)(outer)


def pipeline_dag(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the tasks and outputs of a compiled pipeline, be it in an exit handler or not."""
    dag: Mapping[str, Any] = spec["root"]["dag"]
    while _TASK in dag["tasks"] or "outputs" not in dag:
        (task,) = (task for name, task in dag["tasks"].items() if name != _TASK)
        dag = spec["components"][task["componentRef"]["name"]]["dag"]
    return dag
