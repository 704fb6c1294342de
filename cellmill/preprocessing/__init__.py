"""Bringing an image's pixels and scale to what a network was trained on."""

from cellmill.arrays.finite import require_finite
from cellmill.labels.resizing import ResizedLabels, resize_labels
from cellmill.preprocessing.methods import mesmer_preprocess, preprocess
from cellmill.preprocessing.network_input import (
    PreparedImage,
    network_input,
    prepare_image,
)
from cellmill.preprocessing.normalisation import (
    METHODS,
    Normalisation,
    NormalisedImage,
    normalisation_of,
)
from cellmill.preprocessing.object_size import (
    DiameterEstimate,
    StyleEstimate,
    estimate_diameter,
)
from cellmill.preprocessing.resize import ResizedImage, resize_image, scaled_shape
from cellmill.preprocessing.scale import ScaleSettings, Scaling, parsed_diameter, scaling_of
from cellmill.preprocessing.volumes import PreparedVolume, prepare_volume

__all__ = [
    "METHODS",
    "DiameterEstimate",
    "Normalisation",
    "NormalisedImage",
    "PreparedImage",
    "PreparedVolume",
    "ResizedImage",
    "ResizedLabels",
    "ScaleSettings",
    "Scaling",
    "StyleEstimate",
    "estimate_diameter",
    "mesmer_preprocess",
    "network_input",
    "normalisation_of",
    "parsed_diameter",
    "prepare_image",
    "prepare_volume",
    "preprocess",
    "require_finite",
    "resize_image",
    "resize_labels",
    "scaled_shape",
    "scaling_of",
]
