"""What Kubernetes alone knows of a task: nodes, taints, shared memory, volumes, secrets, an end."""

from __future__ import annotations

from collections.abc import Callable

from kfp import dsl

from cellmill.errors import BadInput, CellmillError
from cellmill.models.token import TOKEN_VARIABLE
from launch.compiling.choices import Choice, Pods
from pipelines.hardware import Machine

KUBERNETES_GPU = "nvidia.com/gpu"
_GKE_LABEL = "cloud.google.com/gke-accelerator"
_GKE_SPOT_LABEL = "cloud.google.com/gke-spot"
_TOKEN_STAGE = "fetch-model"


def on_kubernetes(
    machine: Machine, choice: Choice, *, gpu: bool = False, label: str = ""
) -> Callable[[dsl.PipelineTask], object]:
    """Return what decorates the tasks of a role.

    Args:
        machine: the role's row of the table.
        choice: what the user chose.
        gpu: whether its tasks get a GPU; spot machines are for those alone.
        label: what GKE labels the nodes of that GPU with; empty for any.

    Raises:
        BadInput: a choice is asked for twice.
    """
    pods = choice.pods
    selector = dict(pods.node_selector)
    for key, value in ((_GKE_LABEL, label), (_GKE_SPOT_LABEL, "true" if choice.spot else "")):
        if gpu and value and selector.get(key, value) != value:
            raise BadInput("NODE_SELECTOR", expected=f"{key}={value}", found=selector[key])

    def decorate(task: dsl.PipelineTask) -> None:
        try:
            from kfp import kubernetes
        except ImportError as error:
            raise CellmillError(
                "TARGET=kubeflow needs kfp-kubernetes (make run installs it)"
            ) from error
        if pods.secret and task.component_spec.name == _TOKEN_STAGE:
            secret, key = pods.secret
            kubernetes.use_secret_as_env(task, secret, {key: TOKEN_VARIABLE})
        if gpu:
            kubernetes.add_toleration(
                task, key=KUBERNETES_GPU, operator="Exists", effect="NoSchedule"
            )
        if gpu and label:
            kubernetes.add_node_selector(task, _GKE_LABEL, label)
        if gpu and choice.spot:
            kubernetes.add_node_selector(task, _GKE_SPOT_LABEL, "true")
            kubernetes.add_toleration(
                task, key=_GKE_SPOT_LABEL, operator="Equal", value="true", effect="NoSchedule"
            )
            task.set_retry(
                num_retries=machine.retries, backoff_duration=machine.backoff, backoff_factor=2.0
            )
        if machine.shared_memory:
            kubernetes.empty_dir_mount(
                task, "shm", "/dev/shm", medium="Memory", size_limit=machine.shared_memory
            )
        if machine.hours:
            kubernetes.set_timeout(task, round(machine.hours * 3600))
        _as_the_user_says(task, pods)

    return decorate


def _as_the_user_says(task: dsl.PipelineTask, pods: Pods) -> None:
    from kfp import kubernetes

    for key, value in pods.node_selector:
        kubernetes.add_node_selector(task, key, value)
    for taint in pods.tolerations:
        kubernetes.add_toleration(
            task,
            key=taint.key,
            operator="Equal" if taint.value else "Exists",
            value=taint.value or None,
            effect=taint.effect or None,
        )
    for claim, path in pods.volumes:
        kubernetes.mount_pvc(task, claim, path)
