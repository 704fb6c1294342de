"""The machines that tasks ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kfp import dsl


@dataclass(frozen=True)
class Machine:
    """What one task asks for.

    Attributes:
        cpu: processors, as Kubernetes writes them.
        memory: memory, as Kubernetes writes it.
        accelerator: type of accelerator; empty for none.
        accelerators: how many.
    """

    cpu: str
    memory: str
    accelerator: str = ""
    accelerators: int = 0

    def place(self, task: dsl.PipelineTask) -> dsl.PipelineTask:
        """Ask for this machine for a task, and return the task."""
        task.set_cpu_limit(self.cpu).set_memory_limit(self.memory)
        if self.accelerator:
            task.set_accelerator_type(self.accelerator).set_accelerator_limit(self.accelerators)
        return task


#: Machines by role. Only network stages ask for a GPU.
Hardware = Mapping[str, Machine]

#: The committed rendering: it runs locally (where these settings are ignored), in Docker, and on
#: Vertex AI, whose N1 machines carry a T4.
PORTABLE: Hardware = {
    "cpu": Machine("4", "16G"),
    "gpu": Machine("8", "30G", "NVIDIA_TESLA_T4", 1),
}
