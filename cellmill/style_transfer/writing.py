"""Volumes that are made: Neuroglancer precomputed, or OME-Zarr 0.5 where the name ends in `.zarr`.

A chunk divides a block, so that tasks that write other blocks write other files. A volume may have
reduced resolutions, as `arrays.mean_pyramid` makes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorstore as ts

from cellmill.arrays.groups import write_group
from cellmill.arrays.mean_pyramid import Resolution, resolutions
from cellmill.arrays.ome import image_attributes
from cellmill.arrays.store import context, location, refused
from cellmill.errors import BadInput
from cellmill.style_transfer.volumes import StoredVolume, Volume

FILE_NAME = "volume.json"
"""Says where a volume lies that was made, and of what."""

#: Side of a chunk at most, voxels.
_CHUNK = 64


def create_volume(uri: str, like: Volume, block: int) -> StoredVolume:
    """Make a volume of uint8 where another lies and as large; one that is there already is kept.

    Args:
        uri: where; a path, `file://`, `gs://` or `s3://`, with or without `precomputed://`.
        like: whose shape, origin and size of voxels it takes.
        block: side of the blocks that are written, voxels.

    Raises:
        BadInput: something else is there, or the place cannot be written.
    """
    (array,) = create_levels(uri, like, block, levels_like(like, 1))
    return StoredVolume(array.translate_to[0, 0, 0], uri)


def levels_like(like: Volume, levels: int) -> tuple[Resolution, ...]:
    """The resolutions of a volume; 0 `levels` are as many as its size asks for."""
    return resolutions(like.shape, like.origin, _sizes(like), levels)


def create_levels(
    uri: str, like: Volume, block: int, levels: Sequence[Resolution]
) -> list[ts.TensorStore]:
    """Make a volume as `create_volume` does, with reduced resolutions.

    Args:
        uri: where.
        like: whose shape, origin and size of voxels it takes.
        block: side of the blocks of each resolution that are written, voxels.
        levels: the resolutions, the finest first.

    Returns:
        An array `(Z, Y, X)` of each resolution, its first voxel at its origin.

    Raises:
        BadInput: something else is there, or the place cannot be written.
    """
    place = uri.removeprefix("precomputed://").removeprefix("zarr3://").rstrip("/")
    if place.startswith(("http://", "https://", "dvid://")):
        expected = "a path, file://, gs:// or s3://"
        raise BadInput(f"volume '{uri}'", expected=expected, found="a web server")
    is_zarr = place.endswith(".zarr") or uri.startswith("zarr3://")
    chunk = chunk_side(block)
    arrays = []
    try:
        for number, level in enumerate(levels):
            spec = (
                _zarr(f"{place}/{number}", level, chunk)
                if is_zarr
                else _precomputed(place, level, chunk, _sizes(like))
            )
            made = {**spec, "create": True, "open": True}
            array = ts.open(made, context=context(), read=True, write=True).result()
            if is_zarr:
                arrays.append(array.translate_to[level.origin])
            else:
                arrays.append(array[..., 0].transpose([2, 1, 0]))
    except ValueError as error:
        raise refused(uri, error) from error
    if is_zarr:
        about = image_attributes(
            place.rsplit("/", 1)[-1].removesuffix(".zarr"),
            "ZYX",
            [level.factors for level in levels],
            mpp=like.voxel_nm,
            unit="nanometer",
            origins=[level.origin for level in levels],
        )
        write_group(place, about)
    return arrays


def chunk_side(block: int) -> int:
    """The largest side of a chunk that divides a block."""
    return max(side for side in range(1, _CHUNK + 1) if block % side == 0)


def marks_of(uri: str) -> str:
    """Where the marks of blocks that are done lie, within the volume's own folder."""
    place = uri.removeprefix("precomputed://").removeprefix("zarr3://").rstrip("/")
    return f"{place}/.cellmill-blocks"


def _sizes(like: Volume) -> tuple[float, float, float]:
    """Of a voxel (z, y, x); 1 where they are unknown, for which precomputed has no word."""
    return like.voxel_nm or (1.0, 1.0, 1.0)


def _precomputed(
    place: str, level: Resolution, chunk: int, sizes: Sequence[float]
) -> dict[str, Any]:
    lengths = [size * factor for size, factor in zip(sizes, level.factors, strict=True)]
    return {
        "driver": "neuroglancer_precomputed",
        "kvstore": location(place),
        "multiscale_metadata": {"data_type": "uint8", "num_channels": 1, "type": "image"},
        "scale_metadata": {
            "size": list(level.shape[::-1]),
            "encoding": "raw",
            "chunk_size": [chunk] * 3,
            "resolution": lengths[::-1],
            "voxel_offset": list(level.origin[::-1]),
        },
    }


def _zarr(place: str, level: Resolution, chunk: int) -> dict[str, Any]:
    codecs = [
        {"name": "bytes", "configuration": {"endian": "little"}},
        {"name": "zstd", "configuration": {"level": 1}},
        {"name": "crc32c"},
    ]
    return {
        "driver": "zarr3",
        "kvstore": location(place),
        "metadata": {
            "shape": list(level.shape),
            "data_type": "uint8",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [chunk] * 3}},
            "codecs": codecs,
            "dimension_names": ["z", "y", "x"],
        },
    }
