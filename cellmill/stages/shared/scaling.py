"""The scale at which stages give images to a network: chosen, kept with the image, told."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from cellmill.arrays.batch import Entry
from cellmill.arrays.windows import Windowed
from cellmill.contract import Record
from cellmill.preprocessing import ScaleSettings, Scaling
from cellmill.terminal import say

#: How many images are named.
_NAMED = 5


def scaling_for(settings: ScaleSettings, entry: Entry, image: Windowed, memory_mib: int) -> Scaling:
    """Choose the scale of a batch's image.

    Args:
        settings: what the stage was told.
        entry: of the image.
        image: `(Y, X, C)`, the model's channels in its order.
        memory_mib: to work in.

    Raises:
        BadInput: see `ScaleSettings.scaling`.
    """
    return settings.scaling(
        image,
        mpp=entry.mpp,
        mpp_source=entry.mpp_source,
        memory=memory_mib << 20,
        what=f"image '{entry.name}'",
    )


def scaled_attributes(entry: Entry, scaling: Scaling, shape: tuple[int, ...]) -> dict[str, Any]:
    """An entry's attributes at the network's scale: what its own shape, pixel size and scale are.

    Args:
        entry: of the image at its own scale.
        scaling: as `scaling_for` chose it.
        shape: `(Y, X)` of the image at its own scale, or `(Z, Y, X)` of a volume, whose planes are
            scaled.
    """
    wide = [scaling.shape[0] / shape[-2], scaling.shape[1] / shape[-1]]
    return {
        **entry.attributes,
        "source_shape": [*shape],
        "source_mpp": [*entry.mpp] if entry.mpp else None,
        "scale": [*[1.0] * (len(shape) - 2), *wide],
        "scaling": scaling.to_attributes(),
    }


def scaled_mpp(entry: Entry, scale: Sequence[float]) -> tuple[float, ...] | None:
    """The pixel size in microns, an axis each, of an image that was scaled so many times."""
    if entry.mpp is None:
        return None
    return tuple(size / by for size, by in zip(entry.mpp, scale, strict=True))


def note_scalings(scalings: Mapping[str, Scaling], record: Record) -> None:
    """Record at which scale each image is given to the network, and tell what is remarkable."""
    remarks = {name: each.remark for name, each in scalings.items() if each.remark}
    record.note(
        scaling={name: each.to_attributes() for name, each in scalings.items()},
        remarks={name: [remark] for name, remark in remarks.items()},
    )
    for name, remark in [*remarks.items()][:_NAMED]:
        say(f"note: image '{name}': {remark}", to=sys.stderr)
    if len(remarks) > _NAMED:
        say(f"note: the scale of {len(remarks) - _NAMED} more images likewise", to=sys.stderr)
