"""At which scale an open image is segmented, and what a user should know of it."""

from __future__ import annotations

import inspect
import warnings

from cellmill.models.card import ModelCard
from cellmill.preprocessing import ScaleSettings, Scaling
from cellmill.preprocessing.scale import SizeModelOf
from cellmill.segmenter.source import Source
from cellmill.segmenter.work import Work

_ROOM = __name__.rpartition(".")[0]


def find_scale(
    source: Source, settings: ScaleSettings, work: Work, size_model: SizeModelOf | None
) -> Scaling:
    """Choose the scale of an image that is open; see `ScaleSettings.scaling`."""
    with work.step("find scale"):
        return settings.scaling(
            source.image,
            mpp=source.mpp,
            mpp_source=source.mpp_source,
            memory=work.memory,
            what=source.what,
            size_model=size_model,
        )


def said_of_scale(source: Source, card: ModelCard, scaling: Scaling) -> tuple[str, ...]:
    """What a user should know of a scale; warns of one that was taken for want of a pixel size."""
    if not card.input.mpp or scaling.by:
        return (scaling.remark,) if scaling.remark else ()
    said = (
        f"pixel size unknown (the model expects {card.input.mpp:g} µm/px), so segmented "
        "at its own scale; mpp=… says what it is"
    )
    warnings.warn(f"{source.what}: {said}", stacklevel=_frames_of_ours())
    return (said,)


def _frames_of_ours() -> int:
    """How far up the stack the user's own code is, for a warning that names its line."""
    level, frame = 1, inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith(f"{_ROOM}."):
        level, frame = level + 1, frame.f_back
    return level - 1
