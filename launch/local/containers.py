"""Runs each task in its image, by Docker's engine.

A container sees the run's folder, the folders of the run's inputs (read-only), and nothing else of
the machine. It runs with the caller's uid, without capabilities, and without a network unless its
stage opens what is elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellmill.compute.folders import cache_folder
from cellmill.errors import BadInput, CellmillError
from cellmill.io.uris import local_path, scheme_of
from cellmill.style_transfer.places import form_of, places_in
from cellmill.terminal import say
from launch.images.building import SOURCES_LABEL, sources_digest
from launch.images.docker import docker, has_image, has_network, image_id, image_label
from launch.images.environments import image_name
from launch.local.task_handler import DOWNLOADS, Start, Task
from launch.runs.settings import READ_LISTS

#: Folders of the images that a mount must not hide: a file in one is mounted by itself.
_OF_IMAGE = frozenset(
    {"/", "/bin", "/dev", "/etc", "/home", "/home/cellmill", "/lib", "/lib64", "/opt"}
    | {"/opt/cellmill", "/opt/venv", "/proc", "/run", "/sbin", "/sys", "/tmp", "/usr"}
    | {"/usr/bin", "/usr/lib", "/usr/local", "/var", "/var/tmp"}
)
_DOWNLOAD_SETTINGS = ("DEEPCELL_ACCESS_TOKEN",)
_HOME = Path("/home/cellmill")


@dataclass(frozen=True)
class Containers:
    """How the tasks of one run are started in containers.

    Attributes:
        mounts: folders and files that every container sees, read-only, where they are.
        places: folders that every container writes to: of what the tasks make, of their stores.
        images: what each image is, by its reference.
        network: the network of stages that need one.
    """

    mounts: tuple[Path, ...]
    places: tuple[Path, ...]
    images: Mapping[str, str]
    network: str

    @classmethod
    def of(
        cls, references: Iterable[str], arguments: Mapping[str, Any], places: Sequence[Path]
    ) -> Containers:
        """Look up what a run needs.

        Args:
            references: of the images.
            arguments: the pipeline's.
            places: folders that its tasks write to; they are there.

        Raises:
            CellmillError: no engine answers, or an image is not there.
        """
        try:
            docker("version", "--format", "{{.Server.Version}}")
        except CellmillError as error:
            raise CellmillError(f"RUNNER=docker needs Docker's engine: {error}") from error
        images = {reference: _identity(reference) for reference in sorted(references)}
        # An engine without a bridge (images/sealed.sh) has the machine's network or none.
        network = "bridge" if has_network("bridge") else "host"
        places = [place.absolute() for place in places]
        mounts = [mount for mount in mounts_of(arguments) if mount not in places]
        return cls(tuple(mounts), tuple(places), images, network)

    def start(self, task: Task) -> Start:
        """Say how a task is started in a container."""
        name = f"cellmill-{task.stage}-{uuid.uuid4().hex[:12]}".replace("_", "-")
        command = ["docker", "run", "--rm", "--pull=never", "--name", name, "--init"]
        command += ["--user", f"{os.getuid()}:{os.getgid()}"]
        # Where SELinux is on, the mounts have labels of the machine's, which are to stay.
        command += ["--cap-drop=ALL", "--security-opt=no-new-privileges"]
        command += ["--security-opt=label=disable"]
        command += ["--network", self.network if needs_network(task) else "none"]
        command += ["--workdir", str(task.folder)]
        command += [mount(path, path) for path in self.places]
        command += [mount(path, path, "readonly") for path in self.mounts]
        environ = {"CELLMILL_IMAGE": self.images[task.image], **task.environ}
        if task.stage == DOWNLOADS:
            cache = cache_folder("models")
            cache.mkdir(parents=True, exist_ok=True)
            command += [mount(cache, _HOME / ".cache/cellmill/models")]
            environ |= {k: os.environ[k] for k in _DOWNLOAD_SETTINGS if os.environ.get(k)}
        # By name alone: a value on a command line can be read by every user of the machine.
        for key in environ:
            command += ["--env", key]
        command += [task.image, *task.command]
        return Start(command, {**os.environ, **environ}, stop=("docker", "kill", name))


def needs_network(task: Task) -> bool:
    """Whether a stage is asked for something that is not on this machine."""
    parameters = task.executor.get("inputs", {}).get("parameterValues", {})
    if task.stage == DOWNLOADS:
        source = parameters.get("source", "")
        if source and not Path(source).exists():
            return True
    return any(text and scheme_of(text) not in ("", "file") for text in _texts(parameters))


def mounts_of(arguments: Mapping[str, Any]) -> list[Path]:
    """Return the folders (or files) of a run's inputs, without those inside another.

    Args:
        arguments: the pipeline's arguments; every text in them that is a path of this machine is
            taken for an input.
    """
    wanted: dict[Path, None] = {}
    for text in _texts(arguments):
        if not text.startswith(("/", "file:")):
            continue
        path = local_path(text)
        if path is None or not path.exists():
            continue
        # A link's target must be there too, under its own name.
        for place in (path, path.resolve()):
            folder = place if place.is_dir() else place.parent
            if str(place) not in _OF_IMAGE:
                wanted[place if str(folder) in _OF_IMAGE else folder] = None
    return sorted(p for p in wanted if not any(q in wanted for q in p.parents))


def _texts(arguments: Mapping[str, Any]) -> Iterator[str]:
    """All texts of a run's arguments, and the places of those that are lists of them."""
    yield from _strings(arguments)
    for key in {*READ_LISTS} & {*arguments}:
        yield from places_in(arguments[key], key)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield form_of(value)[1]
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)


def mount(source: Path, target: Path, *options: str) -> str:
    """Docker's flag for a folder or a file of this machine, whatever its name."""
    # Docker reads a line of CSV: quotes hold commas together, and are doubled.
    fields = ("type=bind", f"source={source}", f"target={target}", *options)
    return "--mount=" + ",".join('"' + field.replace('"', '""') + '"' for field in fields)


def _identity(reference: str) -> str:
    if not has_image(reference):
        raise BadInput(
            f"image '{reference}'", expected="on this machine (make build-images)", found="none"
        )
    with contextlib.suppress(BadInput):
        if image_label(reference, SOURCES_LABEL) != sources_digest(image_name(reference)):
            say(
                f"note: image '{reference}' was built from other sources than this clone's "
                "(make build-images)",
                to=sys.stderr,
            )
    return f"{reference}@{image_id(reference)}"
