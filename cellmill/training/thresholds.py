"""The thresholds of a star-convex model: those that do best on the validation images."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cellmill.inference.tiled import PredictBatch
from cellmill.labels.kinds import Compartment
from cellmill.metrics import evaluate, pool
from cellmill.models.card import ModelCard
from cellmill.segmentation.methods import recipes_of, segment_one
from cellmill.training.accuracy import predict_heads, truth_of_kind
from cellmill.training.images import TrainingImage

PROBABILITIES = (0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7)
OVERLAPS = (0.3, 0.4, 0.5)
"""Values of `prob_threshold` and `nms_threshold` that are tried, all with all."""


def choose_thresholds(
    images: Sequence[TrainingImage], network: PredictBatch, card: ModelCard
) -> ModelCard:
    """Choose `prob_threshold` and `nms_threshold` of each kind of object.

    The greatest mean average precision over IoU 0.5 to 0.95 decides, pooled over all objects; of
    equal ones the first that was tried.

    Args:
        images: normalised, with labels.
        network: the model.
        card: its card, whose method is `stardist`.

    Returns:
        The card with the thresholds, and, under `training`, with what each pair reached.
    """
    maps = [predict_heads(image.image, network, card) for image in images]
    reached: dict[str, Any] = {}
    for kind in card.compartments:
        truths = [truth_of_kind(image.labels, card, kind) for image in images]
        scores = {}
        for pair in itertools.product(PROBABILITIES, OVERLAPS):
            values = dict(zip(("prob_threshold", "nms_threshold"), pair, strict=True))
            recipe = recipes_of(card, (kind,), parameters=values)[kind]
            results = [
                evaluate(truth, segment_one(heads, recipe, shape=truth.shape))
                for truth, heads in zip(truths, maps, strict=True)
            ]
            scores[pair] = pool(results)["pooled"]["mean_average_precision"]
        best = max(scores, key=lambda pair: scores[pair])
        card = card.with_postprocessing({kind: _with(card, kind, best)})
        reached[kind] = {f"{p:g}, {n:g}": round(score, 4) for (p, n), score in scores.items()}
    said = {"chosen_on": "the validation images", "mean_average_precision": reached}
    return replace(card, training={**card.training, "thresholds": said})


def _with(card: ModelCard, kind: Compartment, pair: tuple[float, float]) -> dict[str, Any]:
    values = {"prob_threshold": pair[0], "nms_threshold": pair[1]}
    return {**card.postprocessing[kind], **values}
