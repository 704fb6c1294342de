"""Images of classes of pixels, made of mnfinder's objects: to try semantic segmentation.

`python -m cellmill.datasets.class_images mnfinder-training --output DIR` writes `DIR/images` and
`DIR/classes` with equal file names; several sets may be written into one folder. Values are 1
background, 2 nuclear, 3 micronucleus.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cellmill.datasets.samples import mnfinder
from cellmill.errors import CellmillError
from cellmill.terminal import say

BACKGROUND, NUCLEAR, MICRONUCLEUS = 1, 2, 3
_SETS = ("mnfinder-training", "mnfinder-validation", "mnfinder-test")


def class_image(nuclei: np.ndarray, micronuclei: np.ndarray) -> np.ndarray:
    """The class of every pixel, uint8; what is painted as both is a micronucleus.

    Args:
        nuclei: label image, 0 is background.
        micronuclei: the same, of its shape.
    """
    classes = np.where(nuclei > 0, NUCLEAR, BACKGROUND)
    return np.where(micronuclei > 0, MICRONUCLEUS, classes).astype(np.uint8)


def write_set(name: str, folder: Path) -> int:
    """Write the images of a set and their classes; how many there are."""
    import tifffile

    samples = mnfinder(name.removeprefix("mnfinder-"))  # type: ignore[arg-type]
    for part in ("images", "classes"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for sample in samples:
        shutil.copyfile(sample.image, folder / "images" / sample.image.name)
        made = class_image(tifffile.imread(sample.nuclei), tifffile.imread(sample.micronuclei))
        tifffile.imwrite(folder / "classes" / sample.image.name, made, compression="zlib")
    return len(samples)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a set; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("set", choices=_SETS, help="which images")
    parser.add_argument("--output", type=Path, required=True, help="the folder to write to")
    given = parser.parse_args(arguments)
    try:
        count = write_set(given.set, given.output)
    except CellmillError as error:
        say(f"cellmill: {error}", to=sys.stderr)
        return 2
    say(f"{count} image(s) in {given.output}/images, their classes in {given.output}/classes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
