"""The scale at which stages give images to a network: chosen, kept with the image, told."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cellmill.arrays.batch import Entry
from cellmill.arrays.windows import Windowed
from cellmill.contract import Record
from cellmill.inference.predictor import Predictor
from cellmill.inference.registry import ENGINES
from cellmill.models.networks import network_form
from cellmill.preprocessing import ScaleSettings, Scaling
from cellmill.preprocessing.scale import AUTO, SizeModelOf
from cellmill.segmenter.cell_size import CellSize
from cellmill.terminal import say

#: How many images are named.
_NAMED = 5


def size_model_of(folder: Path, settings: ScaleSettings) -> SizeModelOf | None:
    """What asks a model's size model; `None` where no diameter is estimated, or the model has none.

    It runs the network. Where no engine is installed that can, a line says that diameters are
    estimated from pixels.

    Args:
        folder: of the model.
        settings: what the stage was told.

    Raises:
        BadInput: the size model is wrong, or not there.
    """
    card = settings.card
    if settings.diameter != AUTO or not card.size_model:
        return None
    form = network_form(folder)
    if not any(each.is_installed and form in each.reads for each in ENGINES.values()):
        said = "no engine is installed here that runs its network"
        say(f"note: the size model of '{card.name}' is not asked: {said}", to=sys.stderr)
        return None
    return CellSize(folder, card, partial(Predictor, folder))


def scaling_for(
    settings: ScaleSettings,
    entry: Entry,
    image: Windowed,
    memory_mib: int,
    size_model: SizeModelOf | None = None,
) -> Scaling:
    """Choose the scale of a batch's image.

    Args:
        settings: what the stage was told.
        entry: of the image.
        image: `(Y, X, C)`, the model's channels in its order.
        memory_mib: to work in.
        size_model: see `size_model_of`.

    Raises:
        BadInput: see `ScaleSettings.scaling`.
    """
    return settings.scaling(
        image,
        mpp=entry.mpp,
        mpp_source=entry.mpp_source,
        memory=memory_mib << 20,
        what=f"image '{entry.name}'",
        size_model=size_model,
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
