"""Choosing channels of an image, in the order in which a network is given them."""

from __future__ import annotations

import itertools
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from cellmill.arrays.batch import Entry
from cellmill.arrays.indexing import box_of
from cellmill.arrays.windows import Windowed
from cellmill.errors import BadInput

#: The index of a channel that is not in the image and is filled with zeros.
BLANK = -1


def distinct_names(names: Sequence[str]) -> list[str]:
    """Return the names of an image's channels, told apart where several are alike.

    A name that one channel has stays as it is. Of a name that several have, each gets its index:
    in brackets where a number alone would give the name of another channel. A name is the same
    whichever of the other channels are asked for with it, as long as all are given here.

    Args:
        names: of all channels of an image, in order; empty for a channel without a name.

    Example:
        >>> distinct_names(["DAPI", "CD3", "", "CD3"])
        ['DAPI', 'CD3 1', 'channel_2', 'CD3 3']
        >>> distinct_names(["DAPI", "DAPI", "DAPI 1"])
        ['DAPI [0]', 'DAPI [1]', 'DAPI 1']
    """
    given = [name.strip() or f"channel_{index}" for index, name in enumerate(names)]
    places: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(given):
        places[_compared(name)].append(index)
    found = list(given)
    taken = set(places)
    for alike in places.values():
        if len(alike) == 1:
            continue
        for mark in _marks():
            marked = [f"{given[index]} {mark.format(index)}" for index in alike]
            if not taken & {_compared(name) for name in marked}:
                break
        taken |= {_compared(name) for name in marked}
        for index, name in zip(alike, marked, strict=True):
            found[index] = name
    return found


def _marks() -> Iterator[str]:
    yield "{}"
    for depth in itertools.count(1):
        yield "[" * depth + "{}" + "]" * depth


def _compared(name: str) -> str:
    """A name as it is compared: one that is written in two ways looks the same to a reader."""
    return unicodedata.normalize("NFC", name)


class SelectedChannels:
    """Some channels of an image, of which any window can be read.

    Args:
        image: `(Y, X, C)`.
        channels: an index for each channel shown, `BLANK` for one of zeros.
        what: the image's name in error messages.

    Raises:
        BadInput: the image has other axes, an index is none of its channels, or all are blank.
    """

    def __init__(self, image: Windowed, channels: Sequence[int], what: str = "image") -> None:
        _check_axes(image, what)
        count = image.shape[2]
        if all(index == BLANK for index in channels) or not all(
            BLANK <= index < count for index in channels
        ):
            raise BadInput(
                f"channels of {what}",
                expected=f"indices from 0 to {count - 1}, {BLANK} for a blank one, not all blank",
                found=f"{[*channels]}",
            )
        self.image = image
        self.channels = tuple(channels)
        self.shape = (*image.shape[:2], len(self.channels))
        self.dtype = image.dtype

    def __getitem__(self, window: Any, /) -> np.ndarray:
        """Read a window."""
        box, rest = box_of(window, self.shape)
        if self.channels == tuple(range(self.image.shape[2])):
            return np.asarray(self.image[box.slices])[rest]
        pixels = np.zeros((*box.shape, len(self.channels)), self.dtype)
        y, x = box.slices
        for target, index in enumerate(self.channels):
            if index != BLANK:
                pixels[..., target] = self.image[y, x, index]
        return pixels[rest]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Read all of it."""
        pixels = self[:, :]
        return pixels if dtype is None else pixels.astype(dtype, copy=False)


def filled_channels(channels: Sequence[int], wanted: int, fewest: int) -> list[int]:
    """The channels chosen, with blank ones for those that a model can do without.

    Args:
        channels: indices.
        wanted: how many the model is given.
        fewest: how many of them must be there; 0 is all.

    Example:
        >>> filled_channels([4], 3, 1)
        [4, -1, -1]
    """
    lacking = wanted - len(channels) if 0 < fewest <= len(channels) else 0
    return [*channels, *[BLANK] * lacking]


def selected_channels(
    image: Windowed,
    entry: Entry,
    wanted: Sequence[str] | None = None,
    model: str = "",
    fewest: int = 0,
) -> SelectedChannels:
    """The channels of an image that are to be segmented, as its entry says; else all.

    Args:
        image: the entry's `(Y, X, C)`.
        entry: of the image; its attribute `segmentation_channels` has the indices.
        wanted: names of what the model is given; `None` takes any number of channels.
        model: the model's name in error messages.
        fewest: how many of the wanted channels must be there, the others are blank; 0 is all.

    Raises:
        BadInput: another number of channels is chosen than the model wants, or see
            `SelectedChannels`.
    """
    what = f"image '{entry.name}'"
    _check_axes(image, what)
    count = image.shape[2]
    given = entry.attribute("segmentation_channels", tuple[int, ...], None)
    channels: Sequence[int] = given or range(count)
    channels = filled_channels(channels, len(wanted or ()), fewest)
    if wanted is not None and len(channels) != len(wanted):
        names = ", ".join(entry.channels) or f"{count} without names"
        chosen = "chosen" if given else "none chosen"
        raise BadInput(
            f"channels of {what}",
            expected=f"{len(wanted)} for model '{model}' ({', '.join(wanted)}), by name or index "
            "with CHANNELS=… or `cellmill tiff_to_npz --channels …`",
            found=f"{len(channels)} ({chosen}); the image has {names}",
        )
    return SelectedChannels(image, channels, what)


def _check_axes(image: Windowed, what: str) -> None:
    if len(image.shape) == 4:
        raise BadInput(
            what,
            expected="an image (Y, X, C): z=… takes one focal plane of a volume",
            found=f"a volume {tuple(image.shape)}",
        )
    if len(image.shape) != 3:
        raise BadInput(what, expected="axes YXC", found=f"shape {image.shape}")
