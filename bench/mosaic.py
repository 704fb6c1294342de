"""Mosaics of a real image with its truth, of any size, written window by window.

`python -m bench.mosaic --shape 27120x26139 --output build/mosaic [--channels 2] [--empty 0.1]`

Blocks of stardist's sample (512 × 512, uint16, 125 nuclei), turned and mirrored, side by side:
no real slide, but real nuclei at any number, and a truth that is known. Further channels are the
same blocks turned otherwise. Writes `mosaic.ome.tif` (tiled, pyramidal, BigTIFF where needed) and
`mosaic_truth.tif`.
"""

from __future__ import annotations

import argparse
import functools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from cellmill.arrays.windows import Box, Grid
from cellmill.datasets.samples import sample_image

_TILE = 512


@functools.cache
def _sample(kind: int) -> np.ndarray:
    return tifffile.imread(sample_image()[kind])


class Mosaic:
    """Blocks of the sample or of its truth, made when a window is read.

    Args:
        shape: `(Y, X)`.
        kind: 0 is the image, 1 its truth (int32, ids unique over the mosaic).
        channel: which of several channels; truth is that of channel 0.
        empty: part of the blocks, 0 to 1, that are blank.
    """

    def __init__(
        self, shape: tuple[int, int], kind: int = 0, channel: int = 0, empty: float = 0.0
    ) -> None:
        self.shape, self.kind, self.channel, self.empty = shape, kind, channel, empty
        self.dtype = np.dtype(np.int32) if kind else _sample(0).dtype
        self._grid = Grid(shape, _sample(0).shape[0])
        self._ids = int(_sample(1).max())

    def __getitem__(self, window: Any) -> np.ndarray:
        rows, columns = (s.indices(n)[:2] for s, n in zip(window, self.shape, strict=True))
        box = Box(*rows, *columns)
        out = np.zeros(box.shape, self.dtype)
        for tile in self._grid.overlapping(box):
            place = self._grid.box(tile)
            common = place.common(box)
            if common:
                out[common.within(box)] = self._block(tile)[common.within(place)]
        return out

    def turn(self, tile: int) -> int:
        """How a block is turned, 0 to 7; -1 if it is blank."""
        # A linear congruence: the same blocks on every machine, whatever numpy's generators do.
        drawn = (tile * 2654435761 + 12345) % 2**32
        return -1 if drawn / 2**32 < self.empty else ((drawn >> 8) + self.channel) % 8

    def turned(self, turn: int) -> np.ndarray:
        """The sample turned so."""
        block = np.rot90(_sample(self.kind), turn % 4)
        return block[:, ::-1] if turn // 4 else block

    def _block(self, tile: int) -> np.ndarray:
        turn = self.turn(tile)
        if turn < 0:
            return np.zeros(_sample(0).shape, self.dtype)
        block = self.turned(turn)
        if not self.kind:
            return block
        return np.where(block, block.astype(np.int32) + tile * self._ids, 0)


def write_mosaic(
    folder: Path, shape: tuple[int, int], channels: int = 1, empty: float = 0.0
) -> tuple[Path, Path]:
    """Write a mosaic as a tiled, pyramidal OME-TIFF of 0.5 µm pixels, and its truth.

    Returns:
        The paths of the image and of the truth.
    """
    folder.mkdir(parents=True, exist_ok=True)
    image, truth = folder / "mosaic.ome.tif", folder / "mosaic_truth.tif"
    planes = [Mosaic(shape, 0, c, empty) for c in range(channels)]
    levels = max(0, math.ceil(math.log2(max(shape) / 1024)))
    nbytes = 2 * channels * math.prod(shape)
    common: dict[str, Any] = {
        "tile": (_TILE, _TILE),
        "photometric": "minisblack",
        "compression": "zlib",
        "predictor": True,
        "maxworkers": 2,
    }
    with tifffile.TiffWriter(image, ome=True, bigtiff=nbytes > 2**31) as tif:
        names = ["nuclei", *(f"channel {c}" for c in range(1, channels))]
        about = {
            "axes": "CYX",
            "Channel": {"Name": names},
            "PhysicalSizeX": 0.5,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": 0.5,
            "PhysicalSizeYUnit": "µm",
        }
        for level in range(levels + 1):
            step = 2**level
            side = (-(-shape[0] // step), -(-shape[1] // step))
            extra = {"metadata": about, "subifds": levels} if level == 0 else {"subfiletype": 1}
            tif.write(
                (t for plane in planes for t in _tiles(plane, step)),
                shape=(channels, *side),
                dtype=np.uint16,
                **common,
                **extra,
            )
    with tifffile.TiffWriter(truth, bigtiff=4 * math.prod(shape) > 2**31) as tif:
        tif.write(_tiles(Mosaic(shape, 1, 0, empty)), shape=shape, dtype=np.int32, **common)
    return image, truth


def _tiles(plane: Mosaic, step: int = 1) -> Iterator[np.ndarray]:
    """Every `step`-th pixel, tile by tile; nearest neighbour is pyramid enough for a benchmark."""
    height, width = plane.shape
    for y in range(0, -(-height // step), _TILE):
        for x in range(0, -(-width // step), _TILE):
            window = plane[
                y * step : min((y + _TILE) * step, height),
                x * step : min((x + _TILE) * step, width),
            ][::step, ::step]
            tile = np.zeros((_TILE, _TILE), plane.dtype)
            tile[: window.shape[0], : window.shape[1]] = window
            yield tile


def main(arguments: Sequence[str] | None = None) -> int:
    """Write one mosaic."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", default="4096x4096", help="YxX in pixels")
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--empty", type=float, default=0.0, help="part of the blocks left blank")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    height, width = (int(side) for side in given.shape.split("x"))
    for path in write_mosaic(given.output, (height, width), given.channels, given.empty):
        print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
