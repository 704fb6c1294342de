"""What several stages say of images on stderr and in their record."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cellmill.contract import Record
from cellmill.terminal import say

if TYPE_CHECKING:
    from cellmill.inference.predictor import Predictor

#: How many images are named.
_NAMED = 5


def note_contrast(notes: Mapping[str, Sequence[str]], record: Record) -> None:
    """Say of which images the contrast is not what the card's percentiles give, and why.

    Args:
        notes: by image, as `Normalisation.notes` gives them; only images that have some.
        record: keeps them all.
    """
    if notes:
        record.note(contrast={image: [*lines] for image, lines in notes.items()})
    for image, lines in [*notes.items()][:_NAMED]:
        say(f"note: image '{image}': {'; '.join(lines)}", to=sys.stderr)
    if len(notes) > _NAMED:
        say(f"note: contrast of {len(notes) - _NAMED} more images likewise", to=sys.stderr)


def note_predictor(predictor: Predictor, record: Record, **more: object) -> None:
    """Say in the record what took effect when a network ran, now that it is done, and more."""
    effect = predictor.effect
    record.note(**effect, **more)
    if peak := predictor.gpu_peak_bytes():
        record.gpu(effect["gpu"], peak)
