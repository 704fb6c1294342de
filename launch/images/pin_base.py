"""Writes the present digests of the images' bases into their Dockerfiles.

`python -m launch.images.pin_base [NAME …]` asks the registry through Docker, which must be able
to reach it.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence

from cellmill.arrays.files import write_text
from cellmill.errors import BadInput, CellmillError
from cellmill.terminal import say
from components.container_images import read_lock
from launch.images.docker import docker
from launch.images.environments import image_folder

_BASE = re.compile(r"^ARG BASE=(?P<tag>[^@\s]+)@(?P<digest>sha256:[0-9a-f]{64})$", re.M)


def pin(text: str, digest: str) -> str:
    """Return a Dockerfile whose base has another digest.

    Raises:
        BadInput: it has no base with a digest.
    """
    if not _BASE.search(text):
        raise BadInput("Dockerfile", expected="ARG BASE=name:tag@sha256:…", found="none")
    return _BASE.sub(rf"ARG BASE=\g<tag>@{digest}", text)


def base_of(text: str) -> str:
    """Return the tag of a Dockerfile's base, without its digest."""
    found = _BASE.search(text)
    return found["tag"] if found else ""


def main(argv: Sequence[str] | None = None) -> int:
    """Pin the bases of all images, or of those named; return 0, or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m launch.images.pin_base", description=main.__doc__
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="images; all of them by default")
    try:
        names = parser.parse_args(argv).names or list(read_lock())
        for folder in dict.fromkeys(map(image_folder, names)):
            path = folder / "Dockerfile"
            text = path.read_text()
            tag = base_of(text)
            docker("pull", "--quiet", tag)
            repository = tag.split(":")[0]
            digests = docker("image", "inspect", "--format", "{{json .RepoDigests}}", tag)
            found = re.search(
                rf'"(?:[^"]*/)?{re.escape(repository)}@(sha256:[0-9a-f]{{64}})"', digests
            )
            if not found:
                raise CellmillError(f"base '{tag}': expected a digest in its registry, found none")
            write_text(path, pin(text, found[1]))
            say(f"{folder.name}: {tag}@{found[1]}")
    except CellmillError as error:
        say(f"cellmill: {error}", to=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
