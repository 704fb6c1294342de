"""Reads channels of a TIFF into an array, band by band.

Only the pages of the channels asked for are read, and a page that is stored plainly only in the
part that holds them. While a band is converted and written, the next one is decoded.
"""

from __future__ import annotations

import json
from collections.abc import Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cellmill.arrays.windows import Box, Section, WritableWindowed, is_intact
from cellmill.compute.threads import in_threads
from cellmill.errors import BadInput
from cellmill.io.tiff.bands import decoded_bands
from cellmill.io.tiff.layout import TiffImage
from cellmill.io.tiff.stored import by_plane, check_complete

if TYPE_CHECKING:
    from cellmill.arrays.store import Ledger

#: Rows that a thread converts at a time.
_ROWS = 256
_EXACT = 1 << 24


@dataclass
class Losses:
    """Pixels that are no numbers, and pixels that did not survive a change of dtype."""

    not_finite: int = 0
    not_exact: int = 0

    def add(self, not_finite: int, not_exact: int) -> None:
        """Count more of them."""
        self.not_finite += not_finite
        self.not_exact += not_exact

    def refuse(self, label: str, stored: np.dtype, dtype: np.dtype) -> None:
        """Refuse an image that has any.

        Raises:
            BadInput: it has.
        """
        if self.not_finite:
            raise BadInput(
                label,
                expected="numbers in all pixels",
                found=f"{self.not_finite} pixels that are NaN or infinite",
            )
        if self.not_exact:
            raise BadInput(
                label,
                expected=f"pixels that {dtype} can hold",
                found=f"{self.not_exact} {stored} pixels that it cannot",
            )


def read_channels(
    image: TiffImage,
    channels: Sequence[int],
    out: WritableWindowed,
    *,
    memory_mib: int = 1024,
    ledger: Ledger | None = None,
) -> None:
    """Read channels of an image into an array.

    Args:
        image: the open image.
        channels: indices of its channels.
        out: `(Y, X, len(channels))`, or `(Z, Y, X, len(channels))` of a volume, of `image.dtype` or
            of `image.stored_dtype`; filled.
        memory_mib: what may be taken; a strip that is larger is held all the same.
        ledger: marks of the bands that are in `out` already; those that are still there as they
            were written are not read again.

    Raises:
        BadInput: the file is damaged or cut off; a pixel is NaN or infinite; or an integer or a
            float64 does not fit float32, where that is what it has to become.
    """
    check_complete(image, channels)
    done = ledger.done() if ledger is not None else set()
    for z, section in enumerate(image.sections):
        target = Section(out, z) if image.stack else out
        _read_section(section, channels, target, memory_mib, ledger, done)


def _read_section(
    image: TiffImage,
    channels: Sequence[int],
    out: WritableWindowed,
    memory_mib: int,
    ledger: Ledger | None,
    done: Set[str],
) -> None:
    """Read channels of an image, or of one focal plane of a volume, but for bands that are done."""
    kept: set[str] = set()
    losses = Losses()

    def write(unit: str, box: Box, places: Sequence[int], pixels: np.ndarray) -> None:
        lost = Losses()
        for place, stored in zip(places, pixels, strict=True):
            converted, *counts = converted_pixels(stored, out.dtype)
            window = (*box.slices, place)
            out[window] = converted
            lost.add(*counts)
        losses.add(lost.not_finite, lost.not_exact)
        if ledger is not None:
            ledger.mark(unit, json.dumps([lost.not_finite, lost.not_exact]).encode())

    with ThreadPoolExecutor(1) as writer:
        writing: Future[None] | None = None
        for plane, wanted in by_plane(image, channels).items():
            samples, places = [s for s, _ in wanted], [p for _, p in wanted]

            def is_done(
                box: Box, number: int = plane.number, places: Sequence[int] = places
            ) -> bool:
                unit = _unit(number, box)
                if unit in done and all(is_intact(out, (*box.slices, p)) for p in places):
                    kept.add(unit)
                return unit in kept

            for box, pixels in decoded_bands(image, plane, samples, memory_mib, is_done):
                if writing is not None:
                    writing.result()
                writing = writer.submit(write, _unit(plane.number, box), box, places, pixels)
        if writing is not None:
            writing.result()
    if ledger is not None:
        for unit in kept:
            losses.add(*json.loads(ledger.payload(unit)))
    losses.refuse(image.label, image.stored_dtype, out.dtype)


def _unit(plane: int, box: Box) -> str:
    return f"{plane}-{box.y0}-{box.y1}-{box.x0}-{box.x1}"


def is_grey(image: TiffImage, memory_mib: int = 1024) -> bool:
    """Whether red, green and blue are alike in every pixel of a colour image.

    Args:
        image: an image with `colour`; an alpha channel is not looked at.
        memory_mib: what may be taken.

    Raises:
        BadInput: the file is damaged.
    """
    check_complete(image, range(3))
    return all(_is_grey(section, memory_mib) for section in image.sections)


def _is_grey(image: TiffImage, memory_mib: int) -> bool:
    if len({(p.number, p.stacked) for p in image.planes[:3]}) == 1:
        samples = [p.sample for p in image.planes[:3]]
        bands = decoded_bands(image, image.planes[0], samples, memory_mib)
        return all(bool((pixels == pixels[:1]).all()) for _, pixels in bands)
    planes = (decoded_bands(image, p, [p.sample], memory_mib // 3) for p in image.planes[:3])
    return all(
        np.array_equal(r[1], g[1]) and np.array_equal(r[1], b[1])
        for r, g, b in zip(*planes, strict=True)
    )


def converted_pixels(pixels: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, int, int]:
    """Return pixels `(Y, X)` in another dtype, and how many are no numbers or did not survive it.

    An integer must come through unchanged, and whatever becomes an integer. A float64 is rounded to
    float32, which is finer than any detector; it must only not become infinite.
    """
    if pixels.dtype == dtype and dtype.kind != "f":
        return pixels, 0, 0
    out = pixels if pixels.dtype == dtype else np.empty(pixels.shape, dtype)

    def convert(row: int) -> tuple[int, int]:
        part = pixels[row : row + _ROWS]
        not_finite = 0
        if part.dtype.kind == "f":
            not_finite = part.size - int(np.count_nonzero(np.isfinite(part)))
        if out is pixels:
            return not_finite, 0
        with np.errstate(over="ignore", invalid="ignore"):
            out[row : row + _ROWS] = part
        return not_finite, _lost(part, out[row : row + _ROWS])

    counts = in_threads(convert, range(0, len(pixels), _ROWS))
    return out, sum(n for n, _ in counts), sum(n for _, n in counts)


def _lost(pixels: np.ndarray, converted: np.ndarray) -> int:
    if np.can_cast(pixels.dtype, converted.dtype):
        return 0
    if converted.dtype.kind in "iu":
        return int(np.count_nonzero(converted != pixels))
    if pixels.dtype.kind == "f":
        return int(np.count_nonzero(np.isinf(converted) & np.isfinite(pixels)))
    # Float32 holds every integer up to this, and few above it.
    lost = pixels > _EXACT
    if pixels.dtype.kind == "i":
        lost |= pixels < -_EXACT
    return int(np.count_nonzero(lost))
