"""Writes the present digests of the images' bases into `images/bases.yaml`.

`python -m launch.images.pin_base` asks the registry through Docker, which must be able to reach it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from cellmill.arrays.files import write_text
from cellmill.errors import BadInput, CellmillError
from cellmill.terminal import say
from launch.images.docker import docker
from launch.images.environments import IMAGES

BASES = IMAGES / "bases.yaml"
_BASE = re.compile(r"(?<=: )(?P<tag>(?P<repository>[^:@\s]+):[^@\s]+)@sha256:[0-9a-f]{64}$", re.M)


def pin(text: str, digests: dict[str, str]) -> str:
    """Return the text of `images/bases.yaml` with other digests.

    Args:
        text: of the file.
        digests: `sha256:…` by tag.
    """
    return _BASE.sub(lambda found: f"{found['tag']}@{digests[found['tag']]}", text)


def tags(text: str) -> dict[str, str]:
    """Return the tags of all bases, without their digests, and their repositories.

    Raises:
        BadInput: there is none with a digest.
    """
    found = {base["tag"]: base["repository"] for base in _BASE.finditer(text)}
    if not found:
        raise BadInput(BASES.name, expected="lines of name:tag@sha256:…", found="none")
    return found


def main(bases: Path = BASES) -> int:
    """Pin the bases of all images; return 0, or 2 with one line on stderr."""
    try:
        text, digests = bases.read_text(), dict[str, str]()
        for tag, repository in tags(text).items():
            docker("pull", "--quiet", tag)
            known = docker("image", "inspect", "--format", "{{json .RepoDigests}}", tag)
            found = re.search(
                rf'"(?:[^"]*/)?{re.escape(repository)}@(sha256:[0-9a-f]{{64}})"', known
            )
            if not found:
                raise CellmillError(f"base '{tag}': expected a digest in its registry, found none")
            digests[tag] = found[1]
            say(f"{tag}@{found[1]}")
        write_text(bases, pin(text, digests))
    except CellmillError as error:
        say(f"cellmill: {error}", to=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
