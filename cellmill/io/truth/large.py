"""Copies label images of any size, window by window or plane by plane."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellmill.arrays.windows import Grid, WritableWindowed, is_intact
from cellmill.errors import BadInput
from cellmill.io.images import read_pixels
from cellmill.io.tiff.layout import TiffImage
from cellmill.io.truth.kinds import Facts, Layout, TruthKind
from cellmill.io.truth.labels import fill_labels

if TYPE_CHECKING:
    from cellmill.arrays.store import Ledger
    from cellmill.io.windowed_image import WindowedImage

#: Side of the windows that labels are looked through in, a store's shard.
_WINDOW = 2048


def copy_labels(
    image: TiffImage | WindowedImage,
    facts: Facts,
    layout: Layout,
    out: WritableWindowed,
    *,
    channels: list[int],
    kind: TruthKind = "",
    memory_mib: int = 1024,
    ledger: Ledger | None = None,
) -> tuple[str, tuple[str, ...]]:
    """Copy a label image of any size, window by window.

    Args:
        image: the open image.
        facts: what it says of itself.
        layout: which of its planes are looked at. Colours and masks of yes and no are not taken
            apart here: what is a piece is known only where the whole is.
        out: `(Y, X)` or `(Y, X, 2)` int32; filled.
        channels: of the image, by plane.
        kind: what the user says that it is; empty: what it is taken for.
        memory_mib: what may be taken.
        ledger: marks of what is copied already.

    Returns:
        What it is taken for, in a sentence; and what a user should know.

    Raises:
        BadInput: the file is damaged, its values are none of a label image, or it is too large for
            what it is.
    """
    size = f"{image.shape[0]} × {image.shape[1]}"
    if layout.form == "colours" or kind in ("mask", "colours"):
        found = kind or "colours"
        raise BadInput(
            facts.label, expected=f"a number per object, in an image of {size}", found=found
        )
    planes = out if layout.form == "planes" else _OneChannel(out)
    wanted = [channels[plane] for plane in layout.planes]
    read_pixels(image, wanted, planes, memory_mib=memory_mib, ledger=ledger)
    values = [_Values() for _ in layout.planes]
    grid = Grid((out.shape[0], out.shape[1]), _WINDOW)
    for tile in range(len(grid)):
        pixels = out[grid.box(tile).slices]
        for plane, seen in enumerate(values):
            seen.see(pixels[..., plane] if layout.form == "planes" else pixels)
    for seen in values:
        if seen.low < 0:
            raise BadInput(facts.label, expected="labels from 0", found=f"label {seen.low}")
        if not kind and (facts.dtype.kind == "b" or (seen.high and not seen.others)):
            raise BadInput(
                facts.label,
                expected=f"a number per object, in an image of {size} (truth_kind=labels: each "
                "value is an object)",
                found=f"a mask of yes and no ({seen.low} and {seen.high})",
            )
    highest = max(seen.high for seen in values)
    remarks = list(facts.remarks)
    if facts.dtype.itemsize < 4 and highest == 2 ** (8 * facts.dtype.itemsize) - 1:
        bits = 8 * facts.dtype.itemsize
        remarks.append(f"its labels end at {highest}: more than fit {bits} bits would be lost")
    what = f"planes of labels: {layout.said}" if layout.form == "planes" else "labels"
    return f"{what}, up to {highest}, an object each ({facts.said})", tuple(remarks)


def copy_volume(
    image: TiffImage | WindowedImage,
    facts: Facts,
    layout: Layout,
    out: WritableWindowed,
    *,
    channels: Sequence[int],
    kind: TruthKind = "",
    memory_mib: int = 1024,
) -> tuple[str, str, tuple[str, ...]]:
    """Make the label images of a volume plane by plane, of any depth.

    Args:
        image: the open volume.
        facts: what it says of itself.
        layout: which of its channels are looked at; no colours.
        out: `(Z, Y, X)` or `(Z, Y, X, 2)` int32; filled.
        channels: of the image, by plane of labels.
        kind: what the user says that it is; empty: what it is taken for.
        memory_mib: what reading may take.

    Returns:
        As `fill_labels`: kind, decision and remarks.

    Raises:
        BadInput: the file is damaged, or its values are none of a label image.
    """
    wanted = [channels[plane] for plane in layout.planes]

    def planes() -> Iterator[np.ndarray]:
        for section in image.sections:
            pixels = np.empty((*section.shape, len(wanted)), image.stored_dtype)
            read_pixels(section, wanted, pixels, memory_mib=memory_mib)
            yield pixels

    return fill_labels(facts, layout, planes(), out, kind)


@dataclass
class _Values:
    """What values a label image has: the least, the greatest, and whether there are others."""

    low: int = 0
    high: int = 0
    one: int = 0
    others: bool = False

    def see(self, pixels: np.ndarray) -> None:
        """Take a window into account."""
        self.low = min(self.low, int(pixels.min()))
        self.high = max(self.high, int(pixels.max()))
        if not self.others:
            self.one = self.one or self.high
            self.others = bool(((pixels != 0) & (pixels != self.one)).any())


@dataclass(frozen=True)
class _OneChannel:
    """A `(Y, X)` array shown as `(Y, X, 1)`."""

    plane: WritableWindowed

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.plane.shape, 1)

    @property
    def dtype(self) -> np.dtype:
        return self.plane.dtype

    def __getitem__(self, window: Any, /) -> np.ndarray:
        return self.plane[window[:2]]

    def __setitem__(self, window: Any, values: Any, /) -> None:
        self.plane[window[:2]] = values

    def is_intact(self, window: Any) -> bool:
        return is_intact(self.plane, window[:2])
