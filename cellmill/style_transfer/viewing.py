"""A volume and what was made of it side by side in Neuroglancer."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from cellmill.style_transfer.volumes import Volume

VIEWER = "https://neuroglancer-demo.appspot.com/"
_KINDS = ("precomputed://", "zarr://", "zarr3://", "n5://", "dvid://")


def neuroglancer_state(source: str, made: str, volume: Volume) -> dict[str, Any]:
    """The state of a viewer that shows both, linked, at the volume's middle.

    Args:
        source: URI of the volume. Neuroglancer reads what a web server or a bucket gives; a path
            stands as it is, to be replaced by where it is served.
        made: URI of what was made.
        volume: the source, open.
    """
    sizes = volume.voxel_nm or (1.0, 1.0, 1.0)
    middle = [o + n / 2 for o, n in zip(volume.origin, volume.shape, strict=True)]
    axes = zip("xyz", sizes[::-1], strict=True)
    layers = [
        {"type": "image", "name": name, "source": _address(uri)}
        for name, uri in (("source", source), ("transferred", made))
    ]
    views = [{"type": "viewer", "layers": [layer["name"]], "layout": "xy"} for layer in layers]
    return {
        "dimensions": {axis: [size * 1e-9, "m"] for axis, size in axes},
        "position": middle[::-1],
        "layers": layers,
        "layout": {"type": "row", "children": views},
    }


def neuroglancer_link(state: dict[str, Any]) -> str:
    """The address of a viewer in a state."""
    return f"{VIEWER}#!{quote(json.dumps(state, separators=(',', ':')))}"


def _address(uri: str) -> str:
    """A URI as Neuroglancer takes it: with its form."""
    if uri.startswith(_KINDS):
        return uri.replace("zarr3://", "zarr://", 1)
    return f"zarr://{uri}" if uri.rstrip("/").endswith(".zarr") else f"precomputed://{uri}"
