"""An image as a network is given it: in memory, or computed as its windows are read."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cellmill.arrays.channels import SelectedChannels
from cellmill.arrays.windows import Box, Windowed
from cellmill.errors import BadInput
from cellmill.models.card import ModelCard
from cellmill.preprocessing.methods import normalised
from cellmill.preprocessing.normalisation import Normalisation, NormalisedImage, normalisation_of
from cellmill.preprocessing.pixels import read_in_threads
from cellmill.preprocessing.resize import ResizedImage, resize_image


@dataclass(frozen=True)
class PreparedImage:
    """An image that is ready for its network.

    Attributes:
        pixels: `(Y', X', C)` float32: an array, or a view that is computed as it is read.
        normalisation: of its values.
        in_memory: whether it is an array.
    """

    pixels: Windowed
    normalisation: Normalisation
    in_memory: bool

    def read(self, box: Box) -> np.ndarray:
        """Read a box, parts of it side by side where they are computed."""
        return self.pixels[box.slices] if self.in_memory else read_in_threads(self.pixels, box)


def prepare_image(
    image: SelectedChannels,
    card: ModelCard,
    *,
    shape: tuple[int, int],
    memory: int,
    what: str = "image",
    step: Callable[[str], contextlib.AbstractContextManager[object]] = contextlib.nullcontext,
) -> PreparedImage:
    """Bring an image to the scale and the values that a model's card asks for.

    Args:
        image: `(Y, X, C)`, the model's channels.
        card: of the model.
        shape: `(Y, X)` at the network's scale, as `scaling_of` chooses it.
        memory: bytes to work in; an image that takes more is shown by windows. Values do not depend
            on it.
        what: the image's name in error messages.
        step: called with the name of each piece of work, gives what it is done in.

    Raises:
        BadInput: a value is NaN or infinite.
    """
    if _bytes_in_memory(image, shape) <= memory:
        with step("resize"):
            pixels = resize_image(np.asarray(image), shape, what, card.input.resampling)
        with step("normalise"):
            return PreparedImage(*normalised(pixels, card.preprocessing, what=what), True)
    with step("find normalisation"):
        view = network_input(
            image.image, card, channels=image.channels, shape=shape, memory=memory // 2, what=what
        )
    return PreparedImage(view, view.normalisation, False)


def _bytes_in_memory(image: SelectedChannels, target: tuple[int, int]) -> int:
    """What it takes to prepare an image at once, rather than by windows."""
    size = image.dtype.itemsize
    channels = image.shape[2]
    source, scaled = image.shape[0] * image.shape[1], target[0] * target[1]
    # The selected channels; their resized pixels, the result; a channel's bins and grey values.
    return source * channels * size + scaled * (channels * (size + 4) + 3)


def network_input(
    image: Windowed,
    card: ModelCard,
    *,
    channels: Sequence[int],
    shape: tuple[int, int],
    normalisation: Normalisation | None = None,
    memory: int = 256 << 20,
    what: str = "image",
) -> NormalisedImage:
    """Show an image as a model's card asks for: its channels, its scale, its normalisation.

    Args:
        image: `(Y, X, C)`, integer or float.
        card: of the model.
        channels: the index of each of the card's channels, `BLANK` for one of zeros.
        shape: `(Y, X)` at the network's scale, as `scaling_of` chooses it.
        normalisation: what an earlier call found for the same image (`.normalisation`); `None`
            reads the image to find it.
        memory: bytes that the passes over the image may hold.
        what: the image's name in error messages.

    Returns:
        `(Y', X', len(channels))` float32, read by windows.

    Raises:
        BadInput: channels do not suit the image, it has values that are not finite, or the
            normalisation is of another image.
    """
    selected = SelectedChannels(image, channels, what)
    extremes = normalisation.source_extremes if normalisation else None
    resized = ResizedImage(selected, shape, extremes, what=what, resampling=card.input.resampling)
    if normalisation is None:
        found = normalisation_of(resized, card.preprocessing, memory=memory, what=what)
        normalisation = replace(found, source_extremes=resized.extremes)
    elif normalisation.parameters != card.preprocessing:
        raise BadInput(
            f"normalisation of {what}",
            expected=f"{card.preprocessing}",
            found=f"{normalisation.parameters}",
        )
    return NormalisedImage(resized, normalisation)
