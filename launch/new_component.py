"""Writes the skeleton of a new component: stage, component, test."""

from __future__ import annotations

import argparse
import importlib.util
import keyword
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from cellmill.contract.spec import ArtifactSpec, ParameterSpec, StageSpec
from cellmill.contract.types import Record
from cellmill.errors import BadInput, CellmillError
from launch.environments import image_names
from launch.paths import ROOT

_STAGE = '''"""The stage ``{name}``."""

from __future__ import annotations

from typing import Literal

from cellmill.arrays.batch import Batch, BatchWriter, Entry
from cellmill.contract import Dataset, Input, Output, Record, for_each_image


def {name}(
    images: Input[Dataset],
    results: Output[Dataset],
    record: Output[Record],
    on_bad_image: Literal["fail", "skip"] = "fail",
) -> None:
    """Say here in one line what the stage does.

    Args:
        images: images, one entry each, array `image` (Y, X, C).
        results: what the stage makes of them.
        record: what was done, with times and versions.
        on_bad_image: `fail` the batch, or `skip` the image and go on.
    """
    source = Batch.open(images.path)
    with BatchWriter(results.path, attributes=source.attributes) as out:

        def work(entry: Entry) -> None:
            out.write(
                entry.name,
                {{"image": source.read(entry, "image")}},
                axes={{"image": "YXC"}},
                mpp=entry.mpp,
                mpp_source=entry.mpp_source,
                channels=entry.channels,
                attributes=entry.attributes,
            )

        for_each_image(
            source,
            work,
            writers=[out],
            record=record,
            on_bad_image=on_bad_image,
            label="{name}",
        )
'''

_TEST = """import numpy as np

from cellmill.arrays.batch import Batch, BatchWriter
from cellmill.contract.cli import main


def test_every_image_has_its_result(tmp_path):
    image = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
    with BatchWriter(tmp_path / "images") as out:
        out.write("a", {{"image": image}}, axes={{"image": "YXC"}}, channels=["DAPI"])
    arguments = ["--images", str(tmp_path / "images"), "--results", str(tmp_path / "results")]
    assert main(["{name}", *arguments]) == 0
    assert [entry.name for entry in Batch.open(tmp_path / "results").entries] == ["a"]
"""


def component_source(spec: StageSpec, image: str) -> str:
    """Return the ``component.py`` that declares a stage's interface to KFP."""
    lines: list[str] = []
    needed: list[str] = []
    optional: list[str] = []
    for artifact in spec.inputs:
        (optional if artifact.optional else needed).append(_artifact(artifact, "Input"))
    needed += [_artifact(artifact, "Output") for artifact in spec.outputs]
    needed += [
        f"{r.name}: dsl.OutputPath({r.type.__name__}),  # type: ignore[valid-type]"
        for r in spec.results
    ]
    for parameter in spec.parameters:
        (needed if parameter.required else optional).append(_parameter(parameter))
    imports = ["from typing import Any", ""] if any("Any" in x for x in needed + optional) else []
    lines += [f'"""The component ``{spec.name}``: its interface."""', "", *imports]
    lines += ["from kfp import dsl", "", "from components.container import run_stage", "", ""]
    lines += ["@dsl.container_component", f"def {spec.name}("]
    lines += [f"    {declared}" for declared in needed + optional]
    description = spec.description.replace("\n", "\n    ").replace("\n    \n", "\n\n")
    lines += [") -> dsl.ContainerSpec:", f'    """{description}', "", "    Args:"]
    lines += [x for i in spec.inputs for x in _item(i.name, i.description)]
    lines += [x for p in spec.parameters for x in _item(p.name, p.description)]
    lines += ["", "    Returns:"]
    lines += [x for o in spec.outputs for x in _item(o.name, o.description)]
    lines += [x for r in spec.results for x in _item(r.name, r.description)]
    lines += ['    """', f'    return run_stage("{spec.name}", image="{image}")', ""]
    return "\n".join(lines)


def _item(name: str, text: str) -> list[str]:
    lines = [f"        {name}:"]
    for word in text.split():
        if len(lines[-1]) + len(word) + 1 > 98:
            lines.append("           ")
        lines[-1] += f" {word}"
    return lines


def _artifact(artifact: ArtifactSpec, direction: str) -> str:
    kind = artifact.type.schema_title.removeprefix("system.")
    if issubclass(artifact.type, Record):
        kind = "Artifact"
    inner = f"list[dsl.{kind}]" if artifact.is_list else f"dsl.{kind}"
    default = " = None" if artifact.optional else ""
    return f"{artifact.name}: dsl.{direction}[{inner}]{default},"


def _parameter(parameter: ParameterSpec) -> str:
    kinds: dict[type, str] = {list: "list[Any]", dict: "dict[str, Any]"}
    kind = kinds.get(parameter.type, parameter.type.__name__)
    default = "" if parameter.required else f" = {parameter.default!r}".replace("'", '"')
    return f"{parameter.name}: {kind}{default},"


def main(argv: Sequence[str] | None = None) -> int:
    """Write a new component, or with ``--from-stage`` the component of a stage that is there."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("name", help="its name, in the field's words, as a verb: deconvolve")
    parser.add_argument("--image", default="imaging", help="the image it runs in")
    parser.add_argument("--from-stage", action="store_true", help="the stage is written already")
    arguments = parser.parse_args(argv)
    try:
        written = new_component(ROOT, arguments.name, arguments.image, arguments.from_stage)
    except CellmillError as error:
        print(f"new-component: {error}", file=sys.stderr)
        return 2
    for path in written:
        print(f"written: {path.relative_to(ROOT)}")
    print("next: write the stage, mirror its signature in component.py, then make compile test")
    return 0


def new_component(root: Path, name: str, image: str, from_stage: bool = False) -> list[Path]:
    """Write the files of a new component.

    Args:
        root: the clone.
        name: the component's name.
        image: the image it runs in.
        from_stage: write the component only, from the signature of a stage that is there.

    Returns:
        The files written.

    Raises:
        BadInput: the name is taken or none, or there is no such image.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise BadInput("NAME", expected="a Python name in small letters", found=repr(name))
    if image not in image_names():
        raise BadInput("IMAGE", expected=f"one of {', '.join(image_names())}", found=repr(image))
    stage = root / "cellmill" / "stages" / f"{name}.py"
    test = root / "tests" / "stages" / f"test_{name}.py"
    component = root / "components" / name / "component.py"
    if component.exists() or (stage.exists() and not from_stage):
        raise BadInput("NAME", expected="a name that is free", found=repr(name))
    written: list[Path] = []
    if not from_stage:
        written += [
            _write(stage, _STAGE.format(name=name)),
            _write(test, _TEST.format(name=name)),
        ]
    written.append(_write(component, component_source(_interface(stage), image)))
    return written


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def _interface(stage: Path) -> StageSpec:
    found = importlib.util.spec_from_file_location(f"cellmill.stages.{stage.stem}", stage)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module
    found.loader.exec_module(module)
    return StageSpec.of(getattr(module, stage.stem))


if __name__ == "__main__":
    sys.exit(main())
