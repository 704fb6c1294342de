"""What a normalisation needs to know of a whole image, and the image seen through it.

Percentiles, extremes and the range of CLAHE's result are global: a window of an image cannot be
normalised on its own. `normalisation_of` finds them by reading the image window by window;
`NormalisedImage` then gives any window, with just the pixels that the whole would have.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from typing import Any, get_args

import numpy as np

from cellmill.arrays.indexing import box_of
from cellmill.arrays.windows import Box, Grid, Windowed
from cellmill.compute.threads import in_threads
from cellmill.errors import BadInput
from cellmill.models.card import Preprocessing, PreprocessingMethod
from cellmill.preprocessing.clahe import (
    BINS,
    GREYS,
    Regions,
    Span,
    bins_of,
    greys_of,
    look_up,
    values_of,
)
from cellmill.preprocessing.contrast import percentiles_of, stretched
from cellmill.preprocessing.levels import levels_of
from cellmill.preprocessing.pixels import native_dtype, read_in_threads, window_side

METHODS: tuple[str, ...] = get_args(PreprocessingMethod)
#: The methods that equalise.
CLAHE = ("mesmer", "histogram")
#: So many regions' maps travel with a normalisation; of more, each window finds its own.
_KEPT_REGIONS = 256
#: Maps are found for blocks of regions, about so many pixels and at most so many regions a side.
_BLOCK = 1024
_BLOCK_REGIONS = 64
_LOCKS = 64
_CACHED_BYTES = 32 << 20
#: Held for each value of a window: the pixel, its copies, its bin, its grey value, the result.
_BYTES_PER_VALUE = 24


@dataclass(frozen=True)
class ChannelNormalisation:
    """How one channel's values become 0 to 1.

    Args:
        low: becomes 0.
        high: becomes 1; equal to `low` if the channel becomes zeros.
        limit: mesmer: values above are clipped to it first; `None` clips nothing.
        least: mesmer, histogram: the least grey value that CLAHE gives, 0 to 2¹⁴ - 1.
        most: the greatest.
        maps: the grey value of each bin in each region, `(rows, columns, 256)` little-endian
            uint16; empty if they are too many to keep.
        note: percentile: why `high` is not the card's percentile, for a person; empty if it is.
    """

    low: float = 0.0
    high: float = 0.0
    limit: float | int | None = None
    least: int = 0
    most: int = GREYS - 1
    maps: bytes = b""
    note: str = ""


@dataclass(frozen=True)
class Normalisation:
    """A card's normalisation of one image, complete.

    Args:
        shape: `(Y, X)` of the image at the model's scale.
        parameters: of the card.
        channels: one for each of the image's.
        source_extremes: of all channels before the image was resized; `None` where nothing needs
            them.
    """

    shape: tuple[int, int]
    parameters: Preprocessing
    channels: tuple[ChannelNormalisation, ...]
    source_extremes: tuple[float, float] | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of the contrast, a line for each channel that needs one."""
        several = len(self.channels) > 1
        return tuple(
            f"channel {k}: {each.note}" if several else each.note
            for k, each in enumerate(self.channels)
            if each.note
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; every number comes back exactly."""
        channels = [{**asdict(c), "maps": base64.b64encode(c.maps).decode()} for c in self.channels]
        return {
            "shape": [*self.shape],
            "parameters": asdict(self.parameters),
            "channels": channels,
            "source_extremes": self.source_extremes and [*self.source_extremes],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Normalisation:
        """Read what `to_dict` gave.

        Raises:
            BadInput: it is something else.
        """
        try:
            extremes = values["source_extremes"]
            return cls(
                (values["shape"][0], values["shape"][1]),
                Preprocessing(**values["parameters"]),
                tuple(
                    ChannelNormalisation(**{**c, "maps": base64.b64decode(c["maps"])})
                    for c in values["channels"]
                ),
                (extremes[0], extremes[1]) if extremes else None,
            )
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise BadInput(
                "normalisation",
                expected="what `Normalisation.to_dict` gives",
                found=f"{type(error).__name__}: {error}",
            ) from error


def normalisation_of(
    image: Windowed,
    parameters: Preprocessing,
    *,
    memory: int = 256 << 20,
    what: str = "image",
) -> Normalisation:
    """Find what normalising an image needs to know of all of it, in passes over its windows.

    mesmer, histogram: one pass for the levels (one more for floats and wide integers with a
    percentile, three more at 64 bits), two for CLAHE's maps and the range of its result.

    Args:
        image: `(Y, X, C)`, channels in the model's order, at the model's scale.
        parameters: the card's `preprocessing`.
        memory: bytes that the passes may hold.
        what: the image's name in error messages.

    Raises:
        BadInput: the image is not `(Y, X, C)` or is empty, has a dtype without numbers, or a value
            is NaN or infinite; or the method is none of `METHODS`.
    """
    side = window_side(memory, _BYTES_PER_VALUE * image.shape[-1])
    found = levels_normalisation(image, parameters, side=side, what=what)
    if parameters.method not in CLAHE:
        return found
    view = NormalisedImage(image, found)
    return replace(found, channels=view.equalised_channels(side))


def levels_normalisation(
    image: Windowed, parameters: Preprocessing, *, side: int = 1024, what: str = "image"
) -> Normalisation:
    """The part of `normalisation_of` that comes before CLAHE: limits and extremes."""
    if len(image.shape) != 3 or 0 in image.shape:
        raise BadInput(
            what, expected="at least one pixel, axes (Y, X, C)", found=f"shape {image.shape}"
        )
    if parameters.method not in METHODS:
        raise BadInput(
            "preprocessing.method",
            expected=f"one of {', '.join(METHODS)}",
            found=repr(parameters.method),
        )
    dtype = native_dtype(image.dtype, what)
    channels = []
    if parameters.method == "none":
        if dtype.kind == "f":
            levels_of(image, side=side, what=what)
        channels = [ChannelNormalisation()] * image.shape[2]
    elif parameters.method == "percentile":
        for found in levels_of(image, percentiles_of(parameters), side=side, what=what):
            low, high, note = stretched(found, parameters, dtype)
            channels.append(ChannelNormalisation(low, high, note=note))
    else:
        clip = parameters.clip_percentile if parameters.method == "mesmer" else 0
        levels = levels_of(image, (clip,) if clip else (), nonzero=True, side=side, what=what)
        for found in levels:
            extremes, limit = [found.low, found.high], None
            if found.percentiles:
                highest = np.asarray(found.percentiles[0]).astype(dtype)[()]
                extremes, limit = [min(value, highest) for value in extremes], highest.item()
            low, high = (float(np.float32(value)) for value in extremes)
            channels.append(ChannelNormalisation(low, high, limit))
    return Normalisation((image.shape[0], image.shape[1]), parameters, tuple(channels))


class NormalisedImage:
    """An image seen through its normalisation: `(Y, X, C)` float32, read by windows.

    CLAHE's maps are found where they are needed and kept, at most 32 MiB of them.

    Args:
        image: `(Y, X, C)`, that the normalisation was made of.
        normalisation: what `normalisation_of` gave.

    Raises:
        BadInput: the normalisation is of an image of another shape.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, image: Windowed, normalisation: Normalisation) -> None:
        self.image = image
        self.normalisation = normalisation
        self.shape = tuple(image.shape)
        expected = (*normalisation.shape, len(normalisation.channels))
        if self.shape != expected:
            raise BadInput("image", expected=f"shape {expected}", found=f"{self.shape}")
        self.native = native_dtype(image.dtype)
        parameters = normalisation.parameters
        if parameters.method in CLAHE:
            self.regions = Regions(normalisation.shape, parameters.kernel_size)
            self._kept = [
                np.frombuffer(c.maps, "<u2").reshape(*self.regions.counts, BINS) if c.maps else None
                for c in normalisation.channels
            ]
            self._values = [values_of(c.least, c.most) for c in normalisation.channels]
            per_block = min(max(_BLOCK // max(self.regions.sides), 1), _BLOCK_REGIONS)
            self._blocks = Grid(self.regions.counts, per_block)
            size = self.shape[2] * per_block**2 * BINS * 2
            self._locks = [threading.Lock() for _ in range(_LOCKS)]
            self._known_maps = lru_cache(max(_CACHED_BYTES // size, 16))(self._find_maps)

    def __getitem__(self, window: Any, /) -> np.ndarray:
        """Read a window."""
        box, rest = box_of(window, self.shape)
        # An integer after the two axes picks one channel: only that is computed.
        chosen: Any = slice(None)
        if len(rest) == 3:
            chosen, rest = rest[2], rest[:2]
        channels = np.arange(self.shape[2])[chosen]
        out = np.zeros((*box.shape, np.size(channels)), np.float32)
        if out.size:
            pixels = self._read(box)
            for k, c in enumerate(np.atleast_1d(channels)):
                self._normalise(pixels[..., c], box, int(c), out[..., k])
        return (out if np.ndim(channels) else out[..., 0])[rest]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Read all of it, windows side by side."""
        out = read_in_threads(self, Box(0, self.shape[0], 0, self.shape[1]), _BLOCK)
        return out if dtype is None else out.astype(dtype, copy=False)

    def equalised_channels(self, side: int) -> tuple[ChannelNormalisation, ...]:
        """The channels' normalisation with the range of CLAHE's grey values, found by one pass.

        Args:
            side: of the windows that are read.
        """
        grid = Grid(self.normalisation.shape, side)

        def work(tile: int) -> list[tuple[int, int]]:
            box = grid.box(tile)
            pixels = self._read(box)
            found = []
            for c, channel in enumerate(self.normalisation.channels):
                greys = np.zeros(1, np.uint16)
                if channel.low != channel.high:
                    greys = self._greys(pixels[..., c], box, c)
                found.append((int(greys.min()), int(greys.max())))
            return found

        ranges = np.array(in_threads(work, range(len(grid))))
        least, most = ranges[..., 0].min(axis=0), ranges[..., 1].max(axis=0)
        rows, columns = self.regions.counts
        kept: list[bytes] = [b""] * self.shape[2]
        if rows * columns <= _KEPT_REGIONS:
            every = Box(0, rows, 0, columns)
            kept = [
                b"" if c.low == c.high else self._maps(every, k).astype("<u2").tobytes()
                for k, c in enumerate(self.normalisation.channels)
            ]
        return tuple(
            replace(channel, least=int(least[c]), most=int(most[c]), maps=kept[c])
            for c, channel in enumerate(self.normalisation.channels)
        )

    def _normalise(self, pixels: np.ndarray, box: Box, c: int, out: np.ndarray) -> None:
        channel, method = self.normalisation.channels[c], self.normalisation.parameters.method
        if method == "none":
            out[...] = pixels
        elif channel.low == channel.high:
            out[...] = 0
        elif method == "percentile":
            rescale(pixels, channel.low, channel.high, out)
        else:
            look_up(self._values[c], self._greys(pixels, box, c), out)

    def _greys(self, pixels: np.ndarray, box: Box, c: int) -> np.ndarray:
        around = self.regions.around(box)
        kept = self._kept[c]
        bins = bins_of(pixels, self._span(c))
        if kept is not None:
            return greys_of(bins, box, self.regions, kept, (0, 0))
        first = (around.y0, around.x0)
        return greys_of(bins, box, self.regions, self._maps(around, c), first)

    def _span(self, c: int) -> Span:
        channel = self.normalisation.channels[c]
        return Span(channel.low, channel.high, channel.limit)

    def _maps(self, regions: Box, c: int) -> np.ndarray:
        """The maps of some regions in one channel, `(rows, columns, 256)` uint16."""
        maps = np.empty((*regions.shape, BINS), np.uint16)
        for tile in self._blocks.overlapping(regions):
            block = self._blocks.box(tile)
            common = block.common(regions)
            if common is not None:
                maps[common.within(regions)] = self._block_maps(tile)[c][common.within(block)]
        return maps

    def _block_maps(self, tile: int) -> np.ndarray:
        # Of two threads that need a block, the second waits rather than to count it again.
        with self._locks[tile % _LOCKS]:
            return self._known_maps(tile)

    def _find_maps(self, tile: int) -> np.ndarray:
        """The maps of a block of regions, `(C, rows, columns, 256)` uint16; blank channels' too."""
        block = self._blocks.box(tile)
        maps = np.zeros((self.shape[2], *block.shape, BINS), np.uint16)
        reach = self.regions.pixels(block)
        # A block is read once for all channels, unless one region alone is larger than a block.
        held = self._read(reach) if max(reach.shape) <= 2 * _BLOCK else None
        for c, channel in enumerate(self.normalisation.channels):
            if channel.low == channel.high:
                continue
            if held is None:
                maps[c] = self.regions.maps(partial(self._bins, c=c), block)
            else:
                bins = bins_of(held[..., c], self._span(c))
                maps[c] = self.regions.maps(partial(_part, bins, reach), block)
        return maps

    def _read(self, box: Box) -> np.ndarray:
        return self.image[box.slices].astype(self.native, copy=False)

    def _bins(self, box: Box, c: int) -> np.ndarray:
        return bins_of(self._read(box)[..., c], self._span(c))


def _part(pixels: np.ndarray, shown: Box, box: Box) -> np.ndarray:
    return pixels[box.within(shown)]


def rescale(pixels: np.ndarray, low: float, high: float, out: np.ndarray) -> None:
    """Map `low` and `high` to 0 and 1, differences in float64, quotients in float32."""
    np.subtract(pixels, low, out=out, dtype=np.float64, casting="same_kind")
    out /= np.float32(high - low)
