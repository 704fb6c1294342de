"""How well a model segments images with truth, measured along the path that users' images take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cellmill.compartments import COMPARTMENTS, Compartment
from cellmill.inference.tiled import PredictBatch, predict_tiled
from cellmill.inference.tiles import TileGrid
from cellmill.metrics import evaluate, pool
from cellmill.models.card import ModelCard
from cellmill.segmentation.compartment import segment
from cellmill.training.fit import TrainingImage
from cellmill.version import __version__

REPORTED_IOUS = (0.5, 0.7, 0.9)


def predict_heads(
    image: np.ndarray, network: PredictBatch, card: ModelCard
) -> dict[str, np.ndarray]:
    """The maps of a normalised image, predicted tile by tile.

    Args:
        image: `(Y, X, C)` float32, preprocessed as the card asks for.
        network: the model, as `cellmill.inference.savedmodel.load` gives it.
        card: its card.

    Returns:
        `(Y, X, C)` float32 by head.
    """
    grid = TileGrid.over(
        (image.shape[0], image.shape[1]),
        card.input.tile,
        overlap=card.tiling.overlap,
        padding=card.tiling.padding,
    )
    heads = {h.name: np.zeros((*grid.shape, h.channels), np.float32) for h in card.heads}
    predict_tiled(image, network, grid, list(heads.values()))
    return heads


def segment_image(
    image: np.ndarray, network: PredictBatch, card: ModelCard, compartment: Compartment
) -> np.ndarray:
    """Segment a normalised image: tiles, network, deep watershed, by the card's parameters.

    Args:
        image: `(Y, X, C)` float32, preprocessed as the card asks for.
        network: the model, as `cellmill.inference.savedmodel.load` gives it.
        card: its card.
        compartment: what to segment.

    Returns:
        `(Y, X)` int32 labels.
    """
    heads = predict_heads(image, network, card)
    return segment(heads, card.postprocessing[compartment])


def measure_accuracy(
    images: Sequence[TrainingImage],
    network: PredictBatch,
    card: ModelCard,
    compartment: Compartment,
) -> dict[str, Any]:
    """Score a model on images with truth.

    Args:
        images: normalised, with labels `(Y, X)`, or `(Y, X, 2: whole cells, nuclei)`.
        network: the model.
        card: its card.
        compartment: what is segmented and scored.

    Returns:
        JSON values: `measured`, how; `images`, `objects`, `predicted`; pooled over all objects
        `average_precision` (TP / (TP + FP + FN)) by IoU threshold, `average_precision_mean` over
        0.5 … 0.95, `panoptic_quality`; and `average_precision_0.5_by_image`.
    """
    results = [
        evaluate(_truth(i.labels, compartment), segment_image(i.image, network, card, compartment))
        for i in images
    ]
    pooled = pool(results)["pooled"]
    return {
        "measured": f"tiles, network, deep watershed, cellmill.metrics {__version__}, by the stage "
        "that wrote this card",
        "images": len(images),
        "objects": pooled["n_truth"],
        "predicted": pooled["n_predicted"],
        "average_precision": _by_threshold(pooled),
        "average_precision_mean": round(pooled["mean_average_precision"], 4),
        "panoptic_quality": round(pooled["panoptic_quality"], 4),
        "average_precision_0.5_by_image": {
            image.name: _by_threshold(result)["0.5"]
            for image, result in zip(images, results, strict=True)
        },
    }


def _truth(labels: np.ndarray, compartment: Compartment) -> np.ndarray:
    return labels[..., COMPARTMENTS.index(compartment)] if labels.ndim == 3 else labels


def _by_threshold(result: dict[str, Any]) -> dict[str, float]:
    found = {round(m["iou_threshold"], 2): m["average_precision"] for m in result["matching"]}
    return {f"{iou}": round(found[iou], 4) for iou in REPORTED_IOUS}
