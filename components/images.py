"""The images of stages: where each is, from a lock file under ``images/``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

_FOLDER = Path(__file__).resolve().parent.parent / "images"
#: What the committed YAML names; it is there once `make build-images` has run.
LOCAL_LOCK = _FOLDER / "images.lock.yaml"
#: What `make push` wrote: the same images in a registry, by digest.
RELEASE_LOCK = _FOLDER / "release.lock.yaml"


@dataclass(frozen=True)
class Image:
    """A container image.

    Attributes:
        repository: registry and name, for example ``localhost/cellmill-imaging``.
        tag: its tag.
        digest: ``sha256:…`` of its manifest in a registry; empty before it was pushed.
    """

    repository: str
    tag: str
    digest: str = ""

    @property
    def reference(self) -> str:
        """What names the image in a container specification: by digest where there is one."""
        if self.digest:
            return f"{self.repository}@{self.digest}"
        return f"{self.repository}:{self.tag}"


#: Images by name, a folder under ``images/``.
Images = Mapping[str, Image]


def read_lock(path: Path = LOCAL_LOCK) -> dict[str, Image]:
    """Return the images that a lock file names."""
    return {name: Image(**row) for name, row in yaml.safe_load(path.read_text()).items()}
