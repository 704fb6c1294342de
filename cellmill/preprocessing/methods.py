"""The normalisations that a model's card can ask for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cellmill.errors import BadInput
from cellmill.models.card import Preprocessing
from cellmill.preprocessing.clahe import equalize_channels
from cellmill.preprocessing.finite import require_finite
from cellmill.preprocessing.percentile import clip_above_percentile, rescale_between_percentiles


def _mesmer(image: np.ndarray, parameters: Preprocessing) -> np.ndarray:
    if parameters.clip_percentile:
        image = clip_above_percentile(image, parameters.clip_percentile)
    return equalize_channels(image, parameters.kernel_size)


def _histogram(image: np.ndarray, parameters: Preprocessing) -> np.ndarray:
    return equalize_channels(image, parameters.kernel_size)


def _percentile(image: np.ndarray, parameters: Preprocessing) -> np.ndarray:
    return rescale_between_percentiles(image, parameters.low, parameters.high)


def _none(image: np.ndarray, parameters: Preprocessing) -> np.ndarray:
    return image.astype(np.float32)


METHODS: dict[str, Callable[[np.ndarray, Preprocessing], np.ndarray]] = {
    "mesmer": _mesmer,
    "histogram": _histogram,
    "percentile": _percentile,
    "none": _none,
}


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
        BadInput: the image is not `(Y, X, C)` or is empty, a value is NaN or infinite, or the
            method is none of `METHODS`.
    """
    if image.ndim != 3 or image.size == 0:
        raise BadInput(
            what, expected="at least one pixel, axes (Y, X, C)", found=f"shape {image.shape}"
        )
    if parameters.method not in METHODS:
        raise BadInput(
            "preprocessing.method",
            expected=f"one of {', '.join(METHODS)}",
            found=repr(parameters.method),
        )
    require_finite(image, what)
    return METHODS[parameters.method](image, parameters)
