"""The stage that brings images to the scale and the pixel values that a model expects."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from cellmill.arrays.batch import Batch, BatchWriter, Entry
from cellmill.contract import Dataset, Input, Model, Output, Record, for_each_image
from cellmill.errors import BadInput
from cellmill.models.card import ModelCard
from cellmill.preprocessing import preprocess as normalise
from cellmill.preprocessing import require_finite, resize_image, scaled_shape

BLANK = -1
#: Beyond this the pixel size is wrong rather than the magnification unusual.
_MOST_SCALING = 16.0


def preprocess(
    images: Input[Dataset],
    model: Input[Model],
    preprocessed: Output[Dataset],
    record: Output[Record],
    on_bad_image: Literal["fail", "skip"] = "fail",
    match_mpp: bool = True,
) -> None:
    """Bring images to the scale and the pixel values that a model expects.

    Args:
        images: Batch of images, array `image` (Y, X, C).
        model: Model folder; its card says which channels, scale and normalisation it expects.
        preprocessed: Batch with array `image` (Y', X', C) float32, channels in the model's order.
        record: What was done, with times and versions.
        on_bad_image: What to do with an image that cannot be used: fail, or skip it and go on.
        match_mpp: Resize images to the model's microns per pixel; an image whose own is unknown
            is never resized.
    """
    card = ModelCard.load(model.path)
    source = Batch.open(images.path)
    unknown: list[str] = []
    with BatchWriter(preprocessed.path, attributes={"model": card.to_dict()}) as out:

        def work(entry: Entry) -> None:
            image = _channels(source.read(entry, "image"), entry, card)
            require_finite(image, f"image '{entry.name}'")
            shape = image.shape[:2]
            target = shape
            if match_mpp and card.input.mpp:
                if entry.mpp is None:
                    unknown.append(entry.name)
                else:
                    target = _target(shape, entry, card)
            with record.step("resize"):
                image = resize_image(image, target)
            with record.step("normalise"):
                image = normalise(image, card.preprocessing, what=f"image '{entry.name}'")
            scale = [target[0] / shape[0], target[1] / shape[1]]
            attributes: dict[str, Any] = {
                **entry.attributes,
                "source_shape": [*shape],
                "source_mpp": [*entry.mpp] if entry.mpp else None,
                "scale": scale,
            }
            mpp = (entry.mpp[0] / scale[0], entry.mpp[1] / scale[1]) if entry.mpp else None
            with record.step("write"):
                out.write(
                    entry.name,
                    {"image": image},
                    axes={"image": "YXC"},
                    mpp=mpp,
                    mpp_source=entry.mpp_source,
                    channels=[channel.name for channel in card.input.channels],
                    attributes=attributes,
                )

        for_each_image(source, work, writers=[out], record=record, on_bad_image=on_bad_image)
    record.note(method=card.preprocessing.method, model_mpp=card.input.mpp, mpp_unknown=unknown)
    if unknown:
        print(
            f"warning: {len(unknown)} image(s) of unknown pixel size, first '{unknown[0]}', run at "
            f"their own scale; the model expects {card.input.mpp:g} µm/px",
            file=sys.stderr,
        )


def _channels(image: np.ndarray, entry: Entry, card: ModelCard) -> np.ndarray:
    """The channels that the model is given, in its order; a blank one is zeros.

    Returns:
        `(Y, X, len(card.input.channels))` of the image's dtype.
    """
    if image.ndim != 3:
        raise BadInput(f"image '{entry.name}'", expected="axes YXC", found=f"shape {image.shape}")
    wanted = [channel.name for channel in card.input.channels]
    count = image.shape[2]
    given = entry.attributes.get("segmentation_channels")
    indices: Sequence[int] = given or range(count)
    if len(indices) != len(wanted):
        names = ", ".join(entry.channels) or f"{count} without names"
        chosen = "chosen" if given else "none chosen"
        raise BadInput(
            f"channels of image '{entry.name}'",
            expected=f"{len(wanted)} for model '{card.name}' ({', '.join(wanted)}), by name or "
            "index with CHANNELS=… or `cellmill tiff_to_npz --channels …`",
            found=f"{len(indices)} ({chosen}); the image has {names}",
        )
    if all(index == BLANK for index in indices) or not all(
        BLANK <= index < count for index in indices
    ):
        raise BadInput(
            f"channels of image '{entry.name}'",
            expected=f"indices from 0 to {count - 1}, {BLANK} for a blank one, not all blank",
            found=f"{[*indices]}",
        )
    selected = np.zeros((*image.shape[:2], len(indices)), image.dtype)
    for target, index in enumerate(indices):
        if index != BLANK:
            selected[..., target] = image[..., index]
    return selected


def _target(shape: tuple[int, int], entry: Entry, card: ModelCard) -> tuple[int, int]:
    """The shape that the image has at the model's scale."""
    target = scaled_shape(shape, entry.mpp, card.input.mpp)
    ratios = [mpp / card.input.mpp for mpp in entry.mpp or ()]
    if max(ratios, default=1.0) > _MOST_SCALING:
        raise BadInput(
            f"pixel size of image '{entry.name}'",
            expected=f"at most {_MOST_SCALING:g} times the model's {card.input.mpp:g} µm/px "
            "(MPP=… or `cellmill tiff_to_npz --mpp …` sets another)",
            found=f"{max(entry.mpp or ()):g} µm/px ({entry.mpp_source})",
        )
    return target
