"""The yardstick: DeepCell's own Mesmer, whole, in its own environment (`images/deepcell`)."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cellmill import extras
from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.arrays.channels import selected_channels
from cellmill.contract import (
    Images,
    Input,
    Labels,
    Model,
    Output,
    Predictions,
    Preprocessed,
    Record,
    for_each_image,
    stage,
)
from cellmill.errors import BadInput, CellmillError
from cellmill.labels.kinds import NUCLEAR, WHOLE_CELL, typed
from cellmill.models.card import ModelCard
from cellmill.models.chosen import chosen_compartments

MODEL_MPP = 0.5
"""Microns per pixel that Mesmer brings every image to, whatever its card says."""

_CHANNELS = ("nuclear", "membrane")
_HEADS = (
    (WHOLE_CELL, "inner_distance", 1),
    (WHOLE_CELL, "pixelwise", 3),
    (NUCLEAR, "inner_distance", 1),
    (NUCLEAR, "pixelwise", 3),
)


@stage(image="deepcell", family="reference")
def deepcell_reference(
    images: Input[Images],
    model: Input[Model],
    labels: Output[Labels],
    predictions: Output[Predictions],
    preprocessed: Output[Preprocessed],
    record: Output[Record],
    on_bad_image: Literal["fail", "skip"] = "fail",
    compartment: str = "",
) -> None:
    """Segment images with DeepCell's Mesmer, whole, as the reference to compare with.

    Everything is the deepcell package's: resizing, preprocessing, tiling, the network, untiling
    and post-processing, with Mesmer's own default parameters (they are kept in the record); the
    card only names the heads. Only the numbering of the cells is ours. An image whose pixel size
    is unknown is run at its own scale. Where nuclei alone are segmented an image may have one
    channel: it is shown with a blank membrane.

    Args:
        images: Batch of images, array `image` (Y, X, C), from tiff_to_npz.
        model: Model folder, a SavedModel with Mesmer's channels and heads that Keras 2.8 loads.
        labels: Batch with array `whole_cell` or `nuclear`, or both, (Y, X) int32.
        predictions: Batch with what the network said, (Y', X', channels) float32 per head.
        preprocessed: Batch with what the network was shown, `image` (Y', X', 2) float32.
        record: What was done, with times and versions.
        on_bad_image: What to do with an image that cannot be used: fail, or skip it and go on.
        compartment: What to segment: nuclear, whole-cell or both, each by themselves. Empty is the
            model card's default.
    """
    card = ModelCard.load(model.path)
    _check_heads(card, model.path)
    source = Batch.open(images.path)
    with record.step("load model"):
        application = _load(model.path)
    tile = tuple(application.model_image_shape[:2])
    seen = _watch(application)
    attributes = {**source.attributes, "model": card.to_dict()}
    names = chosen_compartments(card, compartment)
    # As the package spells it.
    wanted = "both" if len(names) == 2 else typed(names[0])

    with (
        BatchWriter(labels.path, attributes) as label_writer,
        BatchWriter(predictions.path, attributes) as prediction_writer,
        BatchWriter(preprocessed.path, attributes) as preprocessed_writer,
    ):

        def work(entry: Entry) -> None:
            image = _two_channels(source.read(entry, "image"), entry, names)
            mpp = _one_mpp(entry)
            _check_sides(entry.name, image.shape[:2], mpp, tile)
            with record.step("Mesmer.predict"):
                found = application.predict(image[np.newaxis], image_mpp=mpp, compartment=wanted)[0]
            shown = seen["preprocessed"][0]
            model_mpp, travels = _at_models_scale(entry, image.shape[:2], shown.shape[:2])
            label_writer.write(
                entry.name,
                {name: _canonical(found[..., i]) for i, name in enumerate(names)},
                axes=dict.fromkeys(names, "YX"),
                mpp=entry.mpp,
                **travels,
            )
            preprocessed_writer.write(
                entry.name,
                {"image": shown},
                axes={"image": "YXC"},
                mpp=model_mpp,
                channels=[channel.name for channel in card.input.channels],
                **travels,
            )
            heads = [head.name for head in card.heads]
            prediction_writer.write(
                entry.name,
                {name: head[0] for name, head in zip(heads, seen["predictions"], strict=True)},
                axes=dict.fromkeys(heads, "YXC"),
                mpp=model_mpp,
                **travels,
            )

        for_each_image(
            source,
            work,
            writers=[label_writer, prediction_writer, preprocessed_writer],
            record=record,
            on_bad_image=on_bad_image,
        )
    if "postprocessing" in seen:
        record.note(postprocessing=seen["postprocessing"])


def _load(folder: Path) -> Any:
    """Load the SavedModel as a Keras model into Mesmer's application."""
    if importlib.util.find_spec("deepcell") is None:
        raise CellmillError(
            "deepcell_reference runs in deepcell's own environment (images/deepcell), expected "
            "the package deepcell there, found none"
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    tf = extras.load("tensorflow", "deepcell_reference")
    applications = importlib.import_module("deepcell.applications")
    try:
        network = tf.keras.models.load_model(folder, compile=False)
        shape = network.input_shape
    except (OSError, ValueError, AttributeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise BadInput(
            f"model '{folder}'", expected="a SavedModel that Keras 2.8 loads", found=reason
        ) from error
    if len(shape) != 4 or None in shape[1:] or shape[-1] != 2:
        raise BadInput(f"model '{folder}'", expected="input (None, Y, X, 2)", found=str(shape))
    return applications.Mesmer(network)


def _watch(application: Any) -> dict[str, Any]:
    """Keep what the application's own steps give, each time it predicts.

    Returns:
        filled at each prediction: `preprocessed` `(1, Y', X', 2)`, `predictions` a list of
        `(1, Y', X', channels)`, `postprocessing` the parameters that took effect.
    """
    seen: dict[str, Any] = {}
    preprocess = application.preprocessing_fn
    name_heads = application.format_model_output_fn
    postprocess = application.postprocessing_fn

    @wraps(preprocess)
    def watched_preprocess(*args: Any, **kwargs: Any) -> Any:
        shown = preprocess(*args, **kwargs)
        seen["preprocessed"] = np.array(shown, dtype=np.float32)
        return shown

    @wraps(name_heads)
    def watched_heads(outputs: list[np.ndarray]) -> Any:
        seen["predictions"] = [np.array(head, dtype=np.float32) for head in outputs]
        return name_heads(outputs)

    @wraps(postprocess)
    def watched_postprocess(*args: Any, **kwargs: Any) -> Any:
        seen["postprocessing"] = {
            WHOLE_CELL: dict(kwargs["whole_cell_kwargs"]),
            NUCLEAR: dict(kwargs["nuclear_kwargs"]),
        }
        return postprocess(*args, **kwargs)

    application.preprocessing_fn = watched_preprocess
    application.format_model_output_fn = watched_heads
    application.postprocessing_fn = watched_postprocess
    return seen


def _check_heads(card: ModelCard, folder: Path) -> None:
    heads = tuple((head.compartment, head.kind, head.channels) for head in card.heads)
    if heads != _HEADS or len(card.input.channels) != 2:
        raise BadInput(
            f"model '{folder}'",
            expected="Mesmer's two channels and four heads (whole-cell inner distance and "
            "pixelwise, nuclear inner distance and pixelwise)",
            found=f"{len(card.input.channels)} channels, heads "
            + ", ".join(head.name for head in card.heads),
        )


def _two_channels(image: np.ndarray, entry: Entry, kinds: Sequence[str]) -> np.ndarray:
    """The channels that Mesmer is given, `(Y, X, 2)`; one of nuclei is enough to find nuclei."""
    if tuple(kinds) == (NUCLEAR,):
        chosen = np.asarray(selected_channels(image, entry))
        if chosen.shape[2] == 1:
            return np.concatenate([chosen, np.zeros_like(chosen)], axis=2)
    return np.asarray(selected_channels(image, entry, _CHANNELS, "Mesmer"))


def _one_mpp(entry: Entry) -> float | None:
    """Give the pixel size, None where unknown; Mesmer knows square pixels only."""
    if entry.mpp is None:
        return None
    y, x = entry.mpp
    if abs(y - x) > 1e-3 * max(y, x):
        raise BadInput(
            f"image '{entry.name}'", expected="square pixels", found=f"{y} × {x} µm (y, x)"
        )
    return float(y)


def _check_sides(
    name: str, shape: tuple[int, ...], mpp: float | None, tile: tuple[int, ...]
) -> None:
    """Refuse what the package crashes on: a line of pixels, sides both below and above a tile."""
    scale = 1.0 if mpp is None else mpp / MODEL_MPP
    sides = [int(side * scale) for side in shape]
    differences = [side - whole for side, whole in zip(sides, tile, strict=True)]
    if min(sides) < 2 or min(differences) < 0 < max(differences):
        raise BadInput(
            f"image '{name}'",
            expected=f"sides of at least 2 px at {MODEL_MPP} µm/px, and none above {tile[0]} where "
            "another is below (deepcell crashes on the rest)",
            found=f"{sides[0]} × {sides[1]} px",
        )


def _at_models_scale(
    entry: Entry, shape: tuple[int, ...], shown: tuple[int, ...]
) -> tuple[tuple[float, float] | None, dict[str, Any]]:
    """Give the pixel size at which the network saw an image, and what goes with all its arrays."""
    scale = [new / old for new, old in zip(shown, shape, strict=True)]
    mpp = (entry.mpp[0] / scale[0], entry.mpp[1] / scale[1]) if entry.mpp else None
    attributes = {
        **entry.attributes,
        "source_shape": list(shape),
        "source_mpp": list(entry.mpp) if entry.mpp else None,
        "scale": scale,
    }
    return mpp, {"mpp_source": entry.mpp_source, "attributes": attributes}


def _canonical(labels: np.ndarray) -> np.ndarray:
    """Number labels 1…n by the raster order of each object's first pixel, as int32."""
    ids, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.zeros(ids.size, dtype=np.int32)
    objects = np.flatnonzero(ids > 0)
    rank[objects[np.argsort(first[objects])]] = np.arange(1, objects.size + 1)
    return rank[inverse].reshape(labels.shape)
