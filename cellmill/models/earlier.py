"""Cards of earlier formats, as those of today.

`cellmill-model/1` knew one way to find objects, the deep watershed, and did not name it; what a
card left out had the values below.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FORMAT = "cellmill-model/1"

_METHOD: dict[str, Any] = {"method": "deep_watershed"}
_DEFAULTS: dict[str, Any] = {
    "maxima_channel": 0,
    "interior_channel": 0,
    "maxima_threshold": 0.1,
    "maxima_smooth": 0.0,
    "interior_threshold": 0.2,
    "interior_smooth": 2.0,
    "radius": 2,
    "small_objects_threshold": 15,
    "small_objects_fraction": 0.0,
    "fill_holes_threshold": 15,
    "pixel_expansion": 0,
    "maxima_algorithm": "h_maxima",
}


def converted(values: Mapping[str, Any], format: str) -> dict[str, Any]:
    """A card of the first format as one of the format `format`; what is wrong in it stays so."""
    found = {**values, "format": format}
    given = values.get("postprocessing")
    if isinstance(given, Mapping):
        found["postprocessing"] = {
            kind: _with_method(each) if isinstance(each, Mapping) else each
            for kind, each in given.items()
        }
    return found


def _with_method(given: Mapping[str, Any]) -> dict[str, Any]:
    left_out = {key: value for key, value in _DEFAULTS.items() if key not in given}
    return _METHOD | {**given} | left_out | _METHOD
