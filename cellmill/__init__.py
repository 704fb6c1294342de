"""cellmill: microscopy images of any size in, cells out.

The names that most people want stand here; a name's module is imported when the name is first
used, so that `import cellmill` itself takes no time. The rest is in the rooms below:
`cellmill.metrics`, `cellmill.measurement`, `cellmill.morphology`, `cellmill.labels`, …
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from cellmill.errors import BadInput, CellmillError
from cellmill.version import __version__

if TYPE_CHECKING:
    from cellmill.io.images import open_image, read_image
    from cellmill.io.labels import write_labels
    from cellmill.labels.holes import fill_holes
    from cellmill.labels.numbering import canonical_labels
    from cellmill.labels.pairs import pair_labels
    from cellmill.measurement.measuring import measure_labels
    from cellmill.metrics.evaluation import evaluate
    from cellmill.models.card import ModelCard
    from cellmill.models.fetch import fetch_model
    from cellmill.morphology.flooding import watershed
    from cellmill.morphology.hmaxima import h_maxima
    from cellmill.morphology.reconstruction import reconstruct
    from cellmill.pixel_classification.training import train_pixel_classifier
    from cellmill.restoration.deconvolution import deconvolve
    from cellmill.restoration.microscope import Microscope
    from cellmill.restoration.psf import make_psf
    from cellmill.segmentation.deep_watershed.in_memory import deep_watershed
    from cellmill.segmenter.result import Segmentation
    from cellmill.segmenter.segmenter import Segmenter, segment

__all__ = [
    "BadInput",
    "CellmillError",
    "Microscope",
    "ModelCard",
    "Segmentation",
    "Segmenter",
    "__version__",
    "canonical_labels",
    "deconvolve",
    "deep_watershed",
    "evaluate",
    "fetch_model",
    "fill_holes",
    "h_maxima",
    "make_psf",
    "measure_labels",
    "open_image",
    "pair_labels",
    "read_image",
    "reconstruct",
    "segment",
    "train_pixel_classifier",
    "watershed",
    "write_labels",
]

#: Where each name that is imported when it is first used comes from.
_MODULES = {
    "Microscope": "cellmill.restoration.microscope",
    "ModelCard": "cellmill.models.card",
    "Segmentation": "cellmill.segmenter.result",
    "Segmenter": "cellmill.segmenter.segmenter",
    "canonical_labels": "cellmill.labels.numbering",
    "deconvolve": "cellmill.restoration.deconvolution",
    "deep_watershed": "cellmill.segmentation.deep_watershed.in_memory",
    "evaluate": "cellmill.metrics.evaluation",
    "fetch_model": "cellmill.models.fetch",
    "fill_holes": "cellmill.labels.holes",
    "h_maxima": "cellmill.morphology.hmaxima",
    "make_psf": "cellmill.restoration.psf",
    "measure_labels": "cellmill.measurement.measuring",
    "open_image": "cellmill.io.images",
    "pair_labels": "cellmill.labels.pairs",
    "read_image": "cellmill.io.images",
    "reconstruct": "cellmill.morphology.reconstruction",
    "segment": "cellmill.segmenter.segmenter",
    "train_pixel_classifier": "cellmill.pixel_classification.training",
    "watershed": "cellmill.morphology.flooding",
    "write_labels": "cellmill.io.labels",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module 'cellmill' has no attribute '{name}'")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__]
