"""Publishes what others build on: components and pipelines with their images pinned by digest.

`python -m launch.release [--lock FILE] [--output FOLDER]` writes `dist/release/<version>/`: a
`component.yaml` and a README for each component, a `pipeline.yaml` for each pipeline, a
catalogue page, and checksums of all. Images are those that `make push` wrote to
`images/release.lock.yaml`; components and pipelines with an image that is never
handed on are left out.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from cellmill.contract.spec import StageSpec
from cellmill.errors import CellmillError
from cellmill.terminal import say
from cellmill.version import __version__
from components.container_images import RELEASE_LOCK, ContainerImage, read_lock
from launch import ROOT
from launch.cloud.remote import released_images
from launch.compiling.caching import placed
from launch.compiling.compiled import (
    component,
    component_names,
    hardware_by_component,
    pipeline,
    pipeline_names,
    to_yaml,
)
from launch.compiling.lint_ir import lint
from launch.compiling.readmes import component_readme, interface_rows
from launch.compiling.renderings import render
from launch.images.building import NEVER_PUSHED

SUMS = "SHA256SUMS"
CATALOGUE = "README.md"


def release(folder: Path, images: Mapping[str, ContainerImage]) -> list[str]:
    """Write a release.

    Args:
        folder: where; what is there is replaced once all is written and found right.
        images: pushed images by name, with their digests.

    Returns:
        Names of the components that are left out.

    Raises:
        BadInput: an image that a component needs is not among them.
        CellmillError: a file breaks a rule of `make lint-ir`.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".release-") as place:
        made = Path(place) / "release"
        left_out = list(_write_all(made, images))
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    return left_out


def _write_all(folder: Path, images: Mapping[str, ContainerImage]) -> Iterator[str]:
    hardware = hardware_by_component()
    entries = []
    for name in component_names():
        text = to_yaml(component(name))
        if _stays_here(text):
            yield name
            continue
        text = _checked(f"components/{name}/component.yaml", placed(text, images))
        spec = StageSpec.load(name)
        readme = component_readme(spec, text, hardware.get(name, ""))
        _write(folder / "components" / name / "component.yaml", text)
        _write(folder / "components" / name / "README.md", readme)
        entries.append(_entry(name, spec.summary, text, hardware.get(name, "")))
    published = [name for name in pipeline_names() if not _stays_here(to_yaml(pipeline(name)))]
    for name in published:
        text = _checked(f"pipelines/{name}/pipeline.yaml", render(name, "portable", None, images))
        _write(folder / "pipelines" / name / "pipeline.yaml", text)
    _write(folder / CATALOGUE, _catalogue(published, entries))
    shutil.copyfile(ROOT / "LICENSE", folder / "LICENSE")
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    sums = [
        f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(folder).as_posix()}"
        for p in files
    ]
    _write(folder / SUMS, "\n".join(sums) + "\n")


def _checked(name: str, text: str) -> str:
    for line in lint(text, release=True):
        raise CellmillError(f"{name}: {line}")
    return text


def _stays_here(text: str) -> bool:
    """Whether something needs an image that is never handed on."""
    return any(read_lock()[image].reference in text for image in NEVER_PUSHED)


def _catalogue(published: Sequence[str], entries: Sequence[str]) -> str:
    pipelines = [f"- [{name}](pipelines/{name}/pipeline.yaml)" for name in published]
    head = [
        f"# cellmill {__version__}",
        "",
        "Components and pipelines for Kubeflow Pipelines and Vertex AI. Each file is whole in "
        "itself: its images are pinned by digest.",
        f"`sha256sum --check {SUMS}` checks the files.",
        "",
        "```python",
        "from kfp.components import load_component_from_file, load_component_from_url",
        "",
        'predict = load_component_from_file("components/predict/component.yaml")',
        "```",
        "",
        "## Pipelines",
        "",
        *pipelines,
        "",
        "## Components",
    ]
    return "\n".join([*head, *entries]) + "\n"


def _entry(name: str, summary: str, text: str, hardware: str) -> str:
    document = yaml.safe_load(text)
    (executor,) = document["deploymentSpec"]["executors"].values()
    lines = [
        "",
        f"### [{name}](components/{name}/README.md)",
        "",
        summary,
        "",
        "| | |",
        "|---|---|",
        *(f"| {title} | {cells} |" for title, cells in interface_rows(name, text) if cells),
        f"| image | `{executor['container']['image']}` |",
        *([f"| hardware | {hardware} |"] if hardware else []),
    ]
    return "\n".join(lines)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Write a release; return 0, or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m launch.release", description=main.__doc__)
    parser.add_argument("--lock", type=Path, default=RELEASE_LOCK, help="images by digest")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "dist" / "release" / __version__, help="the folder"
    )
    given = parser.parse_args(argv)
    try:
        left_out = release(given.output.absolute(), released_images(given.lock))
    except CellmillError as error:
        say(f"cellmill: {error}", to=sys.stderr)
        return 2
    for name in left_out:
        say(f"left out: {name} (packages for academic use only)")
    say(f"written to {given.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
