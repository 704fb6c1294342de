"""Reading a TIFF into npz and Zarr against decoding the same tiles and writing nothing.

`python -m bench.io [--side 8192] [--channels 4] [--wanted 2] [--repeats 3] [--output …]`

The images are mosaics of a real one, tiled, uint16, with a pyramid, of several channels, of which
some are read. Raw decoding is tifffile's own, of the wanted channels' tiles, on all cores, thrown
away. Ours is what the stage tiff_to_npz does after it has checked the file's digest: reading,
decoding and writing. Bytes read are counted at the file, against the stored bytes of the wanted
channels' tiles. The files are in the system's cache, for both alike; how fast this disk takes
plain writes is timed in the same run.
"""

from __future__ import annotations

import argparse
import functools
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from bench.mosaic import Mosaic
from cellmill.arrays import resume
from cellmill.arrays.batch_writer import BatchWriter, Container
from cellmill.compute.threads import thread_count
from cellmill.io.images import open_image_at, read_pixels
from launch import ROOT

COMPRESSIONS = ("none", "zlib", "lzw", "zstd")
CONTAINERS: tuple[Container, ...] = ("npz", "zarr")
_TILE = 512


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        compression: of the TIFF.
        container: what is written.
        megapixels: of the wanted channels.
        raw_seconds: decoding alone, the median.
        seconds: ours, the median.
        raw_cpu_seconds: of the processor, decoding alone; unlike wall seconds, hardly changed by
            what else the machine does.
        cpu_seconds: of the processor, ours.
        bytes_read: at the file, headers and tables included.
        bytes_stored: of the wanted channels' tiles.
        write_mib_per_second: this disk's plain writes of as many bytes as the pixels have.
    """

    compression: str
    container: str
    megapixels: float
    raw_seconds: float
    seconds: float
    raw_cpu_seconds: float
    cpu_seconds: float
    bytes_read: int
    bytes_stored: int
    write_mib_per_second: float

    def __str__(self) -> str:
        return (
            f"{self.compression:5} → {self.container:5} {self.megapixels / self.seconds:7.1f} Mpx/s"
            f" = {100 * self.raw_seconds / self.seconds:5.1f} % of raw decoding's "
            f"{self.megapixels / self.raw_seconds:7.1f}; processor "
            f"{1e3 * self.cpu_seconds / self.megapixels:.1f} ms/Mpx against "
            f"{1e3 * self.raw_cpu_seconds / self.megapixels:.1f}; bytes read "
            f"{self.bytes_read / self.bytes_stored:.3f} × their size; "
            f"disk {self.write_mib_per_second:.0f} MiB/s"
        )


class Counted(io.FileIO):
    """A file that counts what is read from it."""

    count = 0

    def read(self, size: int | None = -1, /) -> Any:
        """Read, and count."""
        data = super().read(-1 if size is None else size)
        self.count += len(data or b"")
        return data

    def readinto(self, buffer: Any, /) -> Any:
        """Read into a buffer, and count."""
        got = super().readinto(buffer)
        self.count += got or 0
        return got


def write_image(path: Path, side: int, channels: int, compression: str) -> None:
    """Write a mosaic as a tiled, pyramidal OME-TIFF."""
    pixels = np.stack([Mosaic((side, side), 0, c)[:, :] for c in range(channels)])
    options: dict[str, Any] = {"tile": (_TILE, _TILE), "photometric": "minisblack"}
    if compression != "none":
        options |= {"compression": compression, "maxworkers": thread_count()}
    with tifffile.TiffWriter(path, ome=True, bigtiff=True) as tif:
        tif.write(pixels, metadata={"axes": "CYX"}, subifds=1, **options)
        tif.write(np.ascontiguousarray(pixels[:, ::2, ::2]), subfiletype=1, **options)


def decode(path: Path, wanted: int) -> int:
    """Decode the wanted channels' tiles on all cores; return their stored bytes."""
    with tifffile.TiffFile(path) as tif, ThreadPoolExecutor(thread_count()) as threads:
        stored = 0
        for page in tif.series[0].levels[0].pages[:wanted]:
            frame = page.aspage()
            stored += sum(frame.databytecounts)
            segments = frame.parent.filehandle.read_segments(
                frame.dataoffsets, frame.databytecounts
            )
            for _ in threads.map(lambda each, f=frame: f.decode(*each) and None, segments):
                pass
        return stored


def convert(path: Path, wanted: int, container: Container, folder: Path) -> int:
    """Read the wanted channels into a batch, as the stage does; return the bytes read."""
    # As for a stage, the work has a name: arrays in stores are not read again for their checksums.
    with (
        resume.work(path=str(path)),
        Counted(path) as file,
        open_image_at(str(path), file) as image,
    ):
        layout = {"image": ((*image.shape, wanted), image.dtype, "YXC")}
        with (
            BatchWriter(folder) as out,
            out.create("image", layout, container=container) as arrays,
        ):
            read_pixels(image, range(wanted), arrays["image"])
        return file.count


def plain_write(folder: Path, nbytes: int) -> float:
    """MiB a second of writing zeros to the disk, synced."""
    block = bytes(1 << 24)
    start = time.perf_counter()
    with (folder / "plain").open("wb", buffering=0) as file:
        for _ in range(max(1, nbytes >> 24)):
            file.write(block)
        os.fsync(file.fileno())
    taken = time.perf_counter() - start
    (folder / "plain").unlink()
    return max(1, nbytes >> 24) * 16 / taken


def median(work: Callable[[], int], repeats: int) -> tuple[float, float, int]:
    """The medians of several calls' wall and CPU seconds after a first one; what the last gave."""
    result, walls, cpus = work(), [], []
    for _ in range(repeats):
        start, cpu = time.perf_counter(), time.process_time()
        result = work()
        walls.append(time.perf_counter() - start)
        cpus.append(time.process_time() - cpu)
    return statistics.median(walls), statistics.median(cpus), result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print the table, write `io.json`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--side", type=int, default=8192)
    parser.add_argument("--channels", type=int, default=4)
    parser.add_argument("--wanted", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "bench")
    given = parser.parse_args(arguments)
    given.output.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=given.output) as name:
        folder = Path(name)
        pixels = given.side**2 * given.wanted
        written = plain_write(folder, 2 * pixels)
        path = folder / "image.ome.tif"
        for compression in COMPRESSIONS:
            write_image(path, given.side, given.channels, compression)
            decoding = functools.partial(decode, path, given.wanted)
            raw, raw_cpu, stored = median(decoding, given.repeats)
            for container in CONTAINERS:
                made = folder / f"batch-{container}"
                work = functools.partial(convert, path, given.wanted, container, made)
                taken, cpu, read = median(work, given.repeats)
                row = Row(
                    compression=compression,
                    container=container,
                    megapixels=pixels / 1e6,
                    raw_seconds=raw,
                    seconds=taken,
                    raw_cpu_seconds=raw_cpu,
                    cpu_seconds=cpu,
                    bytes_read=read,
                    bytes_stored=stored,
                    write_mib_per_second=written,
                )
                print(row, flush=True)
                rows.append(row)
    machine = {"threads": thread_count(), "load_average": os.getloadavg()[0]}
    table = [asdict(row) for row in rows]
    (given.output / "io.json").write_text(
        json.dumps({"machine": machine, "rows": table}, indent=2) + "\n"
    )
    print(f"written to {given.output / 'io.json'}; load average {machine['load_average']:.1f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
