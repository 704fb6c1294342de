"""A KServe InferenceService of the server's image, as a manifest for `kubectl apply`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_UID = 10001


def inference_service(
    name: str,
    namespace: str,
    image: str,
    model: str,
    environment: Mapping[str, str],
    *,
    service_account: str = "",
    replicas: tuple[int, int] = (1, 1),
    cpus: str = "4",
    memory: str = "8Gi",
) -> dict[str, Any]:
    """Return the manifest.

    The container has no root, a disk that cannot be written but for `/tmp`, and no rights of the
    kernel's. KServe's storage initializer brings the model to `/mnt/models`.

    Args:
        name: of the service.
        namespace: empty is that of whoever applies it.
        image: the server's container image.
        model: URI of the model's folder, `gs://…` or `s3://…`.
        environment: the server's settings, as variables.
        service_account: of Kubernetes, that may read the model.
        replicas: least and most pods.
        cpus: of a pod.
        memory: of a pod.

    Source:
        https://kserve.github.io/website, the v1beta1 API and custom predictors.
    """
    resources = {"cpu": cpus, "memory": memory}
    container = {
        "name": "kserve-container",
        "image": image,
        "env": [
            {"name": "STORAGE_URI", "value": model},
            *({"name": key, "value": value} for key, value in environment.items()),
        ],
        "ports": [{"containerPort": 8080, "protocol": "TCP"}],
        # A server that loads a large model is alive, and not ready.
        "readinessProbe": _probe("/v2/health/ready", 5),
        "livenessProbe": _probe("/v2/health/live", 10),
        "resources": {"requests": resources, "limits": resources},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _UID,
            "runAsGroup": _UID,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    predictor: dict[str, Any] = {
        "minReplicas": replicas[0],
        "maxReplicas": replicas[1],
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    if service_account:
        predictor["serviceAccountName"] = service_account
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, **({"namespace": namespace} if namespace else {})},
        "spec": {"predictor": predictor},
    }


def _probe(path: str, seconds: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": 8080},
        "periodSeconds": seconds,
        "timeoutSeconds": 5,
        "failureThreshold": 6,
    }
