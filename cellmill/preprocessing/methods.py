"""Normalising an image that is in memory."""

from __future__ import annotations

import numpy as np

from cellmill.models.card import Preprocessing
from cellmill.preprocessing.clahe import Span, equalize
from cellmill.preprocessing.normalisation import (
    CLAHE,
    Normalisation,
    NormalisedImage,
    levels_normalisation,
)


def preprocess(image: np.ndarray, parameters: Preprocessing, *, what: str = "image") -> np.ndarray:
    """Normalise an image as a model's card asks for.

    Args:
        image: `(Y, X, C)`, channels in the model's order, already at the model's scale; it is not
            changed.
        parameters: the card's `preprocessing`.
        what: the image's name in error messages.

    Returns:
        `(Y, X, C)` float32.

    Raises:
        BadInput: the image is not `(Y, X, C)` or is empty, has a dtype without numbers, a value is
            NaN or infinite, or the method is none of `METHODS`.
    """
    return normalised(image, parameters, what=what)[0]


def normalised(
    image: np.ndarray, parameters: Preprocessing, *, what: str = "image"
) -> tuple[np.ndarray, Normalisation]:
    """Normalise an image as `preprocess` does, and say how: its levels, notes on its contrast."""
    found = levels_normalisation(image, parameters, what=what)
    view = NormalisedImage(image, found)
    if parameters.method not in CLAHE:
        return np.asarray(view), found
    out = np.zeros(image.shape, np.float32)
    for c, channel in enumerate(found.channels):
        pixels = image[..., c].astype(view.native, copy=False)
        span = Span(channel.low, channel.high, channel.limit)
        equalize(pixels, span, parameters.kernel_size, out[..., c])
    return out, found


def mesmer_preprocess(
    image: np.ndarray, *, percentile: float = 99.9, kernel_size: int = 128
) -> np.ndarray:
    """Normalise an image as DeepCell's Mesmer does: clip, rescale, CLAHE, channel by channel.

    Args:
        image: `(Y, X, C)`, integer or float; it is not changed.
        percentile: clip above this percentile of a channel's non-zero pixels; 0 does not clip.
        kernel_size: side of CLAHE's window in pixels; 0 is an eighth of each side of the image.

    Returns:
        `(Y, X, C)` float32, 0 to 1; a constant channel becomes zeros.

    Raises:
        BadInput: see `preprocess`.
    """
    parameters = Preprocessing("mesmer", clip_percentile=percentile, kernel_size=kernel_size)
    return preprocess(image, parameters)
