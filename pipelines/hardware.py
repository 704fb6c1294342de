"""The machines that tasks ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
        wrap: for a platform on which a component brings its machine itself.
        decorate: for settings of a task that one platform alone knows.
    """

    cpu: str
    memory: str
    accelerator: str = ""
    accelerators: int = 0
    wrap: Callable[[Any], Any] | None = None
    decorate: Callable[[dsl.PipelineTask], object] | None = None

    def use(self, component: Any) -> Any:
        """Return a component as it is called on this machine. Call it outside the pipeline."""
        return self.wrap(component) if self.wrap else component

    def place(self, task: dsl.PipelineTask) -> dsl.PipelineTask:
        """Ask for this machine for a task, and return the task."""
        if not self.wrap:
            task.set_cpu_limit(self.cpu).set_memory_limit(self.memory)
            if self.accelerator:
                task.set_accelerator_type(self.accelerator)
                task.set_accelerator_limit(self.accelerators)
        if self.decorate:
            self.decorate(task)
        return task


#: Machines by role. Only network stages ask for a GPU.
Hardware = Mapping[str, Machine]

#: The committed rendering: it runs locally (where these settings are ignored), in Docker, and on
#: Vertex AI, whose N1 machines carry a T4.
PORTABLE: Hardware = {
    "cpu": Machine("4", "16G"),
    "gpu": Machine("8", "30G", "NVIDIA_TESLA_T4", 1),
}
