"""Choosing channels of an image, in the order in which a network is given them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cellmill.arrays.batch import Entry
from cellmill.arrays.indexing import box_of
from cellmill.arrays.windows import Windowed
from cellmill.errors import BadInput

#: The index of a channel that is not in the image and is filled with zeros.
BLANK = -1


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
        if len(image.shape) != 3:
            raise BadInput(what, expected="axes YXC", found=f"shape {image.shape}")
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


def selected_channels(
    image: Windowed, entry: Entry, wanted: Sequence[str] | None = None, model: str = ""
) -> SelectedChannels:
    """The channels of an image that are to be segmented, as its entry says; else all.

    Args:
        image: the entry's `(Y, X, C)`.
        entry: of the image; its attribute `segmentation_channels` has the indices.
        wanted: names of what the model is given; `None` takes any number of channels.
        model: the model's name in error messages.

    Raises:
        BadInput: another number of channels is chosen than the model wants, or see
            `SelectedChannels`.
    """
    what = f"image '{entry.name}'"
    if len(image.shape) != 3:
        raise BadInput(what, expected="axes YXC", found=f"shape {image.shape}")
    count = image.shape[2]
    given = entry.attributes.get("segmentation_channels")
    channels: Sequence[int] = given or range(count)
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
