"""How fast random crops of a volume come, and how many bytes are read for each that is used.

`python -m bench.volumes [--side 384] [--chunk 64] [--crops 96] [--crop 128] [--cache-mib 256]`

A synthetic volume is written as Neuroglancer precomputed in raw chunks, unsharded and sharded, and
served on the loopback by `bench.volume_server`, which counts what it sends; DVID's calls are
answered from memory. Crops are drawn by `cellmill.style_transfer.sampling`, as training draws them,
from an empty cache. Processor time is this process's, the server's threads included.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts

from bench.volume_server import VolumeServer, serving
from cellmill.style_transfer.sampling import Source, sample_volumes
from cellmill.style_transfer.volumes import open_volume

_SHARDING = {
    "@type": "neuroglancer_uint64_sharded_v1",
    "hash": "identity",
    "preshift_bits": 3,
    "minishard_bits": 3,
    "shard_bits": 3,
}


def write_precomputed(folder: Path, values: np.ndarray, chunk: int, sharded: bool) -> None:
    """Write a volume `(Z, Y, X)` as Neuroglancer precomputed."""
    scale: dict[str, Any] = {
        "size": list(values.shape[::-1]),
        "encoding": "raw",
        "chunk_size": [chunk] * 3,
        "resolution": [8, 8, 8],
    }
    if sharded:
        scale["sharding"] = _SHARDING
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": f"{folder}/"},
        "multiscale_metadata": {"data_type": "uint8", "num_channels": 1, "type": "image"},
        "scale_metadata": scale,
    }
    array = ts.open(spec, create=True).result()
    array[..., 0].transpose([2, 1, 0]).write(values).result()


def measure(server: VolumeServer, uri: str, given: argparse.Namespace) -> dict[str, Any]:
    """Draw all crops of one volume and say what it took."""
    volume = open_volume(uri, cache_mib=given.cache_mib)
    sent, asked = server.bytes_sent, server.requests
    wall, cpu = time.perf_counter(), time.process_time()
    used = 0
    for crop in sample_volumes([Source(volume)], (given.crop,) * 3, count=given.crops):
        used += crop.values.nbytes
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "crops_per_second": given.crops / wall,
        "mb_per_second": used / wall / 1e6,
        "megavoxels_per_cpu_second": used / cpu / 1e6,
        "bytes_read_per_byte_used": (server.bytes_sent - sent) / used,
        "requests": server.requests - asked,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one row a form."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--side", type=int, default=384, help="of the volume, voxels")
    parser.add_argument("--chunk", type=int, default=64, help="side of a stored chunk")
    parser.add_argument("--crops", type=int, default=96)
    parser.add_argument("--crop", type=int, default=128, help="side of a crop")
    parser.add_argument("--cache-mib", type=int, default=256)
    parser.add_argument("--output", type=Path, default=Path("outputs/bench/volumes.json"))
    given = parser.parse_args(arguments)
    values = np.random.default_rng(0).integers(0, 256, (given.side,) * 3, np.uint8)
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_precomputed(folder / "chunks", values, given.chunk, sharded=False)
        write_precomputed(folder / "shards", values, given.chunk, sharded=True)
        with serving(VolumeServer(folder, {"grey": (values, (0, 0, 0))})) as server:
            for kind in ("chunks", "shards"):
                found[f"precomputed, {kind}"] = measure(server, f"{server.address}/{kind}", given)
            found["DVID"] = measure(server, server.dvid("grey"), given)
    for kind, row in found.items():
        print(f"{kind}: " + ", ".join(f"{key} {value:.3g}" for key, value in row.items()))
    given.output.parent.mkdir(parents=True, exist_ok=True)
    settings = {key: getattr(given, key) for key in ("side", "chunk", "crops", "crop", "cache_mib")}
    given.output.write_text(json.dumps({"settings": settings, "rows": found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
