"""From napari's layers to what cellmill takes, and back: pixels, pixel size, features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image, Labels

from cellmill.arrays.windows import Windowed
from cellmill.errors import BadInput

#: A layer's metadata of the file that it shows: where it is, and which channel.
SOURCE = "cellmill_source"


@dataclass(frozen=True)
class FileChannel:
    """One channel of an image's file, which a layer shows window by window."""

    uri: str
    channel: int


def pixel_size(layer: Any) -> tuple[float, ...] | None:
    """Microns along each axis of a layer; None where its units are no lengths."""
    sizes = []
    for scale, unit in zip(layer.scale, layer.units, strict=True):
        if not unit.is_compatible_with("micrometer"):
            return None
        sizes.append(float((float(scale) * unit).to("micrometer").magnitude))
    return tuple(sizes)


def placement(mpp: Sequence[float] | None) -> dict[str, Any]:
    """A layer's scale and units: microns where the pixel size is known, else pixels."""
    return {"scale": tuple(mpp), "units": ("um",) * len(mpp)} if mpp else {}


def placed_as(layer: Any, ndim: int) -> dict[str, Any]:
    """The last axes of a layer's placement, for another layer over it."""
    return {
        "scale": layer.scale[-ndim:],
        "translate": layer.translate[-ndim:],
        "units": layer.units[-ndim:],
    }


def finest(layer: Any) -> Any:
    """A layer's data at full resolution, in memory or read window by window."""
    return layer.data[0] if layer.multiscale else layer.data


@dataclass(frozen=True)
class Stacked:
    """Arrays `(Y, X)` or `(Z, Y, X)` as channels of one that is read by windows."""

    channels: tuple[Any, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """With channels behind."""
        return (*self.channels[0].shape, len(self.channels))

    @property
    def dtype(self) -> np.dtype:
        """Of all channels."""
        return np.result_type(*(np.dtype(each.dtype) for each in self.channels))

    def __getitem__(self, window: Any, /) -> np.ndarray:
        """Read a window."""
        parts = window if isinstance(window, tuple) else (window,)
        if Ellipsis in parts:
            at = parts.index(Ellipsis)
            open_axes = (slice(None),) * (len(self.shape) - len(parts) + 1)
            parts = (*parts[:at], *open_axes, *parts[at + 1 :])
        inner, last = parts[: len(self.shape) - 1], parts[len(self.shape) - 1 :]
        chosen = self.channels
        if last and not isinstance(last[0], slice):
            return np.asarray(chosen[last[0]][inner], self.dtype)
        if last:
            chosen = chosen[last[0]]
        return np.stack([np.asarray(each[inner], self.dtype) for each in chosen], axis=-1)


def channels_of(layers: Sequence[Image], *, plane: Sequence[int] | None = None) -> list[Any]:
    """The channels of image layers: one each, or those of an RGB layer.

    Args:
        layers: of one shape.
        plane: of layers with more axes than Y and X, where the plane lies along them; None for all.

    Raises:
        BadInput: there is none, or their shapes differ.
    """
    if not layers:
        raise BadInput("image", expected="an image layer", found="none")
    found: list[Any] = []
    for layer in layers:
        data = finest(layer)
        at = tuple(plane[: layer.ndim - 2]) if plane is not None else ()
        if layer.rgb:
            pixels = np.asarray(data[at] if at else data)
            found += [pixels[..., channel] for channel in range(min(pixels.shape[-1], 3))]
        else:
            found.append(np.asarray(data[at]) if at else data)
    shapes = {tuple(each.shape) for each in found}
    if len(shapes) > 1:
        shown = ", ".join(map(str, sorted(shapes)))
        raise BadInput("channels", expected="layers of one shape", found=shown)
    return found


def source_of(layers: Sequence[Any]) -> tuple[str, list[int]] | None:
    """The file, and channels of it, that layers show window by window; None if they do not."""
    found = [layer.metadata.get(SOURCE) for layer in layers]
    if not found or not all(isinstance(each, FileChannel) for each in found):
        return None
    uris = {each.uri for each in found}
    return (uris.pop(), [each.channel for each in found]) if len(uris) == 1 else None


def features_by_kind(table: Any) -> dict[str, Any]:
    """Measurements of each kind of object as features of its labels layer.

    Args:
        table: as `cellmill.measure_labels` and a run give it.

    Returns:
        A data frame by kind; its column `index` is the label.
    """
    frame = table.to_pandas()
    frame = frame.dropna(axis="columns", how="all")
    return {
        str(kind): rows.drop(columns="compartment").rename(columns={"label": "index"})
        for kind, rows in frame.groupby("compartment")
    }


def label_levels(folder: Path, name: str) -> list[Windowed]:
    """The resolutions of a label image of an OME-Zarr, full first, read window by window."""
    from cellmill.arrays.ome import read_image
    from cellmill.arrays.zarr import open_stored

    described = read_image(f"{folder}/labels/{name}")
    return [open_stored(level.uri) for level in described.levels]


def is_in_memory(layers: Sequence[Any]) -> bool:
    """Whether layers hold their pixels."""
    return all(isinstance(finest(layer), np.ndarray) for layer in layers)


def add_labels(viewer: Any, name: str, data: Any, like: Any, features: Any = None) -> Labels:
    """Add labels over a layer, or replace those of that name.

    Args:
        viewer: where to.
        name: of the layer.
        data: labels, or a list of them at several resolutions.
        like: the layer over which they lie.
        features: of the objects, see `features_by_kind`.
    """
    levels: Mapping[str, Any] = {"multiscale": True} if isinstance(data, list) else {}
    shape = (data[0] if isinstance(data, list) else data).shape
    if name in viewer.layers:
        viewer.layers.remove(name)
    layer = viewer.add_labels(
        data, name=name, features=features, **levels, **placed_as(like, len(shape))
    )
    layer.contour = 1 if len(shape) == 2 else 0
    return layer
