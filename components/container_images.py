"""The container images that stages run in: where each is, from a lock file under `images/`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

_FOLDER = Path(__file__).resolve().parent.parent / "images"
#: What the committed YAML names; it is there once `make build-images` has run.
LOCAL_LOCK = _FOLDER / "images.lock.yaml"
#: What `make push` wrote: the same container images in a registry, by digest.
RELEASE_LOCK = _FOLDER / "release.lock.yaml"


@dataclass(frozen=True)
class ContainerImage:
    """A container image.

    Attributes:
        repository: registry and name, for example `localhost/cellmill-imaging`.
        tag: its tag.
        digest: `sha256:…` of its manifest in a registry; empty before it was pushed.
    """

    repository: str
    tag: str
    digest: str = ""

    @property
    def reference(self) -> str:
        """What names it in a container specification: by digest where there is one."""
        if self.digest:
            return f"{self.repository}@{self.digest}"
        return f"{self.repository}:{self.tag}"


#: Container images by name, a folder under `images/`.
ContainerImages = Mapping[str, ContainerImage]


def read_lock(path: Path = LOCAL_LOCK) -> dict[str, ContainerImage]:
    """Return the container images that a lock file names."""
    return {name: ContainerImage(**row) for name, row in yaml.safe_load(path.read_text()).items()}
