"""A volume and what was made of it side by side in Neuroglancer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from cellmill.style_transfer.volumes import Volume

VIEWER = "https://neuroglancer-demo.appspot.com/"
#: What Neuroglancer calls the forms of volumes that it reads.
_SCHEMES = {form: form for form in ("precomputed", "zarr", "n5", "dvid")} | {"zarr3": "zarr"}


def neuroglancer_state(source: str, made: str, volume: Volume) -> dict[str, Any]:
    """The state of a viewer that shows both, linked, at the volume's middle.

    A source that Neuroglancer does not read, TIFFs, is left out.

    Args:
        source: URI of the volume. Neuroglancer reads what a web server or a bucket gives; a path
            stands as it is, to be replaced by where it is served.
        made: URI of what was made.
        volume: the source, open.
    """
    sizes = volume.voxel_nm or (1.0, 1.0, 1.0)
    middle = [o + n / 2 for o, n in zip(volume.origin, volume.shape, strict=True)]
    axes = zip("xyz", sizes[::-1], strict=True)
    form, its_form = volume.form or made_form(source), made_form(made)
    address: Any = _address(made, its_form)
    if form in _SCHEMES and (shift := _half(its_form) - _half(form)):
        address = {"url": address, "transform": _moved(shift, its_form, sizes)}
    layers = [{"type": "image", "name": "transferred", "source": address}]
    if form in _SCHEMES:
        shown: dict[str, Any] = {"type": "image", "name": "source"}
        shown["source"] = _address(source, form)
        if volume.levels is not None:
            shown["shaderControls"] = {"normalized": {"range": list(volume.levels)}}
        layers.insert(0, shown)
    views = [{"type": "viewer", "layers": [layer["name"]], "layout": "xy"} for layer in layers]
    return {
        "dimensions": {axis: [size * 1e-9, "m"] for axis, size in axes},
        "position": middle[::-1],
        "layers": layers,
        "layout": {"type": "row", "children": views},
    }


def neuroglancer_link(state: dict[str, Any], viewer: str = VIEWER) -> str:
    """The address of a viewer in a state."""
    return f"{viewer}#!{quote(json.dumps(state, separators=(',', ':')))}"


def _half(form: str) -> float:
    """How far before a voxel's corner Neuroglancer takes its place to be, voxels.

    OME-Zarr says where the centre of the first voxel is, other forms say where its corner is.
    """
    return 0.5 if form.startswith("zarr") else 0.0


def _moved(shift: float, form: str, sizes: Sequence[float]) -> dict[str, Any]:
    """A shift by voxels along all axes, in the order in which a form has them."""
    axes = dict(zip("zyx", sizes, strict=True))
    names = "zyx" if form.startswith("zarr") else "xyz"
    return {
        "outputDimensions": {axis: [axes[axis] * 1e-9, "m"] for axis in names},
        "matrix": [[float(row == column) for column in range(3)] + [shift] for row in range(3)],
    }


def made_form(uri: str) -> str:
    """The form of a volume that was made, as its URI says it (`writing`)."""
    scheme = uri.partition("://")[0]
    if scheme in _SCHEMES:
        return scheme
    return "zarr" if uri.rstrip("/").endswith(".zarr") else "precomputed"


def _address(uri: str, form: str) -> str:
    """A URI as Neuroglancer takes it: with its form."""
    scheme, separator, place = uri.partition("://")
    return f"{_SCHEMES[form]}://{place if separator and scheme in _SCHEMES else uri}"
