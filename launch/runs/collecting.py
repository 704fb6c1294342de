"""Fills a run's folder with what its pipeline declared as outputs."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cellmill.arrays.batch import Batch
from cellmill.errors import CellmillError
from launch.runs.provenance import describe_run
from pipelines.outputs import OutputFile


def collect(outputs: Mapping[str, Any], table: Sequence[OutputFile], folder: Path) -> list[str]:
    """Put a pipeline's outputs where a user looks for them.

    Per-image files go to `folder/<image name>/`, the others to `folder`. With one image, its
    files can be reached from `folder` too. What the run was is written down beside them.

    Args:
        outputs: what the pipeline gave: artifacts, or lists of them, by name.
        table: where each output goes.
        folder: the run's folder.

    Returns:
        The names of the images that have files.

    Raises:
        CellmillError: a declared output is not there.
    """
    images: dict[str, None] = {}
    said: list[Mapping[str, Any]] = []
    for row in table:
        for artifact in _artifacts(outputs, row.output):
            if not row.per_image:
                _place(artifact, folder / row.name)
                continue
            batch = Batch.open(artifact)
            said.append(batch.attributes)
            for entry in batch.entries:
                if row.suffix in entry.files:
                    _place(batch.file(entry, row.suffix), folder / entry.name / row.name)
                    images[entry.name] = None
    if len(images) == 1:
        (name,) = images
        for file in sorted((folder / name).iterdir()):
            link = folder / file.name
            if not link.exists():
                link.symlink_to(Path(name) / file.name)
    describe_run(folder, said)
    return list(images)


def link_latest(run: Path) -> None:
    """Make `latest`, beside a run's folder, point to it, in one step.

    A folder that is called so, as a run's own may be, is left as it is.
    """
    latest = run.parent / "latest"
    if latest.is_dir() and not latest.is_symlink():
        return
    beside = run.parent / f".latest-{os.getpid()}"
    beside.unlink(missing_ok=True)
    beside.symlink_to(run.name)
    beside.replace(latest)


def _artifacts(outputs: Mapping[str, Any], name: str) -> Iterable[Path]:
    found = outputs.get(name)
    if found is None:
        raise CellmillError(f"output '{name}': expected from the pipeline, found none")
    for artifact in found if isinstance(found, list) else [found]:
        path = Path(artifact.path)
        if not path.exists():
            raise CellmillError(f"output '{name}': expected at '{path}', found nothing there")
        yield path


def _place(source: Path, target: Path) -> None:
    """Give a file, or each file of a folder, a second name; copy where the file system cannot."""
    if source.is_dir():
        for file in sorted(p for p in source.rglob("*") if p.is_file()):
            _place(file, target / file.relative_to(source))
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        os.link(source, target)
        return
    shutil.copyfile(source, target)
