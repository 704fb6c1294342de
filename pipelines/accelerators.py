"""The GPUs that network stages can ask for, and the machines that carry them.

Google Cloud's "GPU machine types" documentation, as of 2025.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cellmill.errors import BadInput


@dataclass(frozen=True)
class Accelerator:
    """A type of GPU.

    Attributes:
        name: what Vertex AI calls it.
        node_label: what GKE labels its nodes with (`cloud.google.com/gke-accelerator`).
        machines: how many of them each machine type carries; several where one may choose.
        machine: the machine type for one of them, where the user names none.
        spot: whether spot machines carry it.
    """

    name: str
    node_label: str
    machines: Mapping[str, tuple[int, ...]]
    machine: str
    spot: bool = True


_N1 = ("n1-standard-4", "n1-standard-8", "n1-standard-16", "n1-highmem-4", "n1-highmem-8")

ACCELERATORS: Mapping[str, Accelerator] = {
    a.name: a
    for a in (
        Accelerator(
            "NVIDIA_TESLA_T4", "nvidia-tesla-t4", dict.fromkeys(_N1, (1, 2, 4)), "n1-standard-8"
        ),
        Accelerator(
            "NVIDIA_L4",
            "nvidia-l4",
            {
                "g2-standard-4": (1,),
                "g2-standard-8": (1,),
                "g2-standard-12": (1,),
                "g2-standard-16": (1,),
                "g2-standard-24": (2,),
                "g2-standard-32": (1,),
                "g2-standard-48": (4,),
                "g2-standard-96": (8,),
            },
            "g2-standard-8",
        ),
        Accelerator(
            "NVIDIA_TESLA_A100",
            "nvidia-tesla-a100",
            {f"a2-highgpu-{n}g": (n,) for n in (1, 2, 4, 8)} | {"a2-megagpu-16g": (16,)},
            "a2-highgpu-1g",
        ),
        Accelerator(
            "NVIDIA_A100_80GB",
            "nvidia-a100-80gb",
            {f"a2-ultragpu-{n}g": (n,) for n in (1, 2, 4, 8)},
            "a2-ultragpu-1g",
        ),
    )
}


def accelerator(name: str) -> Accelerator:
    """Return an accelerator by its name.

    Raises:
        BadInput: there is none of that name.
    """
    if name not in ACCELERATORS:
        raise BadInput("ACCELERATOR", expected=f"one of {', '.join(ACCELERATORS)}", found=name)
    return ACCELERATORS[name]


def machine_for(kind: Accelerator, count: int, machine: str = "") -> str:
    """Return the machine type that carries so many accelerators.

    Args:
        kind: the accelerator.
        count: how many.
        machine: the machine type that the user wants; empty for the first that fits.

    Raises:
        BadInput: no such machine, or it carries another number of them.
    """
    if machine and machine not in kind.machines:
        raise BadInput(
            "MACHINE_TYPE",
            expected=f"one that carries {kind.name} ({', '.join(kind.machines)})",
            found=machine,
        )
    for name in [machine] if machine else [kind.machine, *kind.machines]:
        if count in kind.machines[name]:
            return name
    names = [machine] if machine else list(kind.machines)
    counts = sorted({n for name in names for n in kind.machines[name]})
    raise BadInput(
        "ACCELERATORS",
        expected=f"one of {', '.join(map(str, counts))} ({machine or kind.name})",
        found=str(count),
    )
