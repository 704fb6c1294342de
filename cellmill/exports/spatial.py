"""An image with all that was found in it as SpatialData: image, labels, shapes, table.

One store of Zarr v3 with a coordinate system `global` in µm, or in pixels where their size is
unknown, whose origin is the corner of the first pixel. Source: SpatialData's format 0.2, its
raster and shape formats 0.3 and table format 0.2 (spatialdata.scverse.org).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cellmill.arrays.groups import write_group
from cellmill.arrays.label_pyramid import write_levels
from cellmill.arrays.ome import STORED_AXES
from cellmill.arrays.windows import Windowed
from cellmill.exports.annotated import INSTANCE, annotated
from cellmill.exports.hierarchy import write_zarr
from cellmill.exports.objects import objects_of, outlines_of
from cellmill.exports.tables import TableInParts, whole
from cellmill.exports.wkb import write_geoparquet
from cellmill.version import __version__

_OME = "0.5-dev-spatialdata"
_CONTAINER = {"version": "0.2", "spatialdata_software_version": f"cellmill {__version__}"}
_ELEMENT = {"version": "0.3"}
#: What shapes are called, behind the kind of the objects that they outline.
SHAPES = "_shapes"


def write_spatialdata(
    folder: Path,
    image: Windowed,
    labels: Mapping[str, Windowed],
    table: pa.Table | TableInParts,
    *,
    channels: Sequence[str],
    mpp: tuple[float, ...] | None = None,
    about: Mapping[str, str] | None = None,
    tolerance: float = 0.0,
    memory_mib: int = 1024,
) -> None:
    """Write an image, its label images, outlines and measurements.

    Images and labels are copied shard by shard, outlines go by bands: what is held does not grow
    with the image. A kind without objects has its label image alone.

    Args:
        folder: the store's, which is there and empty.
        image: `(Y, X, C)` or `(Z, Y, X, C)`.
        labels: label images `(Y, X)` or `(Z, Y, X)` by kind of object.
        table: their measurements, as `cellmill.measurement` makes them.
        channels: C names, the suffixes of the table's columns.
        mpp: pixel size (y, x), or (z, y, x), in microns, None where unknown.
        about: texts to be kept with the table.
        tolerance: how far, in pixels, an outline may be from the pixels' edges; 0 is exact.
        memory_mib: to work in.
    """
    root = str(folder)
    write_group(root, {"spatialdata_attrs": _CONTAINER})
    for what in ("images", "shapes", "tables"):
        write_group(f"{root}/{what}", {})
    write_group(f"{root}/labels", {"ome": {"labels": [*labels]}})
    # SpatialData knows no shapes, and no table of a region, without any.
    present = [kind for kind in labels if len(objects_of(table, kind))]
    volume = "Z" if len(image.shape) == 4 else ""
    place, axes = f"{root}/images/image", f"{volume}YXC"
    factors = write_levels(place, image, axes, dtype=image.dtype.name, memory_mib=memory_mib)
    named = {"omero": {"channels": [{"label": name} for name in channels]}}
    write_group(place, _raster("image", axes, factors, mpp, named))
    for kind, array in labels.items():
        place, axes = f"{root}/labels/{kind}", f"{volume}YX"
        dtype = np.dtype(array.dtype).name
        factors = write_levels(place, array, axes, dtype=dtype, memory_mib=memory_mib)
        write_group(place, _raster(kind, axes, factors, mpp, {"image-label": {"version": "0.5"}}))
        if kind in present and not volume:
            _write_shapes(folder / "shapes" / f"{kind}{SHAPES}", kind, array, table, mpp, tolerance)
    if present:
        tree = annotated(whole(table), channels, mpp=mpp, about=about, kinds=present)
        write_zarr(folder / "tables" / "table", tree)


def _write_shapes(
    folder: Path,
    kind: str,
    array: Windowed,
    table: pa.Table | TableInParts,
    mpp: tuple[float, ...] | None,
    tolerance: float,
) -> None:
    objects = objects_of(table, kind)
    attributes = {
        "encoding-type": "ngff:shapes",
        "axes": ["x", "y"],
        "coordinateTransformations": [_to_global("xy", mpp)],
        "spatialdata_attrs": _ELEMENT,
    }
    write_group(str(folder), attributes)
    rows = np.arange(len(objects.labels))
    outlines = outlines_of(array, objects, rows, tolerance)
    write_geoparquet(folder / "shapes.parquet", objects.labels, outlines, INSTANCE)


def _raster(
    name: str,
    axes: str,
    factors: Sequence[int],
    mpp: tuple[float, ...] | None,
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """What a group says of an image: its levels in its own pixels, and these in the world."""
    stored = STORED_AXES[axes].lower()
    levels = [
        {
            "path": f"{number}",
            "coordinateTransformations": [
                {"type": "scale", "scale": [factor if a in "yx" else 1.0 for a in stored]}
            ],
        }
        for number, factor in enumerate(factors)
    ]
    scales = {
        "name": name,
        "axes": [{"name": a, "type": "channel" if a == "c" else "space"} for a in stored],
        "datasets": levels,
        "coordinateTransformations": [_to_global(stored, mpp)],
    }
    ome = {"version": _OME, "multiscales": [scales], **more}
    return {"ome": ome, "spatialdata_attrs": _ELEMENT}


def _to_global(axes: str, mpp: tuple[float, ...] | None) -> dict[str, Any]:
    """The step from pixels to the coordinate system `global`."""
    sizes = dict(zip("zyx"[-len(mpp) :], mpp, strict=True)) if mpp else {}

    def described(unit: str) -> list[dict[str, str]]:
        return [
            {"name": a, "type": "channel"}
            if a == "c"
            else {"name": a, "type": "space", "unit": unit}
            for a in axes
        ]

    step: dict[str, Any] = {"type": "identity"}
    if mpp:
        step = {"type": "scale", "scale": [sizes.get(a, 1.0) for a in axes]}
    return {
        **step,
        "input": {"name": axes, "axes": described("pixel")},
        "output": {"name": "global", "axes": described("micrometer" if mpp else "pixel")},
    }
