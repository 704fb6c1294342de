"""Resampling images to a model's scale, and labels back to the image's own.

Two interpolations are kept on purpose: DeepCell resamples one channel with OpenCV and several with
scikit-image, and they differ (sample positions of nearest neighbour, anti-aliasing, dark borders).
"""

from __future__ import annotations

import cv2
import numpy as np
from skimage.transform import resize

from cellmill.errors import BadInput


def scaled_shape(
    shape: tuple[int, int], mpp: tuple[float, float] | None, model_mpp: float
) -> tuple[int, int]:
    """The sides that an image has at the model's scale: `int(side × mpp / model_mpp)` per axis.

    Args:
        shape: `(Y, X)` in pixels.
        mpp: microns per pixel `(y, x)` of the image; `None` if unknown.
        model_mpp: microns per pixel of the model; 0 if it has no scale of its own.

    Returns:
        `(Y', X')`; `shape` itself if either scale is unknown.

    Raises:
        BadInput: a scale is not positive, or a side would shrink to nothing.
    """
    if mpp is None or not model_mpp:
        return shape
    if not (min(mpp) > 0 and model_mpp > 0 and np.isfinite([*mpp, model_mpp]).all()):
        raise BadInput("mpp", expected="positive microns per pixel", found=f"{mpp}, {model_mpp}")
    scaled = tuple(
        int(side * axis_mpp / model_mpp) if axis_mpp != model_mpp else side
        for side, axis_mpp in zip(shape, mpp, strict=True)
    )
    if min(scaled) < 1:
        raise BadInput(
            f"image of {shape[0]} × {shape[1]} px at {mpp[0]:g} × {mpp[1]:g} µm/px",
            expected=f"at least one pixel at the model's {model_mpp:g} µm/px",
            found=f"{scaled[0]} × {scaled[1]} px",
        )
    return scaled[0], scaled[1]


def resize_image(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resample an image linearly, in its own dtype.

    One channel: OpenCV's linear interpolation, no anti-aliasing. Several: scikit-image, order 1,
    anti-aliased when shrinking, with zeros beyond the border (which darkens it).

    Args:
        image: `(Y, X, C)`, integer or float.
        shape: the new `(Y, X)`.

    Returns:
        `(*shape, C)` of the image's dtype (cut off towards zero, as the reference does, where
        scikit-image computes); the image itself if it has that shape already.
    """
    if image.shape[:2] == tuple(shape):
        return image
    if image.shape[-1] == 1:
        plane = np.ascontiguousarray(image[..., 0], np.float32)
        resized = cv2.resize(plane, shape[::-1], interpolation=cv2.INTER_LINEAR)
        return resized.reshape(*shape, 1).astype(image.dtype, copy=False)
    resized = resize(
        image,
        (*shape, image.shape[-1]),
        order=1,
        mode="constant",
        preserve_range=True,
        anti_aliasing=True,
    )
    return resized.astype(image.dtype, copy=False)


def resize_labels(labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resample a label image by nearest neighbour: no label is invented or mixed.

    One compartment: OpenCV's sample positions. Several (whole-cell and nuclear): scikit-image's.
    The two differ in many pixels; each is what DeepCell uses in that case.

    Args:
        labels: `(Y, X)`, `(Y, X, 1)` or `(Y, X, compartments)`, integer.
        shape: the new `(Y, X)`.

    Returns:
        `(*shape, …)` of the same dtype; the labels themselves if they have that shape already.
    """
    if labels.shape[:2] == tuple(shape):
        return labels
    if labels.ndim == 3 and labels.shape[-1] > 1:
        resized = resize(
            labels,
            (*shape, labels.shape[-1]),
            order=0,
            mode="constant",
            preserve_range=True,
            anti_aliasing=False,
        )
        return resized.astype(labels.dtype, copy=False)
    # OpenCV copies a pixel's bytes here, so a float of the same width carries any integer.
    plane = np.ascontiguousarray(labels.reshape(labels.shape[:2]))
    carrier = {1: np.uint8, 2: np.uint16, 4: np.float32, 8: np.float64}[labels.dtype.itemsize]
    resized = cv2.resize(plane.view(carrier), shape[::-1], interpolation=cv2.INTER_NEAREST)
    return np.ascontiguousarray(resized).view(labels.dtype).reshape(*shape, *labels.shape[2:])
