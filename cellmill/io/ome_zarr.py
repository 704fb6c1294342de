"""An OME-Zarr as an image to read from: which level, focal plane and channels are meant."""

from __future__ import annotations

import numpy as np

from cellmill.arrays.ome import read_image
from cellmill.arrays.windows import Windowed
from cellmill.arrays.zarr import open_stored
from cellmill.errors import BadInput
from cellmill.io.tiff.axes import FocalPlane, pick_plane, pick_planes
from cellmill.io.tiff.layout import PIXEL_DTYPES, coarsest_level
from cellmill.io.tiff.pixel_size import volume_mpp
from cellmill.io.uris import local_path
from cellmill.io.windowed_image import WindowedImage


def open_zarr_image(
    uri: str,
    *,
    mpp: float = 0.0,
    target_mpp: float = 0.0,
    z_step: float = 0.0,
    z: FocalPlane = -1,
    t: int = -1,
    series: int = -1,
) -> WindowedImage:
    """Open an OME-Zarr 0.5 or 0.4; the arguments are those of `cellmill.io.tiff.layout.open_image`.

    Raises:
        BadInput: it is none, it is damaged, or which Z or T is meant is not said.
    """
    label = f"image '{uri}'"
    path = local_path(uri)
    # A bucket that is mounted is read where it is mounted, as files are.
    place = str(path.absolute()) if path is not None else uri
    ome = read_image(f"{place.rstrip('/')}/{series}" if series >= 0 else place)
    if set(ome.axes) - set("tczyx"):
        raise BadInput(label, expected="axes of t, c, z, y and x", found=ome.axes)
    arrays = [open_stored(level.uri) for level in ome.levels]
    for array in arrays:
        if len(array.shape) != len(ome.axes):
            raise BadInput(label, expected=f"axes {ome.axes}", found=f"shape {array.shape}")
    shapes = tuple((int(a.shape[-2]), int(a.shape[-1])) for a in arrays)
    remarks = [ome.remark] if ome.remark and not mpp else []
    known = (mpp, mpp) if mpp else ome.levels[0].mpp
    sizes = [
        (known[0] * shapes[0][0] / y, known[1] * shapes[0][1] / x) if known else None
        for y, x in shapes
    ]
    number = 0
    if target_mpp and len(arrays) > 1:
        if known is None:
            remarks.append("the pyramid is read at full resolution, for its pixel size is unknown")
        else:
            number = coarsest_level([size for size in sizes if size], target_mpp)
    array = arrays[number]
    stored = array.dtype
    if stored.name not in PIXEL_DTYPES:
        raise BadInput(label, expected="pixels that are integers or floats", found=f"{stored}")
    if not all(array.shape):
        raise BadInput(label, expected="pixels", found=f"shape {array.shape}")
    lengths = dict(zip(ome.axes, array.shape, strict=True))
    depths = pick_planes(lengths.get("z", 1), z, label)
    time = pick_plane("T", lengths.get("t", 1), t, label)
    count = lengths.get("c", 1)

    def plane_of(channel: int, depth: int) -> Windowed:
        at = {"z": depth, "t": time, "c": channel}
        return array.part(tuple(at.get(axis, slice(None)) for axis in ome.axes))

    stack = tuple(tuple(plane_of(c, depth) for c in range(count)) for depth in depths)
    size: tuple[float, ...] | None = sizes[number]
    if z == "all" and size is not None:
        size = volume_mpp((size[0], size[1]), z_step or ome.levels[number].z_step, remarks)
    named = len(ome.channels) == count
    return WindowedImage(
        label=label,
        shape=(len(stack), *shapes[number]) if z == "all" else shapes[number],
        dtype=np.dtype(PIXEL_DTYPES[stored.name]),
        stored_dtype=stored,
        channels=ome.channels if named else tuple(str(i) for i in range(count)),
        mpp=size,
        mpp_source="unknown" if size is None else "parameter" if mpp else "OME-Zarr",
        level=number,
        level_shapes=shapes,
        remarks=tuple(remarks),
        planes=stack[0],
        stack=stack if z == "all" else (),
        times=lengths.get("t", 1),
    )
