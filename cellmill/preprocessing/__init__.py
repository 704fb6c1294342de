"""Bringing an image's pixels and scale to what a network was trained on."""

from cellmill.preprocessing.finite import require_finite
from cellmill.preprocessing.methods import METHODS, preprocess
from cellmill.preprocessing.resize import resize_image, resize_labels, scaled_shape

__all__ = [
    "METHODS",
    "preprocess",
    "require_finite",
    "resize_image",
    "resize_labels",
    "scaled_shape",
]
