"""Contrast-limited adaptive histogram equalisation of each channel (CLAHE).

Source: K. Zuiderveld, "Contrast Limited Adaptive Histogram Equalization", Graphics Gems IV (1994),
as scikit-image computes it.
"""

from __future__ import annotations

import numpy as np
from skimage.exposure import equalize_adapthist, rescale_intensity


def equalize_channels(image: np.ndarray, kernel_size: int = 0) -> np.ndarray:
    """Rescale each channel to 0–1 in float32 and equalise it; a constant channel becomes zeros.

    It needs whole channels: the rescaling before and after CLAHE is global, so equalising tile by
    tile gives another image.

    Args:
        image: `(Y, X, C)`, integer or float.
        kernel_size: side of CLAHE's window in pixels; 0 is an eighth of each side of the image.

    Returns:
        `(Y, X, C)` float32, 0 to 1.
    """
    equalized = np.zeros(image.shape, np.float32)
    for c in range(image.shape[-1] if image.size else 0):
        channel = image[..., c].astype(np.float32)
        if channel.min() == channel.max():
            continue
        channel = rescale_intensity(channel, out_range=(0.0, 1.0))
        equalized[..., c] = equalize_adapthist(channel, kernel_size=kernel_size or None)
    return equalized
