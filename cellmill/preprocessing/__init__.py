"""Bringing an image's pixels and scale to what a network was trained on."""

from cellmill.preprocessing.finite import require_finite
from cellmill.preprocessing.methods import mesmer_preprocess, preprocess
from cellmill.preprocessing.network_input import model_shape, network_input
from cellmill.preprocessing.normalisation import (
    METHODS,
    Normalisation,
    NormalisedImage,
    normalisation_of,
)
from cellmill.preprocessing.resize import (
    ResizedImage,
    ResizedLabels,
    resize_image,
    resize_labels,
    scaled_shape,
)

__all__ = [
    "METHODS",
    "Normalisation",
    "NormalisedImage",
    "ResizedImage",
    "ResizedLabels",
    "mesmer_preprocess",
    "model_shape",
    "network_input",
    "normalisation_of",
    "preprocess",
    "require_finite",
    "resize_image",
    "resize_labels",
    "scaled_shape",
]
