"""Builds the images under `images/` and tags them as the committed YAML names them.

`python -m launch.images.building [NAME …] [--sealed]`. The context of a build is made here: the
image's Dockerfile, its lock, and a wheel of cellmill from this clone, so that nothing else of the
clone can get into an image.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import yaml

from cellmill.arrays.files import write_text
from cellmill.errors import BadInput, CellmillError
from cellmill.terminal import say
from cellmill.version import __version__
from components.container_images import RELEASE_LOCK, ContainerImage, read_lock
from launch import ROOT
from launch.images.docker import docker
from launch.images.environments import (
    CUDA,
    IMAGES,
    image_folder,
    image_lock,
    image_name,
    wanted_python,
)

#: What a build reads of the clone, beside the image's own folder.
_SOURCES = ("cellmill", "setup.cfg", "setup.py", "pyproject.toml", "MANIFEST.in", "LICENSE")
SOURCES_LABEL = "org.cellmill.sources"
#: Academic use only: built by those who use it, never pushed.
NEVER_PUSHED = ("deepcell",)
#: What an image holds of the clone beside cellmill's wheel: a package, as it lies there.
_PACKAGES = {"serving": "serving"}
#: 1980, the first that a zip can hold: the same sources give the same wheel, and so the same layer.
_EPOCH = "315532800"
_SEALED_BASE = "local/python"
_BUILD_WHEEL = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


def stages_of(image: str) -> list[str]:
    """Return the stages whose components name an image, or that of which it is a form."""
    image = image.removesuffix(CUDA)
    found = []
    for path in sorted((ROOT / "components").glob("*/component.yaml")):
        executors = yaml.safe_load(path.read_text())["deploymentSpec"]["executors"].values()
        if any(image_name(e["container"]["image"]) == image for e in executors):
            found.append(path.parent.name)
    return found


def sources_digest(image: str) -> str:
    """Return a digest of all that goes into an image, so that an old image can be told."""
    sha = hashlib.sha256()
    own = [*_own_files(image), *_package_files(image), image_lock(image), IMAGES / "warm.py"]
    for path in [*_source_files(), *own]:
        sha.update(f"{path.relative_to(ROOT)}\0".encode())
        sha.update(hashlib.sha256(path.read_bytes()).digest())
    return sha.hexdigest()[:32]


def build(image: str, wheel: Path, *, sealed: bool = False) -> ContainerImage:
    """Build an image and tag it.

    Args:
        image: its name, a folder under `images/`, or with `-cuda` that folder's other form.
        wheel: cellmill's wheel.
        sealed: build on the base that `images/sealed.sh` made, over the machine's network.

    Raises:
        CellmillError: Docker could not build it; its output is on stderr.
    """
    target = read_lock()[image]
    with tempfile.TemporaryDirectory(prefix="cellmill-build-") as folder:
        for path in _own_files(image):
            shutil.copy(path, folder)
        for path in _package_files(image):
            place = Path(folder, path.relative_to(ROOT))
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
        shutil.copyfile(image_lock(image), Path(folder, "requirements.lock"))
        shutil.copy(wheel, folder)
        shutil.copy(IMAGES / "warm.py", folder)
        arguments = {
            "STAGES": " ".join(stages_of(image)),
            "VERSION": __version__,
            "SOURCES": sources_digest(image),
        }
        if image.endswith(CUDA):
            arguments["FORM"] = CUDA
        if _asks_for(image, "PIP_FIND_LINKS"):
            places = os.environ.get("PIP_FIND_LINKS", "").split()
            copy_wheels(places, image_lock(image), Path(folder, "wheels"))
            # A build sees no folder of this machine, but pages of wheels it reaches.
            arguments["PIP_FIND_LINKS"] = " ".join(place for place in places if "://" in place)
        if sealed:
            arguments["BASE"] = f"{_SEALED_BASE}:{wanted_python(image) or '3.11'}"
        command = ["docker", "build", "--tag", target.reference]
        command += ["--network=host"] if sealed else []
        for name, value in arguments.items():
            command += ["--build-arg", f"{name}={value}"]
        done = subprocess.run(
            [*command, folder],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    if done.returncode:
        sys.stderr.write(done.stdout)
        raise CellmillError(f"image '{target.reference}': docker build failed (see above)")
    return target


def copy_wheels(places: Sequence[str], lock: Path, folder: Path) -> None:
    """Copy the wheels that a lock pins from the folders among some places into a new folder."""
    folder.mkdir()
    pins = {
        f"{name.replace('-', '_')}-{version}".lower()
        for name, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", lock.read_text(), re.MULTILINE)
    }
    for place in places:
        for wheel in sorted(Path(place).glob("*.whl")):
            if "-".join(wheel.name.split("-")[:2]).lower() in pins:
                shutil.copy(wheel, folder)


def build_wheel(folder: Path) -> Path:
    """Build cellmill's wheel from this clone into a folder; the clone is left as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cellmill-wheel-") as copy:
        for path in _source_files():
            place = Path(copy) / path.relative_to(ROOT)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
        done = subprocess.run(
            [sys.executable, "-c", _BUILD_WHEEL, str(folder.absolute())],
            cwd=copy,
            env={**os.environ, "SOURCE_DATE_EPOCH": _EPOCH},
            capture_output=True,
            text=True,
            check=False,
        )
    wheels = list(folder.glob("cellmill-*.whl"))
    if done.returncode or len(wheels) != 1:
        raise CellmillError(f"cellmill's wheel could not be built: {done.stderr.strip()[-400:]}")
    return wheels[0]


def push(image: str, registry: str) -> ContainerImage:
    """Push an image to a registry; return where it is there, with its digest.

    Raises:
        BadInput: it is one that is not handed on.
        CellmillError: Docker could not push it.
    """
    if image in NEVER_PUSHED:
        raise BadInput(
            f"image '{image}'",
            expected="one that may be handed on",
            found="packages for academic use only",
        )
    local = read_lock()[image]
    target = ContainerImage(
        f"{registry.rstrip('/')}/{local.repository.rsplit('/', 1)[-1]}", local.tag
    )
    docker("tag", local.reference, target.reference)
    docker("push", target.reference)
    text = docker("image", "inspect", "--format", '{{join .RepoDigests "\\n"}}', target.reference)
    for line in text.splitlines():
        repository, _, digest = line.partition("@")
        if repository == target.repository:
            return ContainerImage(target.repository, target.tag, digest)
    raise CellmillError(f"image '{target.reference}': expected a digest after the push, found none")


def main(argv: Sequence[str] | None = None) -> int:
    """Build images (or, with `--push`, push them); return 0, or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m launch.images.building", description=main.__doc__
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="by default all that the YAML names"
    )
    parser.add_argument(
        "--sealed", action="store_true", help="on the base that images/sealed.sh made"
    )
    parser.add_argument("--push", metavar="REGISTRY", default="", help="push what was built")
    given = parser.parse_args(argv)
    names = [name for each in given.names for name in each.split()]
    known = read_lock()
    # The forms with CUDA, several gigabytes, are for clouds alone; some only make environments.
    named = [name for name in known if not name.endswith(CUDA) and stages_of(name)]
    try:
        for name in names:
            if name not in known:
                raise BadInput("NAME", expected=f"one of {', '.join(known)}", found=name)
        if given.push:
            _push_all(names or [n for n in named if n not in NEVER_PUSHED], given.push)
        else:
            _build_all(names or named, given.sealed)
    except CellmillError as error:
        say(f"cellmill: {error}", to=sys.stderr)
        return 2
    return 0


def _build_all(names: Sequence[str], sealed: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="cellmill-wheel-") as folder:
        wheel = build_wheel(Path(folder))
        for name in names:
            begun = time.monotonic()
            say(f"building {read_lock()[name].reference} …", to=sys.stderr)
            made = build(name, wheel, sealed=sealed)
            size = int(docker("image", "inspect", "--format", "{{.Size}}", made.reference))
            say(f"{made.reference}: {size / 1e6:.0f} MB, {time.monotonic() - begun:.0f} s")


def _push_all(names: Sequence[str], registry: str) -> None:
    pushed = read_lock(RELEASE_LOCK) if RELEASE_LOCK.exists() else {}
    for name in names:
        pushed[name] = push(name, registry)
        say(pushed[name].reference)
    rows = {name: asdict(image) for name, image in sorted(pushed.items())}
    write_text(RELEASE_LOCK, yaml.safe_dump(rows, sort_keys=False))


def _asks_for(image: str, argument: str) -> bool:
    """Whether an image's Dockerfile takes a build argument of that name."""
    lines = (image_folder(image) / "Dockerfile").read_text().splitlines()
    return any(line.startswith(f"ARG {argument}") for line in lines)


def _own_files(image: str) -> list[Path]:
    folder = image_folder(image)
    return [folder / "Dockerfile", *sorted(folder.glob("*.py"))]


def _package_files(image: str) -> list[Path]:
    package = _PACKAGES.get(image)
    return sorted((ROOT / package).rglob("*.py")) if package else []


def _source_files() -> list[Path]:
    tops = [ROOT / name for name in _SOURCES]
    found = [p for p in tops if p.is_file()]
    for top in tops:
        found += [p for p in top.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    found += (ROOT / "components").glob("*/component.yaml")
    found += (ROOT / "pipelines").glob("*/pipeline.yaml")
    return sorted(found)


if __name__ == "__main__":
    sys.exit(main())
