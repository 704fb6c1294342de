"""The thresholds of a model's method: those that do best on the validation images."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cellmill.inference.tiled import PredictBatch
from cellmill.metrics import evaluate, pool
from cellmill.models.card import ModelCard
from cellmill.segmentation.methods import recipes_of, segment_one
from cellmill.training.accuracy import predict_heads, truth_of_kind
from cellmill.training.images import TrainingImage

STAR_CONVEX = {
    "prob_threshold": (0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7),
    "nms_threshold": (0.3, 0.4, 0.5),
}
"""Of a star-convex model what is tried, all with all."""

VOLUMES = {"maxima_threshold": (0.05, 0.1, 0.2), "interior_threshold": (0.3, 0.4, 0.5, 0.6)}
"""Of a network of volumes what is tried, all with all."""


def choose_thresholds(
    images: Sequence[TrainingImage],
    network: PredictBatch,
    card: ModelCard,
    tried: Mapping[str, Sequence[float]],
) -> ModelCard:
    """Choose thresholds of each kind of object.

    The greatest mean average precision over IoU 0.5 to 0.95 decides, pooled over all objects; of
    equal ones the first that was tried.

    Args:
        images: normalised, with labels.
        network: the model.
        card: its card.
        tried: values of parameters of its method, by name.

    Returns:
        The card with the thresholds, and, under `training`, with what each choice reached.
    """
    maps = [predict_heads(image.image, network, card) for image in images]
    reached: dict[str, Any] = {}
    for kind in card.compartments:
        truths = [truth_of_kind(image.labels, card, kind) for image in images]
        scores = {}
        for pair in itertools.product(*tried.values()):
            values = dict(zip(tried, pair, strict=True))
            recipe = recipes_of(card, (kind,), parameters=values)[kind]
            results = [
                evaluate(truth, segment_one(heads, recipe, shape=truth.shape))
                for truth, heads in zip(truths, maps, strict=True)
            ]
            scores[pair] = pool(results)["pooled"]["mean_average_precision"]
        best = max(scores, key=lambda pair: scores[pair])
        chosen = dict(zip(tried, best, strict=True))
        card = card.with_postprocessing({kind: {**card.postprocessing[kind], **chosen}})
        reached[kind] = {
            ", ".join(f"{value:g}" for value in pair): round(score, 4)
            for pair, score in scores.items()
        }
    said = {"chosen_on": "the validation images", "mean_average_precision": reached}
    return replace(card, training={**card.training, "thresholds": said})
