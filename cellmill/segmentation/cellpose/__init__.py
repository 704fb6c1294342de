"""Cellpose: from a network's flows and probability to labelled objects.

The names below are imported when they are asked for: the registry of methods reads this folder's
parameters without the kernels.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cellmill.segmentation.cellpose.heat import flows_of
    from cellmill.segmentation.cellpose.in_memory import segment_flows
    from cellmill.segmentation.cellpose.orientations import combine_orientations
    from cellmill.segmentation.cellpose.parameters import CellposeParameters, Rule

__all__ = ["CellposeParameters", "Rule", "combine_orientations", "flows_of", "segment_flows"]

_MODULE_OF = {
    "flows_of": "heat",
    "segment_flows": "in_memory",
    "combine_orientations": "orientations",
    "CellposeParameters": "parameters",
    "Rule": "parameters",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
