"""Volumes written in every form that is read."""

import numpy as np
import tensorstore as ts
import tifffile


def precomputed(path, values, *, offset=(0, 0, 0), sharded=False, chunk=16):
    scale = {
        "size": list(values.shape[::-1]),
        "encoding": "raw",
        "chunk_size": [chunk] * 3,
        "resolution": [4, 5, 30],
        "voxel_offset": list(offset[::-1]),
    }
    if sharded:
        scale["sharding"] = {
            "@type": "neuroglancer_uint64_sharded_v1",
            "hash": "identity",
            "preshift_bits": 2,
            "minishard_bits": 2,
            "shard_bits": 3,
        }
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": f"{path}/"},
        "multiscale_metadata": {"data_type": "uint8", "num_channels": 1, "type": "image"},
        "scale_metadata": scale,
    }
    array = ts.open(spec, create=True).result()
    array[..., 0].transpose([2, 1, 0]).translate_to[0, 0, 0].write(values).result()
    return str(path)


def zarr(path, values, driver):
    chunk = [min(16, n) for n in values.shape]
    grid = {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}}}
    metadata = {"zarr3": {**grid, "data_type": "uint8"}, "zarr": {"chunks": chunk}}[driver]
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{path}/"}}
    metadata |= {"shape": list(values.shape)} | ({"dtype": "|u1"} if driver == "zarr" else {})
    ts.open({**spec, "metadata": metadata}, create=True).result().write(values).result()
    return str(path)


def n5(path, values):
    metadata = {
        "dataType": "uint8",
        "dimensions": list(values.shape[::-1]),
        "blockSize": [16, 16, 16],
        "compression": {"type": "gzip"},
    }
    spec = {"driver": "n5", "kvstore": {"driver": "file", "path": f"{path}/"}}
    array = ts.open({**spec, "metadata": metadata}, create=True).result()
    array.transpose([2, 1, 0]).write(values).result()
    return str(path)


def stack(path, values):
    tifffile.imwrite(path, values, compression="zlib", photometric="minisblack")
    return str(path)


def sections(path, values):
    path.mkdir()
    for z, plane in enumerate(values):
        tifffile.imwrite(path / f"section {z}.tif", plane)
    return str(path)


def some_values(shape=(33, 45, 52), seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
