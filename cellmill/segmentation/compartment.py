"""Labels of one compartment from a network's heads, as a model's card says."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cellmill.arrays.windows import Plane, Windowed
from cellmill.errors import BadInput
from cellmill.models.card import PostprocessingParameters
from cellmill.preprocessing.finite import require_finite
from cellmill.segmentation.deep_watershed import Numbering, WatershedParameters, segment_maps
from cellmill.segmentation.flooding import TieRule


def segment(
    heads: Mapping[str, np.ndarray],
    parameters: PostprocessingParameters,
    *,
    label_erosion: int = 0,
    exclude_border: int = 0,
    numbering: Numbering = "canonical",
    tie_rule: TieRule = "local",
) -> np.ndarray:
    """Segment one compartment of one image.

    Args:
        heads: the network's outputs by name, each `(Y, X, C)` or `(Z, Y, X, C)`; arrays or memory
            maps, of which only the two channels that count are read.
        parameters: which heads and channels, and the watershed's parameters.
        label_erosion: see `WatershedParameters`; no card has it.
        exclude_border: see `WatershedParameters`; no card has it.
        numbering: `canonical` or `reference`; see `deep_watershed`.
        tie_rule: `local` or `reference`; see `watershed`.

    Returns:
        `(Y, X)` or `(Z, Y, X)` int32 labels, 1…n.

    Raises:
        BadInput: a head or channel is missing, heads differ in shape, a map holds NaN or infinity,
            or a parameter is out of range.
    """
    maxima = _channel(heads, parameters.maxima_head, parameters.maxima_channel)
    interior = _channel(heads, parameters.interior_head, parameters.interior_channel)
    if maxima.shape != interior.shape:
        raise BadInput(
            f"heads '{parameters.maxima_head}' and '{parameters.interior_head}'",
            expected="one shape",
            found=f"{maxima.shape} and {interior.shape}",
        )
    chosen = watershed_parameters(
        parameters, label_erosion=label_erosion, exclude_border=exclude_border
    )
    return segment_maps(maxima, interior, chosen, numbering, tie_rule)


def watershed_parameters(
    parameters: PostprocessingParameters, *, label_erosion: int = 0, exclude_border: int = 0
) -> WatershedParameters:
    """Give what a card says of one compartment as the watershed takes it.

    Args:
        parameters: of the card.
        label_erosion: see `WatershedParameters`; no card has it.
        exclude_border: see `WatershedParameters`; no card has it.

    Raises:
        BadInput: a parameter is out of range.
    """
    return WatershedParameters(
        radius=parameters.radius,
        maxima_threshold=parameters.maxima_threshold,
        interior_threshold=parameters.interior_threshold,
        maxima_smooth=parameters.maxima_smooth,
        interior_smooth=parameters.interior_smooth,
        label_erosion=label_erosion,
        small_objects_threshold=parameters.small_objects_threshold,
        small_objects_fraction=parameters.small_objects_fraction,
        fill_holes_threshold=parameters.fill_holes_threshold,
        pixel_expansion=parameters.pixel_expansion,
        maxima_algorithm=parameters.maxima_algorithm,
        exclude_border=exclude_border,
    )


def maps_of(
    heads: Mapping[str, Windowed], parameters: PostprocessingParameters
) -> tuple[Windowed, Windowed]:
    """The maps of maxima and of the interior in a network's outputs, to be read by windows.

    Args:
        heads: `(Y, X, C)` by name.
        parameters: which heads and channels.

    Raises:
        BadInput: a head or channel is missing, or the two differ in shape.
    """
    found = []
    for name, channel in (
        (parameters.maxima_head, parameters.maxima_channel),
        (parameters.interior_head, parameters.interior_channel),
    ):
        _check_head(heads, name, channel)
        found.append(Plane(heads[name], channel))
    if found[0].shape != found[1].shape:
        raise BadInput(
            f"heads '{parameters.maxima_head}' and '{parameters.interior_head}'",
            expected="one shape",
            found=f"{found[0].shape} and {found[1].shape}",
        )
    return found[0], found[1]


def _channel(heads: Mapping[str, np.ndarray], name: str, channel: int) -> np.ndarray:
    _check_head(heads, name, channel)
    values = np.asarray(heads[name][..., channel])
    require_finite(values, f"head '{name}', channel {channel}")
    return values


def _check_head(heads: Mapping[str, Windowed], name: str, channel: int) -> None:
    if name not in heads:
        raise BadInput(
            "predictions", expected=f"a head '{name}'", found=", ".join(heads) or "no heads"
        )
    shape = tuple(heads[name].shape)
    if len(shape) not in (3, 4):
        raise BadInput(f"head '{name}'", expected="(Y, X, C) or (Z, Y, X, C)", found=f"{shape}")
    if not 0 <= channel < shape[-1]:
        raise BadInput(
            f"head '{name}'", expected=f"a channel {channel}", found=f"{shape[-1]} channels"
        )
