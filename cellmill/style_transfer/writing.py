"""Volumes that are made: Neuroglancer precomputed, or OME-Zarr 0.5 where the name ends in `.zarr`.

A chunk divides a block, so that tasks that write other blocks write other files.
"""

from __future__ import annotations

from typing import Any

import tensorstore as ts

from cellmill.arrays.groups import write_group
from cellmill.arrays.ome import VERSION
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
    place = uri.removeprefix("precomputed://").removeprefix("zarr3://").rstrip("/")
    if place.startswith(("http://", "https://", "dvid://")):
        expected = "a path, file://, gs:// or s3://"
        raise BadInput(f"volume '{uri}'", expected=expected, found="a web server")
    is_zarr = place.endswith(".zarr") or uri.startswith("zarr3://")
    chunk = chunk_side(block)
    spec = _zarr(place, like, chunk) if is_zarr else _precomputed(place, like, chunk)
    try:
        array = ts.open(
            {**spec, "create": True, "open": True}, context=context(), read=True, write=True
        ).result()
    except ValueError as error:
        raise refused(uri, error) from error
    if is_zarr:
        write_group(place, _ome(place, like))
    else:
        array = array[..., 0].transpose([2, 1, 0])
    return StoredVolume(array.translate_to[0, 0, 0], uri)


def chunk_side(block: int) -> int:
    """The largest side of a chunk that divides a block."""
    return max(side for side in range(1, _CHUNK + 1) if block % side == 0)


def marks_of(uri: str) -> str:
    """Where the marks of blocks that are done lie, within the volume's own folder."""
    place = uri.removeprefix("precomputed://").removeprefix("zarr3://").rstrip("/")
    return f"{place}/.cellmill-blocks"


def _precomputed(place: str, like: Volume, chunk: int) -> dict[str, Any]:
    return {
        "driver": "neuroglancer_precomputed",
        "kvstore": location(place),
        "multiscale_metadata": {"data_type": "uint8", "num_channels": 1, "type": "image"},
        "scale_metadata": {
            "size": list(like.shape[::-1]),
            "encoding": "raw",
            "chunk_size": [chunk] * 3,
            # Precomputed has no word for an unknown size.
            "resolution": list((like.voxel_nm or (1.0, 1.0, 1.0))[::-1]),
            "voxel_offset": list(like.origin[::-1]),
        },
    }


def _zarr(place: str, like: Volume, chunk: int) -> dict[str, Any]:
    codecs = [
        {"name": "bytes", "configuration": {"endian": "little"}},
        {"name": "zstd", "configuration": {"level": 1}},
        {"name": "crc32c"},
    ]
    return {
        "driver": "zarr3",
        "kvstore": location(f"{place}/0"),
        "metadata": {
            "shape": list(like.shape),
            "data_type": "uint8",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [chunk] * 3}},
            "codecs": codecs,
            "dimension_names": ["z", "y", "x"],
        },
    }


def _ome(place: str, like: Volume) -> dict[str, Any]:
    """OME-Zarr's description: sizes of voxels, and where the first lies."""
    sizes = like.voxel_nm or (1.0, 1.0, 1.0)
    unit = {"unit": "nanometer"} if like.voxel_nm else {}
    moves: list[dict[str, Any]] = [{"type": "scale", "scale": list(sizes)}]
    if any(like.origin):
        shift = [o * size for o, size in zip(like.origin, sizes, strict=True)]
        moves.append({"type": "translation", "translation": shift})
    image = {
        "name": place.rsplit("/", 1)[-1].removesuffix(".zarr"),
        "axes": [{"name": axis, "type": "space", **unit} for axis in "zyx"],
        "datasets": [{"path": "0", "coordinateTransformations": moves}],
    }
    return {"ome": {"version": VERSION, "multiscales": [image]}}
