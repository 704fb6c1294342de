"""The page of a transferred volume: cuts through it and its source, and where to look further."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cellmill.reporting.page import render
from cellmill.reporting.pictures import picture_uri
from cellmill.reporting.text import fixed, number
from cellmill.style_transfer.volumes import Volume
from cellmill.version import __version__

#: Side of a cut at most, voxels.
_SIDE = 512


def render_transferred_volume(source: Volume, made: Volume, said: Mapping[str, Any]) -> str:
    """Write the page.

    Args:
        source: the volume that was given.
        made: what was made of it, of the same shape.
        said: what the stages say of it: `volume`, `source`, `blocks`, `read_amplification`,
            `levels`, `neuroglancer`.

    Returns:
        HTML that asks nothing of the network.
    """
    cuts = [
        {
            "title": f"across {'zyx'[axis]}, at {source.shape[axis] // 2}",
            "pictures": [_cut(volume, axis) for volume in (source, made)],
        }
        for axis in range(3)
        # A cut that is a few voxels high shows nothing.
        if axis == 0 or source.shape[0] >= _SIDE // 32
    ]
    page = {
        "title": "Transferred volume",
        "version": __version__,
        "facts": [
            f"{' × '.join(number(side) for side in source.shape)} voxels",
            f"planes across {', '.join(said['planes'])}",
        ],
        "figures": [
            {"title": "Blocks", "value": number(said["blocks"])},
            {"title": "Resolutions", "value": number(len(said["levels"]))},
            {"title": "Read for each voxel", "value": fixed(said["read_amplification"])},
            {"title": "Mean grey, source", "value": _mean(source)},
            {"title": "Mean grey, result", "value": _mean(made)},
        ],
        "places": [("source", said["source"]), ("result", said["volume"])],
        "link": said["neuroglancer"],
        "cuts": cuts,
    }
    return render("transferred_volume.html.jinja", page)


def _window(volume: Volume, axis: int) -> tuple[slice, ...]:
    """The middle plane across an axis, at most `_SIDE` voxels along the others."""
    found = []
    for n, length in enumerate(volume.shape):
        side = 1 if n == axis else min(length, _SIDE)
        start = (length - side) // 2 if n != axis else length // 2
        found.append(slice(start, start + side))
    return tuple(found)


def _cut(volume: Volume, axis: int) -> str:
    return picture_uri(np.ascontiguousarray(volume[_window(volume, axis)].squeeze(axis)))[0]


def _mean(volume: Volume) -> str:
    """Of the cut across z."""
    return f"{volume[_window(volume, 0)].mean():.0f}"
