"""Images as napari's layers: from OME-Zarr read as they are looked at, else into memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from cellmill.arrays.ome import read_image
from cellmill.arrays.zarr import open_stored
from cellmill.errors import BadInput
from cellmill.io.images import open_image, read_pixels
from cellmill.io.suffixes import is_zarr
from cellmill.io.uris import local_path
from napari_cellmill.layers import SOURCE, FileChannel, placement

LayerData = tuple[Any, dict[str, Any], str]
"""What napari makes a layer of: data, its properties, and the kind of layer."""
#: An image of a file is read whole; a coarser level of its pyramid where it is larger than this.
MOST_BYTES = 4 << 30
#: Colours of channels, in turn.
_COLOURS = ("gray", "green", "magenta", "cyan", "yellow", "red", "blue")


def image_layers(
    uri: str,
    name: str,
    *,
    z: Any = -1,
    t: int = -1,
    series: int = -1,
    mpp: Sequence[float] | None = None,
) -> Iterator[LayerData]:
    """A layer for each channel of an image.

    Args:
        uri: of the image.
        name: what layers are called.
        z: focal plane, `"all"` for a volume, as for `cellmill.open_image`.
        t: time point.
        series: image of a file with several.
        mpp: pixel size in place of the file's.

    Raises:
        BadInput: it cannot be read, or is larger than `MOST_BYTES` and has no pyramid.
    """
    if is_zarr(uri):
        yield from _of_zarr(uri, name, z, t, series, mpp)
        return
    choice: dict[str, Any] = {"z": z, "t": t, "series": series}
    target = _target(uri, choice)
    with open_image(uri, target_mpp=target, **choice) as image:
        own = image.mpp if target or not mpp else tuple(mpp)
        if image.colour and len(image.shape) == 2:
            pixels = np.empty((*image.shape, 3), image.dtype)
            read_pixels(image, (0, 1, 2), pixels)
            yield pixels, {"name": name, "rgb": True, **placement(own)}, "image"
            return
        pixels = np.empty((*image.shape, len(image.available)), image.dtype)
        read_pixels(image, image.available, pixels)
        names = [image.channels[channel] for channel in image.available]
    for place in range(len(names)):
        shown = _shown(name, names, place)
        yield np.ascontiguousarray(pixels[..., place]), {**shown, **placement(own)}, "image"


def _target(uri: str, choice: dict[str, Any]) -> float:
    """The pixel size at which `open_image` gives a level that fits; 0 if the image does."""
    with open_image(uri, **choice) as image:
        size = math.prod(image.shape) * len(image.available) * image.dtype.itemsize
        if size <= MOST_BYTES:
            return 0.0
        whole = math.prod(image.level_shapes[image.level])
        for shape in image.level_shapes[image.level + 1 :]:
            if image.mpp and size * (math.prod(shape) / whole) <= MOST_BYTES:
                return image.mpp[-1] * image.level_shapes[image.level][1] / shape[1]
        raise BadInput(
            image.label,
            expected=f"at most {MOST_BYTES >> 30} GiB, a pyramid with a pixel size, or an OME-Zarr",
            found=f"{size / (1 << 30):.1f} GiB",
        )


def _of_zarr(
    uri: str, name: str, z: Any, t: int, series: int, mpp: Sequence[float] | None
) -> Iterator[LayerData]:
    """Channels of an OME-Zarr, at all resolutions, of which nothing is read yet."""
    with open_image(uri, z=z, t=t, series=series) as image:
        channels, own = image.channels, tuple(mpp) if mpp else image.mpp
    path = local_path(uri)
    place = str(path.absolute()) if path is not None else uri
    ome = read_image(f"{place.rstrip('/')}/{series}" if series >= 0 else place)
    arrays = [open_stored(level.uri) for level in ome.levels]
    for number in range(len(channels)):
        at = {"c": number, "t": max(t, 0), "z": slice(None) if z == "all" else max(int(z), 0)}
        part = tuple(at.get(axis, slice(None)) for axis in ome.axes)
        levels = [array.part(part) for array in arrays]
        about = _shown(name, channels, number) | placement(own)
        about["metadata"] = {SOURCE: FileChannel(uri, number)}
        # Where contrast is guessed from: the coarsest level, so that the finest is not read.
        coarsest = levels[-1][...]
        about["contrast_limits"] = _limits(coarsest)
        yield (
            levels if len(levels) > 1 else levels[0],
            {
                **about,
                "multiscale": len(levels) > 1,
            },
            "image",
        )


def _limits(pixels: np.ndarray) -> tuple[float, float]:
    low, high = float(pixels.min()), float(pixels.max())
    return low, high if high > low else low + 1


def _shown(name: str, channels: Sequence[str], place: int) -> dict[str, Any]:
    """A channel's name and how it is shown."""
    if len(channels) == 1:
        return {"name": name}
    colour = _COLOURS[1:][place % (len(_COLOURS) - 1)]
    return {"name": f"{name}: {channels[place]}", "blending": "additive", "colormap": colour}
