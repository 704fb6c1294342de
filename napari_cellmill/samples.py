"""Sample data: the image that `make run` segments, with its truth."""

from __future__ import annotations

from typing import Any

import tifffile

from cellmill.datasets.samples import sample_image


def sample_layers() -> list[tuple[Any, dict[str, Any], str]]:
    """Give the image and its truth as layers; the first time they are downloaded.

    Raises:
        CellmillError: they cannot be had.
    """
    image, truth = sample_image()
    return [
        (tifffile.imread(image), {"name": "nuclei"}, "image"),
        (tifffile.imread(truth).astype("int32"), {"name": "nuclei: truth"}, "labels"),
    ]
