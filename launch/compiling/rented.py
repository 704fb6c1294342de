"""Tells a stage in a cloud which machine was rented for it, and where its run's stores lie.

Its record says the machine; arrays elsewhere than in the run's places are refused. The machine is
the one that is asked for: Vertex AI gives a task without an exact machine the smallest that fits
its processors, memory and GPUs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from kfp import dsl

from cellmill.arrays.entries import STORES_VARIABLE
from cellmill.contract.recording import MACHINE_VARIABLE
from pipelines.accelerators import accelerator, machine_for
from pipelines.hardware import Hardware, Machine

if TYPE_CHECKING:
    from cellmill.reporting.costs import Rented
    from launch.compiling.choices import Choice

#: What Vertex AI gives a task that asks for so many processors and so much memory, and no GPU.
_BY_SIZE: Mapping[tuple[str, str], str] = {
    ("4", "16G"): "e2-standard-4",
    ("8", "30G"): "e2-standard-8",
    ("8", "32G"): "e2-standard-8",
}


def told(hardware: Hardware, target: str, choice: Choice) -> Hardware:
    """Return machines whose tasks are told what they run on and where the run's stores lie.

    Args:
        hardware: machines by role.
        target: the rendering; Kubernetes chooses its nodes itself, and what they are is not known.
        choice: what the user chose of them.
    """
    if target == "portable":
        return hardware
    vertex = target.startswith("vertex")
    return {role: _told(machine, choice, vertex) for role, machine in hardware.items()}


def rented(machine: Machine, choice: Choice) -> Rented:
    """Return what Vertex AI rents for a task."""
    # The room of reports imports for a second.
    from cellmill.reporting.costs import Rented

    if not machine.accelerator:
        return Rented(choice.region, _BY_SIZE.get((machine.cpu, machine.memory), ""))
    kind = accelerator(machine.accelerator)
    name = machine_for(kind, machine.accelerators, choice.machine)
    spot = choice.spot and machine.wrap is not None
    return Rented(choice.region, name, kind.name, machine.accelerators, spot)


def environment_of(machine: Rented, choice: Choice) -> list[dict[str, str]]:
    """Return what a stage is told as a custom job takes it."""
    told = {MACHINE_VARIABLE: str(machine), **_stores(choice)}
    return [{"name": name, "value": value} for name, value in told.items()]


def _stores(choice: Choice) -> dict[str, str]:
    return {STORES_VARIABLE: "\n".join(choice.stores)} if choice.stores else {}


def _told(machine: Machine, choice: Choice, vertex: bool) -> Machine:
    # A task that is a job of its own gets its variables with the job.
    if machine.wrap is not None:
        return machine

    def decorate(task: dsl.PipelineTask) -> None:
        if vertex:
            task.set_env_variable(MACHINE_VARIABLE, str(rented(machine, choice)))
        for name, value in _stores(choice).items():
            task.set_env_variable(name, value)
        if machine.decorate:
            machine.decorate(task)

    stages = {stage: _told(each, choice, vertex) for stage, each in machine.stages.items()}
    return replace(machine, stages=stages, decorate=decorate)
