"""Scribbles made of ground truth: to try pixel classification where nobody has scribbled yet.

`python -m cellmill.datasets.scribbles --output DIR` writes the sample image with scribbles of a
part of its truth: `DIR/images`, `DIR/scribbles`, `DIR/truth`, with equal file names.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cellmill.datasets.samples import sample_image
from cellmill.errors import BadInput, CellmillError
from cellmill.terminal import say

BACKGROUND, OBJECT = 1, 2


def scribbles_of(truth: np.ndarray, part: float = 0.02, seed: int = 0) -> np.ndarray:
    """Draw single pixels of a truth as scribbles.

    Args:
        truth: label image, 0 is background.
        part: of its pixels that are drawn.
        seed: of the draw.

    Returns:
        uint8 of its shape: 0 is not labelled, 1 background, 2 objects.

    Raises:
        BadInput: the part is not above 0 and at most 1.
    """
    if not 0 < part <= 1:
        raise BadInput("part", expected="more than 0, at most 1", found=f"{part}")
    drawn = np.random.default_rng(seed).random(truth.shape) < part
    classes = np.where(truth > 0, OBJECT, BACKGROUND)
    return np.where(drawn, classes, 0).astype(np.uint8)


def write_sample(folder: Path, part: float = 0.02, seed: int = 0) -> None:
    """Write the sample image, its truth, and scribbles made of a part of it."""
    import tifffile

    image, truth = sample_image()
    for name in ("images", "scribbles", "truth"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    shutil.copyfile(image, folder / "images" / "sample.tif")
    shutil.copyfile(truth, folder / "truth" / "sample.tif")
    made = scribbles_of(tifffile.imread(truth), part, seed)
    tifffile.imwrite(folder / "scribbles" / "sample.tif", made, compression="zlib")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the sample with scribbles."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="the folder to write to")
    parser.add_argument("--part", type=float, default=0.02, help="of the truth's pixels [0.02]")
    parser.add_argument("--seed", type=int, default=0, help="of the draw [0]")
    given = parser.parse_args(arguments)
    try:
        write_sample(given.output, given.part, given.seed)
    except CellmillError as error:
        say(f"cellmill: {error}", to=sys.stderr)
        return 2
    say(f"{given.output}: images, scribbles, truth")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
