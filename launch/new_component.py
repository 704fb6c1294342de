"""Writes the skeleton of a new component: its stage and the stage's test.

The component itself is generated from the stage, by `make compile`.
"""

from __future__ import annotations

import argparse
import keyword
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from cellmill.contract.declaration import FAMILIES
from cellmill.errors import BadInput, CellmillError
from cellmill.terminal import say
from launch import ROOT
from launch.images.environments import image_names

_STAGE = '''"""The stage `{name}`."""

from __future__ import annotations

from typing import Literal

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.contract import Images, Input, Output, Record, for_each_image, stage


@stage(image="{image}", family="{family}")
def {name}(
    images: Input[Images],
    results: Output[Images],
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

from cellmill.arrays.batch import Batch
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.contract.cli import main


def test_every_image_has_its_result(tmp_path):
    image = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
    with BatchWriter(tmp_path / "images") as out:
        out.write("a", {{"image": image}}, axes={{"image": "YXC"}}, channels=["DAPI"])
    arguments = ["--images", str(tmp_path / "images"), "--results", str(tmp_path / "results")]
    assert main(["{name}", *arguments]) == 0
    assert [entry.name for entry in Batch.open(tmp_path / "results").entries] == ["a"]
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the skeleton of a new component; return 0, or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m launch.new_component", description=__doc__)
    parser.add_argument("name", help="its name, in the field's words, as a verb: deconvolve")
    parser.add_argument("--image", default="imaging", help="the container image it runs in")
    parser.add_argument("--family", default="segmentation", help="where the index lists it")
    given = parser.parse_args(argv)
    try:
        written = new_component(ROOT, given.name, image=given.image, family=given.family)
    except CellmillError as error:
        say(f"new-component: {error}", to=sys.stderr)
        return 2
    for path in written:
        say(f"written: {path.relative_to(ROOT)}")
    say("next: write the stage, then make compile test")
    return 0


def new_component(root: Path, name: str, *, image: str, family: str) -> list[Path]:
    """Write the stage of a new component, and its test.

    Args:
        root: the clone.
        name: the component's name.
        image: the container image that it runs in.
        family: the family under which the components' index lists it.

    Returns:
        The files written.

    Raises:
        BadInput: the name is taken or none, or there is no such image or family.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise BadInput("NAME", expected="a Python name in small letters", found=repr(name))
    if image not in image_names():
        expected = f"one of {', '.join(image_names())}"
        raise BadInput("ENVIRONMENT", expected=expected, found=repr(image))
    if family not in FAMILIES:
        raise BadInput("FAMILY", expected=f"one of {', '.join(FAMILIES)}", found=repr(family))
    stage = root / "cellmill" / "stages" / f"{name}.py"
    test = root / "tests" / "stages" / f"test_{name}.py"
    if stage.exists() or test.exists():
        raise BadInput("NAME", expected="a name that is free", found=repr(name))
    for path, text in ((stage, _STAGE), (test, _TEST)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(name=name, image=image, family=family))
    return [stage, test]


if __name__ == "__main__":
    sys.exit(main())
