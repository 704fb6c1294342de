"""Builds the images under `images/` and tags them as the committed YAML names them.

`python -m launch.images.building [NAME …] [--sealed]`. All are built from `images/Dockerfile`, by
what each image's folder says. The context of a build is made here: the image's lock and scripts,
and a wheel of cellmill from this clone, so that nothing else of the clone can get into an image.
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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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
#: What every build takes of `images/`, beside the image's own folder.
_SHARED = ("Dockerfile", "prune.sh", "bases.yaml")
#: What compiles numba's kernels at the build.
_WARM = IMAGES / "warm.py"
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


@dataclass(frozen=True)
class ImageFacts:
    """What an image is, as `images/<name>/image.yaml` says.

    Attributes:
        description: in a line.
        licences: of all that is in it, as an SPDX expression.
        kernels: whether its stages run numba's kernels, which are then compiled at the build.
        package: a package of the clone that it holds beside cellmill's wheel.
        target: the stage of `images/Dockerfile` that makes it.
        from_sources: packages of its lock that are published as sources only.
    """

    description: str
    licences: str
    kernels: bool = False
    package: str = ""
    target: str = "stages"
    from_sources: tuple[str, ...] = ()


def image_facts(image: str) -> ImageFacts:
    """Return what an image's folder says of it; a form with CUDA is as the other."""
    said: dict[str, Any] = yaml.safe_load((image_folder(image) / "image.yaml").read_text())
    return ImageFacts(**{**said, "from_sources": tuple(said.get("from_sources", ()))})


def base_of(image: str) -> str:
    """Return what an image is built on, by digest: the base of its Python."""
    bases: dict[str, str] = yaml.safe_load((IMAGES / "bases.yaml").read_text())
    return bases[_python_of(image)]


def sources_digest(image: str) -> str:
    """Return a digest of all that goes into an image, so that an old image can be told."""
    sha = hashlib.sha256()
    folder = image_folder(image)
    own = [*(IMAGES / name for name in _SHARED), folder / "image.yaml", image_lock(image)]
    for path in [*_source_files(), *own, *_own_files(image)]:
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
        places = os.environ.get("PIP_FIND_LINKS", "").split()
        make_context(image, wheel, places, Path(folder))
        arguments = build_arguments(image)
        # A build sees no folder of this machine, but pages of wheels it reaches.
        arguments["PIP_FIND_LINKS"] = " ".join(place for place in places if "://" in place)
        if sealed:
            arguments["BASE"] = f"{_SEALED_BASE}:{_python_of(image)}"
        command = ["docker", "build", "--tag", target.reference]
        command += ["--target", image_facts(image).target]
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


def make_context(image: str, wheel: Path, places: Sequence[str], folder: Path) -> None:
    """Write what an image is built from into a folder.

    Args:
        image: its name.
        wheel: cellmill's wheel.
        places: folders and pages where wheels lie that no index has.
        folder: an empty folder.
    """
    for name in _SHARED:
        shutil.copy(IMAGES / name, folder)
    shutil.copyfile(image_lock(image), folder / "requirements.lock")
    shutil.copy(wheel, folder)
    copy_wheels(places, image_lock(image), folder / "wheels")
    for path in _own_files(image):
        is_script = path.is_relative_to(IMAGES)
        place = folder / "own" / (path.name if is_script else path.relative_to(ROOT))
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)


def build_arguments(image: str) -> dict[str, str]:
    """Return what `images/Dockerfile` is told of an image, by the names of its arguments."""
    facts = image_facts(image)
    return {
        "BASE": base_of(image),
        "FROM_SOURCES": ",".join(facts.from_sources),
        "FORM": CUDA if image.endswith(CUDA) else "",
        "STAGES": " ".join(stages_of(image)),
        "TITLE": f"cellmill-{image}",
        "DESCRIPTION": facts.description,
        "LICENCES": facts.licences,
        "VERSION": __version__,
        "SOURCES": sources_digest(image),
    }


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


def _python_of(image: str) -> str:
    return wanted_python(image) or "3.11"


def _own_files(image: str) -> list[Path]:
    """What an image holds beside cellmill's wheel: its check, what warms kernels, a package."""
    facts = image_facts(image)
    found = sorted(image_folder(image).glob("*.py")) + ([_WARM] if facts.kernels else [])
    return found + (sorted((ROOT / facts.package).rglob("*.py")) if facts.package else [])


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
