"""What a user sets to be tuned: `RADIUS=2,3` for each parameter, or all of it as `AXES={…}`."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from cellmill.errors import BadInput
from cellmill.segmentation.methods import METHODS, find_method
from cellmill.segmentation.parameters import parameters_of


def axis_settings(taken: Collection[str] = ()) -> dict[str, str]:
    """Settings for the parameters that methods tune, with what help says of them.

    Args:
        taken: names of other settings; what is called so is tuned by `AXES` alone.
    """
    return {
        each.name: f"values to try, with commas between: {each.description}"
        for method in METHODS
        for each in parameters_of(find_method(method).parameters)
        if each.tried is not None and each.name not in taken
    }


def axes_of(given: Mapping[str, str]) -> dict[str, Any]:
    """The values to try, by parameter; those of its own setting come before those of `AXES`.

    Raises:
        BadInput: `AXES` is no JSON object.
    """
    named = {name: given[name] for name in axis_settings() if given.get(name)}
    return json_object("AXES", given.get("axes", "")) | named


def json_object(setting: str, text: str) -> dict[str, Any]:
    """A setting's text as a JSON object; empty where there is none.

    Raises:
        BadInput: it is none.
    """
    try:
        found = json.loads(text or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise BadInput(setting, expected='a JSON object, as {"radius": 3}', found=repr(text))
    return found
