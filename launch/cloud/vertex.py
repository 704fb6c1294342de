"""Runs on Vertex AI Pipelines, through google-cloud-aiplatform."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellmill.errors import BadInput, CellmillError
from launch.cloud.remote import State, again, labels_of

_FORMS = {
    "project": (r"[a-z][a-z0-9:.-]{4,}[a-z0-9]", "a project's id"),
    "region": (r"[a-z]+-[a-z]+\d+", "a region, as europe-west4"),
    "pipeline_root": (r"gs://[a-z0-9][a-z0-9._-]+(/.*)?", "gs://bucket/folder"),
}
_OPTIONAL_FORMS = {
    "service_account": (r"[^@\s]+@[^@\s]+\.gserviceaccount\.com", "…@….gserviceaccount.com"),
    "network": (r"projects/\d+/global/networks/[a-z0-9-]+", "projects/NUMBER/global/networks/…"),
    "kms_key": (
        r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+",
        "projects/…/locations/…/keyRings/…/cryptoKeys/…",
    ),
}
_ROLES = "roles/aiplatform.user on the project and roles/iam.serviceAccountUser on the account"


@dataclass(frozen=True)
class VertexSettings:
    """Where a run goes, and under which account.

    Attributes:
        project: the project's id.
        region: the region.
        pipeline_root: the bucket's folder for all that the run reads and makes.
        service_account: the account that the tasks run as; the project's default by default.
        network: the VPC network to be peered with.
        kms_key: the key that encrypts what the run makes.
        labels: for bills and searches.
    """

    project: str
    region: str
    pipeline_root: str
    service_account: str = ""
    network: str = ""
    kms_key: str = ""
    labels: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, given: Mapping[str, str]) -> VertexSettings:
        """Read and check what the user gave.

        Raises:
            BadInput: something is missing or has not the form of what it is.
        """
        for key, (form, expected) in {**_FORMS, **_OPTIONAL_FORMS}.items():
            value = given.get(key, "")
            if (value or key in _FORMS) and not re.fullmatch(form, value):
                raise BadInput(key.upper(), expected=expected, found=value or "nothing")
        return cls(
            **{key: given.get(key, "") for key in (*_FORMS, *_OPTIONAL_FORMS)},
            labels=tuple(labels_of(given.get("job_labels", "")).items()),
        )


class VertexJob:
    """A run on Vertex AI."""

    def __init__(self, job: Any) -> None:
        self._job = job

    @property
    def url(self) -> str:
        """A page that shows the run."""
        return str(self._job._dashboard_uri())

    @property
    def name(self) -> str:
        """The run's resource name."""
        return str(self._job.resource_name)

    def state(self) -> State:
        """Ask where the run is."""
        with _one_line():
            again(self._job._sync_gca_resource, _transient())
        resource = self._job.gca_resource
        tasks = resource.job_detail.task_details
        return State(
            resource.state.name.removeprefix("PIPELINE_STATE_"),
            tuple(t.task_name for t in tasks if t.state.name in ("SUCCEEDED", "SKIPPED")),
            _why(resource, tasks),
        )

    def uris(self, task: str, output: str) -> list[str]:
        """Where an output of a task is."""
        return [
            artifact.uri
            for detail in self._job.gca_resource.job_detail.task_details
            if detail.task_name == task and output in detail.outputs
            for artifact in detail.outputs[output].artifacts
        ]


def submit(
    spec: Path, name: str, job_id: str, arguments: Mapping[str, Any], settings: VertexSettings
) -> VertexJob:
    """Start a run.

    Args:
        spec: the rendered YAML.
        name: the pipeline's name.
        job_id: what the run is called; the same one is never started twice.
        arguments: the pipeline's arguments; every file is in a bucket.
        settings: where, and under which account.

    Raises:
        BadInput: Vertex AI refuses the pipeline or an argument.
        CellmillError: the client is not installed, no credentials, no rights, or no quota.
    """
    try:
        from google.api_core.exceptions import AlreadyExists, Conflict
        from google.cloud import aiplatform
    except ImportError as error:
        raise CellmillError(
            "TARGET=vertex needs google-cloud-aiplatform (make run TARGET=vertex installs it)"
        ) from error
    # What it logs is said here, in fewer words.
    for module in ("base", "pipeline_jobs", "utils.gcs_utils"):
        logging.getLogger(f"google.cloud.aiplatform.{module}").setLevel(logging.CRITICAL)
    with _one_line():
        job = aiplatform.PipelineJob(
            display_name=f"cellmill {name}",
            template_path=str(spec),
            job_id=job_id,
            pipeline_root=settings.pipeline_root,
            parameter_values=dict(arguments),
            encryption_spec_key_name=settings.kms_key or None,
            labels=dict(settings.labels) or None,
            project=settings.project,
            location=settings.region,
        )

        def send() -> None:
            try:
                job.submit(
                    service_account=settings.service_account or None,
                    network=settings.network or None,
                )
            except (AlreadyExists, Conflict):
                # An answer was lost on the way: the run is there.
                job._gca_resource = aiplatform.PipelineJob.get(
                    f"projects/{settings.project}/locations/{settings.region}/pipelineJobs/{job_id}"
                ).gca_resource

        again(send, _transient())
    return VertexJob(job)


def find(name: str) -> VertexJob:
    """Return a run by its resource name."""
    from google.cloud import aiplatform

    with _one_line():
        return VertexJob(aiplatform.PipelineJob.get(name))


def _why(resource: Any, tasks: Any) -> str:
    failed = [t for t in tasks if t.state.name == "FAILED" and t.error.message]
    if failed:
        return f"stage '{failed[-1].task_name}': {failed[-1].error.message.splitlines()[0]}"
    return str(resource.error.message).split("\n")[0]


def _transient() -> tuple[type[Exception], ...]:
    from google.api_core.exceptions import ServiceUnavailable, TooManyRequests

    return (TooManyRequests, ServiceUnavailable)


@contextmanager
def _one_line() -> Iterator[None]:
    """Turn what Google's client raises into one line."""
    from google.api_core.exceptions import (
        BadRequest,
        Forbidden,
        GoogleAPICallError,
        TooManyRequests,
        Unauthenticated,
    )
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except (GoogleAuthError, Unauthenticated) as error:
        raise CellmillError(
            "Vertex AI: expected Google Cloud credentials (gcloud auth application-default "
            f"login), found none: {_first(error)}"
        ) from error
    except Forbidden as error:
        raise CellmillError(f"Vertex AI: expected {_ROLES}, found: {_first(error)}") from error
    except TooManyRequests as error:
        raise CellmillError(f"Vertex AI: no quota left: {_first(error)}") from error
    except (BadRequest, ValueError) as error:
        raise BadInput("Vertex AI", expected="a run that it takes", found=_first(error)) from error
    except GoogleAPICallError as error:
        raise CellmillError(f"Vertex AI: {_first(error)}") from error


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
