"""The machines that tasks ask for: one table, by role and stage."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kfp import dsl


@dataclass(frozen=True)
class Machine:
    """What one task asks for.

    Attributes:
        cpu: processors, as Kubernetes writes them.
        memory: memory, as Kubernetes writes it.
        accelerator: type of accelerator; empty for none.
        accelerators: how many.
        boot_disk_gb: size of an exact machine's disk, which holds the task's inputs and outputs.
        hours: after which an exact machine's task, or a pod, is ended; 0 for never.
        retries: how often a task is begun anew whose machine was taken away.
        backoff: how long it waits before the first time, doubled at each next one.
        shared_memory: what a pod gets of it, as Kubernetes writes it; empty for its 64 MiB.
        cache: take what an earlier run made of the same inputs, where a task allows it.
        stages: machines of single stages that need others.
        images: by which reference an image is replaced.
        wrap: for a platform on which a component brings its machine itself.
        decorate: for settings of a task that one platform alone knows.
    """

    cpu: str
    memory: str
    accelerator: str = ""
    accelerators: int = 0
    boot_disk_gb: int = 100
    hours: float = 0.0
    retries: int = 3
    backoff: str = "60s"
    shared_memory: str = ""
    cache: bool = True
    stages: Mapping[str, Machine] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    wrap: Callable[[Any], Any] | None = None
    decorate: Callable[[dsl.PipelineTask], object] | None = None

    def use(self, component: Any) -> Any:
        """Return a component as it is called on this machine. Call it outside the pipeline."""
        container = component.component_spec.implementation.container
        if container.image in self.images:
            component = copy.deepcopy(component)
            container = component.component_spec.implementation.container
            container.image = self.images[container.image]
        return self.wrap(component) if self.wrap else component

    def place(self, task: dsl.PipelineTask) -> dsl.PipelineTask:
        """Ask for this machine for a task, and return the task."""
        machine = self.stages.get(str(task.component_spec.name).replace("-", "_"), self)
        if not machine.wrap:
            task.set_cpu_limit(machine.cpu).set_memory_limit(machine.memory)
            if machine.accelerator:
                task.set_accelerator_type(machine.accelerator)
                task.set_accelerator_limit(machine.accelerators)
        if not machine.cache:
            task.set_caching_options(False)
        if machine.decorate:
            machine.decorate(task)
        return task


#: Machines by role. Only network stages ask for a GPU.
Hardware = Mapping[str, Machine]

#: The committed rendering: it runs locally (where these settings are ignored), in Docker, and on
#: Vertex AI, whose N1 machines carry a T4.
PORTABLE: Hardware = {
    "cpu": Machine("4", "16G"),
    # TensorFlow's input threads share memory.
    "gpu": Machine("8", "30G", "NVIDIA_TESLA_T4", 1, hours=6.0, shared_memory="4Gi"),
}

#: The form of an image that its stages run in on a machine with a GPU.
GPU_IMAGES: Mapping[str, str] = {"tensorflow": "tensorflow-cuda"}
