"""The one way in which a component runs its stage."""

from __future__ import annotations

from kfp import dsl

from components.container_images import read_lock

_IMAGES = read_lock()


def run_stage(stage: str, *, image: str) -> dsl.ContainerSpec:
    """Return the container that runs a stage: artifacts and parameters are bound by name.

    Args:
        stage: the stage's name.
        image: the image's name, a folder under `images/`.
    """
    return dsl.ContainerSpec(
        image=_IMAGES[image].reference,
        command=["python", "-m", "cellmill"],
        args=[stage, "--executor-input", dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER],
    )
