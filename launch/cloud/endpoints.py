"""Endpoints on Vertex AI, through google-cloud-aiplatform: a model, its container, its machine."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cellmill.errors import BadInput, CellmillError
from launch.cloud.google_errors import said
from launch.cloud.vertex import VertexSettings

#: Where the server of images/serving listens; Vertex AI tells it so.
PORT, HEALTH, PREDICT = 8080, "/health", "/predict"
MACHINE = "n2-standard-4"
Kind = Literal["shared", "dedicated"]


@dataclass(frozen=True)
class Deployment:
    """What is to be served.

    Args:
        name: of the endpoint and of the model.
        artifact: `gs://…`, the model's folder.
        image: the server's container image, by digest.
        environment: the server's settings, as variables.
        kind: of endpoint: its limits are the server's, too.
        machine: type of machine.
        replicas: least and most machines.
    """

    name: str
    artifact: str
    image: str
    environment: Mapping[str, str]
    kind: Kind = "dedicated"
    machine: str = MACHINE
    replicas: tuple[int, int] = (1, 1)


def replicas_of(text: str) -> tuple[int, int]:
    """Read `REPLICAS`: `2`, or `1-4`.

    Raises:
        BadInput: it is neither.
    """
    found = re.fullmatch(r"([1-9]\d*)(?:-([1-9]\d*))?", text or "1")
    least, most = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if least > most:
        raise BadInput("REPLICAS", expected="a number, or least-most", found=text)
    return least, most


def deploy(wanted: Deployment, settings: VertexSettings) -> tuple[str, str]:
    """Upload a model and deploy it to the endpoint of its name, which is made if there is none.

    All traffic goes to the new model once it answers; what the endpoint served before is then
    undeployed.

    Args:
        wanted: what is to be served.
        settings: where, and under which account.

    Returns:
        The endpoint's resource name, and where it is asked.

    Raises:
        CellmillError: the client is not installed, no credentials or rights, or it refuses.
    """
    about = f"endpoint '{wanted.name}'"
    with said(
        about,
        package="google-cloud-aiplatform (make deploy TARGET=vertex installs it)",
        rights="upload and deploy models (roles/aiplatform.user)",
        there="a project and a region that are there",
    ):
        from google.cloud import aiplatform

        logging.getLogger("google.cloud.aiplatform").setLevel(logging.CRITICAL)
        place: dict[str, Any] = {"project": settings.project, "location": settings.region}
        common = {"labels": dict(settings.labels) or None, **place}
        try:
            model = aiplatform.Model.upload(
                display_name=wanted.name,
                artifact_uri=wanted.artifact,
                serving_container_image_uri=wanted.image,
                serving_container_predict_route=PREDICT,
                serving_container_health_route=HEALTH,
                serving_container_ports=[PORT],
                serving_container_environment_variables=dict(wanted.environment),
                encryption_spec_key_name=settings.kms_key or None,
                **common,
            )
            endpoint = _endpoint(aiplatform, wanted, settings, common)
            earlier = [each.id for each in endpoint.list_models()]
            endpoint.deploy(
                model,
                deployed_model_display_name=wanted.name,
                machine_type=wanted.machine,
                min_replica_count=wanted.replicas[0],
                max_replica_count=wanted.replicas[1],
                traffic_percentage=100,
                service_account=settings.service_account or None,
            )
            for each in earlier:
                endpoint.undeploy(each)
        except (RuntimeError, ValueError) as error:
            raise CellmillError(f"{about}: {str(error).splitlines()[0]}") from error
        endpoint._sync_gca_resource()
        host = f"{settings.region}-aiplatform.googleapis.com"
        if wanted.kind == "dedicated":
            host = endpoint.gca_resource.dedicated_endpoint_dns or host
        return endpoint.resource_name, f"https://{host}/v1/{endpoint.resource_name}:predict"


def _endpoint(
    aiplatform: Any, wanted: Deployment, settings: VertexSettings, common: Mapping[str, Any]
) -> Any:
    """The endpoint of a name and a kind; made if there is none."""
    place = {"project": settings.project, "location": settings.region}
    named = aiplatform.Endpoint.list(filter=f'display_name="{wanted.name}"', **place)
    for each in named:
        is_dedicated = bool(each.gca_resource.dedicated_endpoint_enabled)
        if is_dedicated == (wanted.kind == "dedicated"):
            return each
    return aiplatform.Endpoint.create(
        display_name=wanted.name,
        dedicated_endpoint_enabled=wanted.kind == "dedicated",
        encryption_spec_key_name=settings.kms_key or None,
        **({"inference_timeout": 3600} if wanted.kind == "dedicated" else {}),
        **common,
    )
