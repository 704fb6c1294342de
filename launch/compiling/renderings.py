"""Renders a pipeline for the place where it is to run: the same graph on other hardware.

`portable` is what is committed; `vertex` is the portable one with a choice of accelerator;
`vertex-spot` makes each network stage's task a custom job on an exact machine, spot if wanted;
`kubeflow` asks for GPUs as Kubernetes names them. In a cloud, network stages that have a GPU run
in the form of their image with CUDA, and an exit handler reports a failed run.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from kfp import dsl

from cellmill.errors import BadInput, CellmillError
from cellmill.models.token import SECRET_VARIABLE
from components.container_images import ContainerImages, read_lock
from launch.compiling.caching import placed, uncached
from launch.compiling.choices import Choice
from launch.compiling.compiled import component_names, pipeline, to_yaml
from launch.compiling.exit_handler import reporting_failure
from launch.compiling.pods import KUBERNETES_GPU, on_kubernetes
from launch.compiling.rented import environment_of, told
from launch.images.building import stages_of
from pipelines.accelerators import accelerator, machine_for
from pipelines.hardware import GPU_IMAGES, PORTABLE, Hardware, Machine

TARGETS = ("portable", "vertex", "vertex-spot", "kubeflow")
CPU_ONLY = "none"
#: What fetches a model, by a DeepCell token where it needs one.
_TOKEN_STAGE = "fetch-model"


def render(
    name: str,
    target: str,
    choice: Choice | None = None,
    images: ContainerImages | None = None,
    *,
    report_failure: bool = True,
) -> str:
    """Return the YAML of a pipeline, rendered.

    Args:
        name: the pipeline's name.
        target: one of `TARGETS`.
        choice: the hardware of its network stages.
        images: where the images are; those of this machine by default.
        report_failure: in a cloud, end with a task that says how the run ended.

    Raises:
        BadInput: no such target, accelerator, machine, or combination of them.
        CellmillError: a package that this rendering needs is not installed.
    """
    hardware = hardware_for(target, choice or Choice())
    built = pipeline(name, hardware)
    if report_failure and target != "portable":
        built = reporting_failure(built, hardware["cpu"])
    text = to_yaml(built)
    return uncached(text) if images is None else placed(text, images, _remedy)


def hardware_for(target: str, choice: Choice) -> Hardware:
    """Return the machines of a target.

    Raises:
        BadInput: no such target, accelerator, machine, or combination of them.
    """
    if target not in TARGETS:
        raise BadInput("TARGET", expected=f"one of {', '.join(TARGETS)}", found=target)
    cpu = PORTABLE["cpu"]
    gpu = _with_choice(PORTABLE["gpu"], choice)
    if choice.accelerator == CPU_ONLY:
        if choice.spot or choice.machine:
            setting = "SPOT" if choice.spot else "MACHINE_TYPE"
            raise BadInput(setting, expected="an ACCELERATOR with it", found="ACCELERATOR=none")
        if target == "vertex-spot":
            setting = "HOURS" if choice.hours else "BOOT_DISK_GB"
            raise BadInput(setting, expected="an ACCELERATOR with it", found="ACCELERATOR=none")
        gpu = replace(gpu, accelerator="", accelerators=0)
    else:
        kind = accelerator(choice.accelerator or gpu.accelerator)
        machine = machine_for(kind, choice.count, choice.machine)
        gpu = replace(gpu, accelerator=kind.name, accelerators=choice.count)
        if target != "portable":
            gpu = replace(gpu, images=_gpu_images())
        if target == "vertex-spot":
            gpu = replace(
                gpu,
                wrap=_custom_job(kind.name, machine, gpu, choice),
                decorate=_retried(gpu) if choice.spot else None,
            )
    if target == "kubeflow":
        cpu, gpu = replace(cpu, decorate=on_kubernetes(cpu, choice)), _kubernetes_gpu(gpu, choice)
    elif target != "portable" and choice.token_secret:
        cpu = replace(cpu, decorate=_told_the_secret(choice.token_secret))
    return told(_with_resources({"cpu": cpu, "gpu": gpu}, choice), target, choice)


def _with_choice(machine: Machine, choice: Choice) -> Machine:
    return replace(
        machine,
        boot_disk_gb=choice.boot_disk_gb or machine.boot_disk_gb,
        hours=choice.hours or machine.hours,
        retries=machine.retries if choice.retries < 0 else choice.retries,
        shared_memory=choice.pods.shared_memory or machine.shared_memory,
    )


def _with_resources(hardware: Hardware, choice: Choice) -> Hardware:
    """Put the user's processors and memory in the place of the table's."""
    found = dict(hardware)
    if not choice.resources:
        return found
    network = {stage for image in GPU_IMAGES for stage in stages_of(image)}
    for what, wanted in choice.resources:
        role = what if what in found else "gpu" if what in network else "cpu"
        if what not in found and what not in component_names():
            expected = f"one of {', '.join([*found, *component_names()])}"
            raise BadInput("RESOURCES", expected=expected, found=what)
        if found[role].wrap:
            raise BadInput("RESOURCES", expected=f"MACHINE_TYPE for '{what}'", found=what)
        machine = replace(found[role], cpu=wanted.cpu, memory=wanted.memory)
        if what in found:
            found[role] = machine
        else:
            stages = {**found[role].stages, what: replace(machine, stages={})}
            found[role] = replace(found[role], stages=stages)
    return found


def _gpu_images() -> dict[str, str]:
    local = read_lock()
    return {local[name].reference: local[form].reference for name, form in GPU_IMAGES.items()}


def _remedy(image: str) -> str:
    push = f"make build-images NAME={image}, then make push NAME={image} REGISTRY=…"
    return f"{push}; or ACCELERATOR=none" if image in GPU_IMAGES.values() else push


def _custom_job(kind: str, machine: str, gpu: Machine, choice: Choice) -> Callable[[Any], Any]:
    def wrap(component: Any) -> Any:
        # The room of reports imports for a second.
        from cellmill.reporting.costs import Rented

        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            try:
                from google_cloud_pipeline_components.v1.custom_job import (
                    create_custom_training_job_from_component,
                )
            except ImportError as error:
                raise CellmillError(
                    "TARGET=vertex needs google-cloud-pipeline-components (make run installs it)"
                ) from error
            return create_custom_training_job_from_component(
                component,
                display_name=component.name,
                machine_type=machine,
                accelerator_type=kind,
                accelerator_count=choice.count,
                boot_disk_type="pd-ssd",
                boot_disk_size_gb=gpu.boot_disk_gb,
                timeout=f"{round(gpu.hours * 3600)}s",
                strategy="SPOT" if choice.spot else "STANDARD",
                service_account=choice.service_account,
                network=choice.network,
                encryption_spec_key_name=choice.kms_key,
                env=environment_of(
                    Rented(choice.region, machine, kind, choice.count, choice.spot), choice
                ),
            )

    return wrap


def _retried(machine: Machine) -> Callable[[dsl.PipelineTask], object]:
    def decorate(task: dsl.PipelineTask) -> None:
        task.set_retry(
            num_retries=machine.retries, backoff_duration=machine.backoff, backoff_factor=2.0
        )

    return decorate


def _told_the_secret(secret: str) -> Callable[[dsl.PipelineTask], object]:
    def decorate(task: dsl.PipelineTask) -> None:
        if task.component_spec.name == _TOKEN_STAGE:
            task.set_env_variable(SECRET_VARIABLE, secret)

    return decorate


def _kubernetes_gpu(gpu: Machine, choice: Choice) -> Machine:
    if choice.machine:
        raise BadInput("MACHINE_TYPE", expected="none (Kubernetes chooses)", found=choice.machine)
    if not gpu.accelerator:
        return replace(gpu, decorate=on_kubernetes(gpu, choice))
    # Without a choice of the user's any node with a GPU will do.
    label = accelerator(choice.accelerator).node_label if choice.accelerator else ""
    return replace(
        gpu, accelerator=KUBERNETES_GPU, decorate=on_kubernetes(gpu, choice, gpu=True, label=label)
    )
