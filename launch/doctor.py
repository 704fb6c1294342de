"""Says what this machine has and lacks, one line for each place where pipelines can run.

With `PROJECT`, `PIPELINE_ROOT` and `SERVICE_ACCOUNT` it asks Google Cloud for the roles too.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from cellmill.compute.folders import cache_folder
from cellmill.errors import CellmillError
from cellmill.terminal import say
from components.container_images import read_lock
from launch import ROOT
from launch.cloud.remote import released_images
from launch.cloud.roles import missing_roles
from launch.images.docker import docker, has_image
from launch.images.environments import CUDA, find_python, image_names, wanted_python
from launch.local.task_handler import check_seam

#: Bytes that the environments of all stages take.
_ROOM = 5_000_000_000


def main(argv: Sequence[str] | None = None) -> int:
    """Print one line per place; return 0 when pipelines can run locally, else 1."""
    local = list(_local())
    _line("local", local)
    _line("conformance", list(_deepcell()))
    _line("docker", list(_docker()))
    images = list(_released())
    _line("kubeflow", [*images, *_packages("kfp.kubernetes"), *_credentials()])
    lacks = [*images, *_packages("google.cloud.aiplatform"), *_credentials()]
    _line("vertex", [*lacks, *_roles()])
    return int(bool(local))


def _line(place: str, lacks: Sequence[str]) -> None:
    say(f"{'✗' if lacks else '✓'} {place:<12} {'; '.join(lacks) if lacks else 'ready'}")


def _local() -> Iterator[str]:
    for package in ("kfp", "uv", "tifffile"):
        if importlib.util.find_spec(package) is None:
            yield f"{package} is not installed (make setup)"
    try:
        check_seam()
    except RuntimeError as error:
        yield str(error)
    for name in image_names():
        if name != "deepcell":
            try:
                find_python(wanted_python(name))
            except CellmillError as error:
                yield f"{name}: {error}"
    yield from _disk(cache_folder("environments"))
    folder = cache_folder("environments")
    there = next(p for p in (folder, *folder.parents) if p.exists())
    if not os.access(there, os.W_OK):
        yield f"the cache {folder} cannot be written"


def _disk(folder: Path) -> Iterator[str]:
    there = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(there).free
    if free < _ROOM and not any(folder.glob("*/complete")):
        yield f"{free / 1e9:.1f} GB free at {there}, {_ROOM / 1e9:.0f} are needed"


def _deepcell() -> Iterator[str]:
    try:
        find_python(wanted_python("deepcell"))
    except CellmillError as error:
        yield str(error)


def _docker() -> Iterator[str]:
    try:
        docker("version", "--format", "{{.Server.Version}}")
    except CellmillError as error:
        yield str(error)
        return
    for name, image in read_lock().items():
        if name != "deepcell" and not name.endswith(CUDA) and not has_image(image.reference):
            yield f"no image {image.reference} (make build-images NAME={name})"


def _released() -> Iterator[str]:
    try:
        released_images()
    except CellmillError as error:
        yield str(error)


def _packages(*modules: str) -> Iterator[str]:
    for module in modules:
        with contextlib.suppress(ModuleNotFoundError):
            if importlib.util.find_spec(module) is not None:
                continue
        if not (ROOT / ".venv-cloud").exists():
            yield f"{module} is not installed (a run there installs it)"


def _credentials() -> Iterator[str]:
    import google.auth
    from google.auth.exceptions import GoogleAuthError

    try:
        google.auth.default()
    except GoogleAuthError:
        yield "no Google Cloud credentials (gcloud auth application-default login)"


def _roles() -> Iterator[str]:
    project, account = os.environ.get("PROJECT", ""), os.environ.get("SERVICE_ACCOUNT", "")
    bucket = os.environ.get("PIPELINE_ROOT", "").removeprefix("gs://").partition("/")[0]
    if not project:
        yield "roles not looked up (make doctor PROJECT=… PIPELINE_ROOT=… SERVICE_ACCOUNT=…)"
        return
    import google.auth
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.requests import AuthorizedSession

    try:
        credentials, _ = google.auth.default(
            scopes=["https://www.googleapis.com/auth/cloud-platform"]
        )
        yield from missing_roles(AuthorizedSession(credentials), project, bucket, account)
    except (GoogleAuthError, OSError) as error:
        yield f"roles cannot be looked up: {(str(error).splitlines() or [''])[0]}"


if __name__ == "__main__":
    sys.exit(main())
