"""Renders a pipeline for the place where it is to run: the same graph on other hardware.

``portable`` is what is committed; ``vertex`` is the portable one with a choice of accelerator;
``vertex-spot`` makes each GPU task a custom job on an exact machine, spot if wanted; ``kubeflow``
asks for GPUs as Kubernetes names them.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from kfp import dsl

from cellmill.errors import BadInput, CellmillError
from cellmill.reporting.costs import Rented
from components.images import Images
from launch.caching import placed, uncached
from launch.compile import pipeline, to_yaml
from launch.rented import environment_of, told
from pipelines.accelerators import accelerator, machine_for
from pipelines.hardware import PORTABLE, Hardware, Machine

TARGETS = ("portable", "vertex", "vertex-spot", "kubeflow")
CPU_ONLY = "none"
#: A spot machine can be taken away at any time; then its task is begun anew.
SPOT_RETRIES = 3
_SPOT_BACKOFF = "60s"
_KUBERNETES_GPU = "nvidia.com/gpu"
_GKE_LABEL = "cloud.google.com/gke-accelerator"
_GKE_SPOT_LABEL = "cloud.google.com/gke-spot"
#: TensorFlow's input threads share memory there; a pod has 64 MiB of it otherwise.
_SHARED_MEMORY = "4Gi"
#: The Kubernetes Secret that holds the DeepCell token; it need not be there.
TOKEN_SECRET = "deepcell-access-token"
_TOKEN_KEY = "token"
_TOKEN_VARIABLE = "DEEPCELL_ACCESS_TOKEN"
_TOKEN_STAGE = "fetch-model"


@dataclass(frozen=True)
class Choice:
    """What a user chooses of the hardware of network stages.

    Attributes:
        accelerator: type of GPU, as Vertex AI names it; ``none`` for the CPU; empty for the
            portable rendering's.
        count: how many a task gets.
        machine: exact machine type; empty for one that fits.
        spot: take machines that are cheap and can be taken away.
        boot_disk_gb: size of the machine's disk, which holds the task's inputs and outputs.
        hours: after which a task is ended.
        service_account: as whom a task runs that is a job of its own on Vertex AI, which does not
            take the run's.
        network: the same for the network.
        kms_key: the same for the key of encryption.
        region: where the machines are, for what they cost.
    """

    accelerator: str = ""
    count: int = 1
    machine: str = ""
    spot: bool = False
    boot_disk_gb: int = 100
    hours: float = 6.0
    service_account: str = ""
    network: str = ""
    kms_key: str = ""
    region: str = ""


def render(
    name: str, target: str, choice: Choice | None = None, images: Images | None = None
) -> str:
    """Return the YAML of a pipeline, rendered.

    Args:
        name: the pipeline's name.
        target: one of ``TARGETS``.
        choice: the hardware of its network stages.
        images: where the images are; those of this machine by default.

    Raises:
        BadInput: no such target, accelerator, machine, or combination of them.
        CellmillError: a package that this rendering needs is not installed.
    """
    hardware = hardware_for(target, choice or Choice())
    text = to_yaml(pipeline(name, hardware))
    return uncached(text) if images is None else placed(text, images)


def hardware_for(target: str, choice: Choice) -> Hardware:
    """Return the machines of a target.

    Raises:
        BadInput: no such target, accelerator, machine, or combination of them.
    """
    if target not in TARGETS:
        raise BadInput("TARGET", expected=f"one of {', '.join(TARGETS)}", found=target)
    cpu, gpu = PORTABLE["cpu"], PORTABLE["gpu"]
    if choice.accelerator == CPU_ONLY:
        if choice.spot or choice.machine:
            setting = "SPOT" if choice.spot else "MACHINE_TYPE"
            raise BadInput(setting, expected="an ACCELERATOR with it", found="ACCELERATOR=none")
        gpu = replace(gpu, accelerator="", accelerators=0)
    else:
        kind = accelerator(choice.accelerator or gpu.accelerator)
        machine = machine_for(kind, choice.count, choice.machine)
        gpu = replace(gpu, accelerator=kind.name, accelerators=choice.count)
        if target == "vertex-spot":
            gpu = replace(
                gpu, wrap=_custom_job(kind.name, machine, choice), decorate=_retried(choice)
            )
    if target == "kubeflow":
        cpu, gpu = replace(cpu, decorate=_on_kubernetes()), _kubernetes_gpu(gpu, choice)
    return told({"cpu": cpu, "gpu": gpu}, target, choice)


def _custom_job(kind: str, machine: str, choice: Choice) -> Callable[[Any], Any]:
    def wrap(component: Any) -> Any:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            try:
                from google_cloud_pipeline_components.v1.custom_job import (
                    create_custom_training_job_from_component,
                )
            except ImportError as error:
                raise _not_installed("google-cloud-pipeline-components", "vertex") from error
            return create_custom_training_job_from_component(
                component,
                display_name=component.name,
                machine_type=machine,
                accelerator_type=kind,
                accelerator_count=choice.count,
                boot_disk_type="pd-ssd",
                boot_disk_size_gb=choice.boot_disk_gb,
                timeout=f"{round(choice.hours * 3600)}s",
                strategy="SPOT" if choice.spot else "STANDARD",
                service_account=choice.service_account,
                network=choice.network,
                encryption_spec_key_name=choice.kms_key,
                env=environment_of(Rented(choice.region, machine, kind, choice.count, choice.spot)),
            )

    return wrap


def _retried(choice: Choice) -> Callable[[dsl.PipelineTask], object]:
    def decorate(task: dsl.PipelineTask) -> None:
        if choice.spot:
            task.set_retry(
                num_retries=SPOT_RETRIES, backoff_duration=_SPOT_BACKOFF, backoff_factor=2.0
            )

    return decorate


def _kubernetes_gpu(gpu: Machine, choice: Choice) -> Machine:
    if choice.machine:
        raise BadInput("MACHINE_TYPE", expected="none (Kubernetes chooses)", found=choice.machine)
    if not gpu.accelerator:
        return replace(gpu, decorate=_on_kubernetes())
    # Without a choice of the user's any node with a GPU will do.
    label = accelerator(choice.accelerator).node_label if choice.accelerator else ""
    return replace(
        gpu,
        accelerator=_KUBERNETES_GPU,
        decorate=_on_kubernetes(gpu=True, label=label, spot=choice.spot),
    )


def _on_kubernetes(
    *, gpu: bool = False, label: str = "", spot: bool = False
) -> Callable[[dsl.PipelineTask], object]:
    def decorate(task: dsl.PipelineTask) -> None:
        try:
            from kfp import kubernetes
        except ImportError as error:
            raise _not_installed("kfp-kubernetes", "kubeflow") from error
        if task.component_spec.name == _TOKEN_STAGE:
            kubernetes.use_secret_as_env(
                task, TOKEN_SECRET, {_TOKEN_KEY: _TOKEN_VARIABLE}, optional=True
            )
        if gpu:
            kubernetes.add_toleration(
                task, key=_KUBERNETES_GPU, operator="Exists", effect="NoSchedule"
            )
            kubernetes.empty_dir_mount(
                task, "shm", "/dev/shm", medium="Memory", size_limit=_SHARED_MEMORY
            )
        if label:
            kubernetes.add_node_selector(task, _GKE_LABEL, label)
        if spot:
            kubernetes.add_node_selector(task, _GKE_SPOT_LABEL, "true")
            kubernetes.add_toleration(
                task, key=_GKE_SPOT_LABEL, operator="Equal", value="true", effect="NoSchedule"
            )
            task.set_retry(
                num_retries=SPOT_RETRIES, backoff_duration=_SPOT_BACKOFF, backoff_factor=2.0
            )

    return decorate


def _not_installed(package: str, extra: str) -> CellmillError:
    return CellmillError(f"TARGET={extra} needs {package} (make run installs it)")
