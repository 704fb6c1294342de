"""A run on Vertex AI or on Kubeflow: render, upload, submit, follow, fetch."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cellmill.arrays.files import write_text
from cellmill.compute.folders import cache_folder
from cellmill.errors import BadInput
from cellmill.io.uris import local_path, scheme_of
from cellmill.models.fetch import copy_model, fetch_model
from cellmill.style_transfer.places import form_of
from cellmill.terminal import say
from components.container_images import ContainerImages
from launch.cloud import kubeflow, vertex
from launch.cloud.buckets import Bucket, uploaded
from launch.cloud.remote import Job, fetch, released_images, wait
from launch.compiling.caching import uncached
from launch.compiling.choices import choice_of, flag
from launch.compiling.renderings import render
from launch.local.running import RunFailed
from launch.runs.collecting import collect
from launch.runs.settings import WRITTEN_PLACES
from launch.runs.tables import outputs_of


def run_in_cloud(
    target: str,
    name: str,
    arguments: Mapping[str, Any],
    folder: Path,
    given: Mapping[str, str],
    images: ContainerImages | None = None,
) -> list[str] | None:
    """Run a pipeline in a cloud.

    Args:
        target: `vertex` or `kubeflow`.
        name: the pipeline's name.
        arguments: its arguments; files may be on this machine.
        folder: the run's folder, new or empty; the rendered YAML is written there.
        given: the user's settings, by the names in `launch.cloud.settings`.
        images: where the images are; what was pushed by default.

    Returns:
        The names of the images that have files, or None where the run goes on without us.

    Raises:
        BadInput: a setting is missing or wrong; nothing was sent.
        RunFailed: the run failed.
        CellmillError: the cloud refuses.
    """
    settings, text = prepare(target, name, given, images)
    follow = flag("WAIT", given.get("wait", ""))
    folder.mkdir(parents=True, exist_ok=True)
    spec = folder / f"pipeline.{_rendering(target, given)}.yaml"
    write_text(spec, text)
    bucket = Bucket(settings.pipeline_root, given.get("project", ""))
    named = bool(given.get("deepcell_token_secret"))
    sent = uploaded(arguments if named else _with_model_here(arguments), bucket)
    job_id = re.sub(r"[^a-z0-9-]+", "-", f"{name}-{folder.name}".lower())[:127].strip("-")
    job: Job
    if target == "vertex":
        job = vertex.submit(spec, name, job_id, sent, settings)
    else:
        job = kubeflow.submit(spec, name, job_id, sent, settings)
    write_text(
        folder / "job.json",
        json.dumps(
            {"target": target, "pipeline": name, "job": job.name, "url": job.url, **_kept(given)}
        )
        + "\n",
    )
    say(job.url)
    if not follow:
        return None
    return finish(job, name, text, bucket, folder)


def prepare(
    target: str, name: str, given: Mapping[str, str], images: ContainerImages | None = None
) -> tuple[Any, str]:
    """Check all that can be checked before anything is sent or written.

    Returns:
        The cloud's settings, and the pipeline's YAML rendered for it.

    Raises:
        BadInput: a setting is missing or wrong, or the images are on this machine only.
    """
    settings: Any = (
        vertex.VertexSettings.of(given)
        if target == "vertex"
        else kubeflow.KubeflowSettings.of(given)
    )
    flag("WAIT", given.get("wait", ""))
    report = flag("REPORT_FAILURE", given.get("report_failure", ""), default=True)
    cache = flag("CACHE", given.get("cache", ""), default=True)
    choice = choice_of(given, target)
    pushed = released_images() if images is None else images
    text = render(name, _rendering(target, given), choice, pushed, report_failure=report)
    text = text if cache else uncached(text)
    shared = ["/gcs", *(path for _, path in choice.pods.volumes)]
    for key in WRITTEN_PLACES:
        _check_place(key.upper(), given.get(key, ""), shared)
    if "localhost/" in text:
        raise BadInput(
            "images", expected="in a registry (make push REGISTRY=…)", found="localhost/"
        )
    return settings, text


def finish(job: Job, name: str, text: str, bucket: Bucket, folder: Path) -> list[str]:
    """Follow a run to its end and bring its outputs to the run's folder.

    Raises:
        RunFailed: the run failed.
        CellmillError: an output is not there.
    """
    state = wait(job)
    if state.name != "SUCCEEDED":
        raise RunFailed(f"the run {state.name.lower()}: {state.message or job.url}", 1)
    table = outputs_of(name)
    outputs = fetch(job, text, [row.output for row in table], bucket.download, folder / "artifacts")
    for row in table:
        if not row.per_image:
            outputs[row.output] = outputs[row.output][:1]
    return collect(outputs, table, folder)


def resume(folder: Path) -> list[str]:
    """Follow a run that was left to itself, and fetch its outputs.

    Raises:
        BadInput: the folder is not that of a run in a cloud.
    """
    note = folder / "job.json"
    if not note.exists():
        raise BadInput(
            f"OUTPUT '{folder}'", expected="the folder of a run in a cloud", found="none"
        )
    kept = json.loads(note.read_text())
    job: Job
    if kept["target"] == "vertex":
        job = vertex.find(kept["job"])
    else:
        settings = kubeflow.KubeflowSettings.of(kept)
        job = kubeflow.find(kept["job"], kept["pipeline"], settings)
    (spec,) = folder.glob("pipeline.*.yaml")
    bucket = Bucket(kept["pipeline_root"], kept.get("project", ""))
    return finish(job, kept["pipeline"], spec.read_text(), bucket, folder)


def _check_place(name: str, place: str, shared: Sequence[str]) -> None:
    """Refuse a place to write to that the tasks of a cloud do not share."""
    place = form_of(place)[1]
    if place and scheme_of(place) in ("", "file"):
        path = local_path(place)
        if path is None or not any(path.is_relative_to(mount) for mount in shared):
            raise BadInput(
                name,
                expected=f"gs://…, s3://… or a path under {' or '.join(shared)}",
                found=place,
            )


def _rendering(target: str, given: Mapping[str, str]) -> str:
    return "vertex-spot" if target == "vertex" and choice_of(given).exact else target


def _kept(given: Mapping[str, str]) -> dict[str, str]:
    return {
        k: v
        for k in ("project", "region", "pipeline_root", "host", "namespace")
        if (v := given.get(k))
    }


def _with_model_here(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Fetch models that have names by the user's own token, which never leaves this machine."""
    changed = dict(arguments)
    for key in ("model", "reference_model"):
        if key in changed:
            changed[key] = _model_here(changed[key])
    for key in ("segmenters", "conditions", "reference_conditions"):
        if key in changed:
            models = {model: _model_here(model) for model in {e["model"] for e in changed[key]}}
            changed[key] = [{**each, "model": models[each["model"]]} for each in changed[key]]
    return changed


def _model_here(model: str) -> str:
    """A folder of this machine for a model's name; a path or a URI as it is."""
    if not model or scheme_of(model) not in ("", "file"):
        return model
    path = local_path(model)
    if path is not None and path.exists():
        return model
    fetched = fetch_model(model)
    place = cache_folder("models-sent")
    place.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=place)) / fetched.card.name
    copy_model(fetched, folder)
    return str(folder)
