"""Says what this machine has and lacks, one line for each place where pipelines can run."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence

from cellmill.cache import cache_folder
from cellmill.errors import CellmillError
from components.images import read_lock
from launch.docker import docker, has_image
from launch.environments import find_python, image_names, wanted_python
from launch.task_handler import check_seam


def main(argv: Sequence[str] | None = None) -> int:
    """Print one line per place; return 0 when pipelines can run locally, else 1."""
    local = list(_local())
    _line("local", local)
    _line("conformance", list(_deepcell()))
    _line("docker", list(_docker()))
    _line("kubeflow", ["running there is not part of this version yet"])
    _line("vertex", ["running there is not part of this version yet"])
    return int(bool(local))


def _line(place: str, lacks: Sequence[str]) -> None:
    print(f"{'✗' if lacks else '✓'} {place:<12} {'; '.join(lacks) if lacks else 'ready'}")


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
    folder = cache_folder("environments")
    there = next(p for p in (folder, *folder.parents) if p.exists())
    if not os.access(there, os.W_OK):
        yield f"the cache {folder} cannot be written"


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
        if name != "deepcell" and not has_image(image.reference):
            yield f"no image {image.reference} (make build-images NAME={name})"


if __name__ == "__main__":
    sys.exit(main())
