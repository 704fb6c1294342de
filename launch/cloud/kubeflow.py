"""Runs on Kubeflow Pipelines, through kfp's client."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cellmill.errors import BadInput, CellmillError
from launch.cloud.buckets import Bucket
from launch.cloud.remote import State, again

T = TypeVar("T")


@dataclass(frozen=True)
class KubeflowSettings:
    """Where a run goes.

    Attributes:
        host: the URL of Kubeflow Pipelines.
        pipeline_root: the bucket's folder for all that the run reads and makes.
        namespace: the user's namespace, where there are several.
        experiment: what the run is filed under.
        service_account: the Kubernetes service account of the pods.
    """

    host: str
    pipeline_root: str
    namespace: str = ""
    experiment: str = "cellmill"
    service_account: str = ""

    @classmethod
    def of(cls, given: Mapping[str, str]) -> KubeflowSettings:
        """Read and check what the user gave.

        Raises:
            BadInput: something is missing or has not the form of what it is.
        """
        host, root = given.get("host", ""), given.get("pipeline_root", "")
        if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", host):
            raise BadInput("HOST", expected="Kubeflow's URL, http…", found=host or "nothing")
        if not re.fullmatch(r"gs://[a-z0-9][a-z0-9._-]+(/.*)?", root):
            raise BadInput("PIPELINE_ROOT", expected="gs://bucket/folder", found=root or "nothing")
        return cls(
            host=host.rstrip("/"),
            pipeline_root=root.rstrip("/"),
            namespace=given.get("namespace", ""),
            experiment=given.get("experiment", "") or "cellmill",
            service_account=given.get("service_account", ""),
        )


class KubeflowJob:
    """A run on Kubeflow Pipelines."""

    def __init__(self, client: Any, run_id: str, settings: KubeflowSettings, pipeline: str) -> None:
        self._client = client
        self._settings = settings
        self._pipeline = pipeline
        self.run_id = run_id

    @property
    def url(self) -> str:
        """A page that shows the run."""
        return f"{self._settings.host}/#/runs/details/{self.run_id}"

    @property
    def name(self) -> str:
        """The run's id."""
        return self.run_id

    def state(self) -> State:
        """Ask where the run is."""
        with _one_line():
            run = again(lambda: _asked(lambda: self._client.get_run(self.run_id)), (_Busy,))
        tasks = (run.run_details.task_details if run.run_details else None) or []
        names = [(t.display_name, t.state, t.error) for t in tasks]
        failed = [f"stage '{n}': {e.message}" for n, s, e in names if s == "FAILED" and e]
        message = failed[-1] if failed else (run.error.message if run.error else "")
        return State(
            run.state or "PENDING",
            tuple(n for n, s, _ in names if s in ("SUCCEEDED", "SKIPPED")),
            str(message or ""),
        )

    def uris(self, task: str, output: str) -> list[str]:
        """Where an output of a task is: `ROOT/PIPELINE/RUN/TASK/…/OUTPUT`."""
        root = f"{self._settings.pipeline_root}/{self._pipeline}/{self.run_id}/{task}/"
        found: dict[str, None] = {}
        for uri in Bucket(self._settings.pipeline_root).folders(root):
            parts = uri.removeprefix(root).split("/")
            if output in parts[:2]:
                found[root + "/".join(parts[: parts.index(output) + 1])] = None
        return list(found)


def submit(
    spec: Path, name: str, job_id: str, arguments: Mapping[str, Any], settings: KubeflowSettings
) -> KubeflowJob:
    """Start a run.

    Args:
        spec: the rendered YAML.
        name: the pipeline's name.
        job_id: what the run is called.
        arguments: the pipeline's arguments; every file is in a bucket.
        settings: where.

    Raises:
        BadInput: Kubeflow refuses the pipeline or an argument.
        CellmillError: it cannot be reached, or refuses the user.
    """
    with _one_line():
        client = _client(settings)
        started = again(
            lambda: _asked(
                lambda: client.create_run_from_pipeline_package(
                    str(spec),
                    arguments=dict(arguments),
                    run_name=job_id,
                    pipeline_root=settings.pipeline_root,
                    experiment_name=settings.experiment,
                    namespace=settings.namespace or None,
                    service_account=settings.service_account or None,
                )
            ),
            (_Busy,),
        )
    return KubeflowJob(client, started.run_id, settings, name.replace("_", "-"))


def find(run_id: str, name: str, settings: KubeflowSettings) -> KubeflowJob:
    """Return a run by its id."""
    with _one_line():
        return KubeflowJob(_client(settings), run_id, settings, name.replace("_", "-"))


class _Busy(Exception):
    """Kubeflow refuses for now."""


def _asked(call: Callable[[], T]) -> T:
    from kfp_server_api import ApiException

    try:
        # It prints links for notebooks.
        with contextlib.redirect_stdout(io.StringIO()):
            return call()
    except ApiException as error:
        if error.status in (429, 502, 503):
            raise _Busy(f"Kubeflow: {error.reason or error.status}") from error
        raise


def _client(settings: KubeflowSettings) -> Any:
    from kfp.client import Client

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Client(host=settings.host, namespace=settings.namespace or "kubeflow")


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    """Turn what kfp's client raises into one line."""
    from kfp_server_api import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        body = str(error.body or "").splitlines()
        text = body[0] if body else str(error.reason)
        if error.status in (401, 403):
            raise CellmillError(
                f"Kubeflow: expected the right to run pipelines in the namespace, found: {text}"
            ) from error
        if error.status == 400:
            raise BadInput("Kubeflow", expected="a run that it takes", found=text) from error
        raise CellmillError(f"Kubeflow: {error.status} {text}") from error
    except (_Busy, HTTPError) as error:
        raise CellmillError(str(error).splitlines()[0]) from error
