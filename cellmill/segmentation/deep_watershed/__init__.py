"""The deep watershed: from a network's maps to labelled objects.

The names below are imported when they are asked for: the registry of methods reads this folder's
parameters without the kernels.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cellmill.segmentation.deep_watershed.in_memory import (
        clean_up,
        deep_watershed,
        find_markers,
        segment_maps,
        shaped_interior,
    )
    from cellmill.segmentation.deep_watershed.parameters import (
        MaximaAlgorithm,
        WatershedParameters,
    )
    from cellmill.segmentation.deep_watershed.tiled import segment_tiled

__all__ = [
    "MaximaAlgorithm",
    "WatershedParameters",
    "clean_up",
    "deep_watershed",
    "find_markers",
    "segment_maps",
    "segment_tiled",
    "shaped_interior",
]

_MODULES = {
    "in_memory": ("clean_up", "deep_watershed", "find_markers", "segment_maps", "shaped_interior"),
    "parameters": ("MaximaAlgorithm", "WatershedParameters"),
    "tiled": ("segment_tiled",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
