"""How many trees, how deep, and which features: the cheapest forest that is about as accurate.

Accuracy is that of the pixels that a tree was not shown (out of bag). Cost is an estimate from
counts, the same on every machine, of nanoseconds a pixel on one core.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellmill import extras
from cellmill.compute.threads import thread_count
from cellmill.pixel_classification.feature_set import FeatureSet, scales

TREES = (10, 20, 40, 80)
DEPTHS = (6, 9, 14)
"""What is tried; the deepest that `Forest` takes is deeper by far."""
LOSS = 0.004
"""So much accuracy may be lost for speed, or its standard error where that is more: out of bag a
pixel is judged by about a third of the trees, so that fewer trees look worse than they are."""
#: Features that are tried without the least important ones, as parts of all filters.
_PARTS = (0.75, 0.5, 0.3)

#: Nanoseconds of a weight of a blur, of a value that is derived, and of a node on a pixel's way, on
#: one core: `make bench-pixels` measures what they add up to.
_BLUR_NS, _VALUE_NS, _NODE_NS = 0.15, 3.0, 0.75


@dataclass(frozen=True)
class Samples:
    """Pixels of known class.

    Args:
        values: `(n, F)` float32.
        classes: `(n,)` integers, 0 to K - 1.
    """

    values: np.ndarray
    classes: np.ndarray


@dataclass(frozen=True)
class Tried:
    """What was tried, for a person.

    Args:
        trees: how many.
        depth: the greatest.
        filters: how many filters there were.
        out_of_bag: accuracy on pixels that a tree was not shown.
        nanoseconds: estimated cost a pixel on one core.
        chosen: whether it was taken.
    """

    trees: int
    depth: int
    filters: int
    out_of_bag: float
    nanoseconds: float
    chosen: bool = False


def fitted(samples: Samples, trees: int, depth: int, seed: int) -> Any:
    """A random forest of scikit-learn's, fitted.

    Raises:
        BadInput: scikit-learn is not installed.
    """
    ensemble = extras.load("sklearn.ensemble", "training a pixel classifier")
    forest = ensemble.RandomForestClassifier(
        n_estimators=trees, max_depth=depth, random_state=seed, n_jobs=thread_count()
    )
    return forest.fit(samples.values, samples.classes)


def out_of_bag(forest: Any, samples: Samples, counts: Sequence[int]) -> dict[int, float]:
    """Accuracy of the first so many trees of a forest on pixels that each was not shown.

    Args:
        forest: fitted on `samples`.
        samples: what it was fitted on.
        counts: of trees, ascending.
    """
    values, classes = samples.values, samples.classes
    votes = np.zeros((len(classes), int(classes.max()) + 1))
    found = {}
    for place, (tree, drawn) in enumerate(
        zip(forest.estimators_, forest.estimators_samples_, strict=True), 1
    ):
        unseen = np.ones(len(classes), bool)
        unseen[drawn] = False
        # A tree may have drawn every one of few pixels.
        if unseen.any():
            votes[unseen] += tree.predict_proba(values[unseen])
        if place in counts:
            judged = votes.any(axis=1)
            right = votes[judged].argmax(axis=1) == classes[judged]
            found[place] = float(right.mean()) if judged.any() else 0.0
    return found


def cost(wanted: FeatureSet, forest: Any, samples: Samples, trees: int) -> float:
    """Estimated nanoseconds a pixel on one core of features and the first trees of a forest."""
    taps = 0
    for _, sigma, tensor in scales(wanted):
        several = (3 if wanted.axes == 2 else 6) if tensor else 1
        taps += several * sum(2 * radius + 1 for radius in wanted.radii(sigma))
    shown = samples.values[:: max(1, len(samples.values) // 2000)]
    ways = [tree.decision_path(shown).sum() / len(shown) for tree in forest.estimators_[:trees]]
    return _BLUR_NS * taps + _VALUE_NS * wanted.count + _NODE_NS * float(sum(ways))


def choose(
    samples: Samples,
    wanted: FeatureSet,
    seed: int,
    trees: int = 0,
    depth: int = 0,
) -> tuple[FeatureSet, int, int, list[Tried]]:
    """Choose trees, depth and features by accuracy out of bag against speed.

    Args:
        samples: pixels of known class with all features.
        wanted: all features.
        seed: of the forests.
        trees: how many; 0 chooses.
        depth: the greatest; 0 chooses.

    Returns:
        The features that stay, the number of trees, the depth, and what was tried.
    """
    tried: list[Tried] = []
    counts = (trees,) if trees else TREES
    importance = np.zeros(wanted.count)
    for deep in (depth,) if depth else DEPTHS:
        forest = fitted(samples, max(counts), deep, seed)
        for count, accuracy in out_of_bag(forest, samples, counts).items():
            spent = cost(wanted, forest, samples, count)
            tried.append(Tried(count, deep, len(wanted.features), accuracy, spent))
        importance = forest.feature_importances_
    first = _cheapest(tried, len(samples.classes))
    options = {len(wanted.features): wanted}
    for kept in _without_least(wanted, importance):
        narrowed = _only(samples, wanted, kept)
        forest = fitted(narrowed, first.trees, first.depth, seed)
        accuracy = out_of_bag(forest, narrowed, (first.trees,))[first.trees]
        spent = cost(kept, forest, narrowed, first.trees)
        tried.append(Tried(first.trees, first.depth, len(kept.features), accuracy, spent))
        options[len(kept.features)] = kept
    best = _cheapest(tried, len(samples.classes))
    shown = [Tried(**{**vars(each), "chosen": each is best}) for each in tried]
    return options[best.filters], best.trees, best.depth, shown


def _cheapest(tried: Sequence[Tried], pixels: int) -> Tried:
    """The cheapest of those that are as accurate as the best, or nearly so."""
    best = max(each.out_of_bag for each in tried)
    error = float(np.sqrt(best * (1 - best) / pixels))
    enough = [each for each in tried if each.out_of_bag >= best - max(LOSS, error)]
    return min(enough, key=lambda each: each.nanoseconds)


def importance_of(wanted: FeatureSet, importance: np.ndarray) -> np.ndarray:
    """The importance of each filter, that of its values together."""
    ends = np.cumsum([wanted.values_of(feature) for feature in wanted.features])
    found: np.ndarray = np.diff(np.concatenate([[0.0], np.cumsum(importance)])[[0, *ends]])
    return found


def _without_least(wanted: FeatureSet, importance: np.ndarray) -> list[FeatureSet]:
    """The features without so many of the least important filters."""
    order = np.argsort(-importance_of(wanted, importance), kind="stable")
    counts = dict.fromkeys(max(1, round(part * len(order))) for part in _PARTS)
    found = []
    for count in counts:
        if count < len(order):
            kept = tuple(wanted.features[place] for place in sorted(order[:count]))
            found.append(FeatureSet(kept, wanted.axes, wanted.z_spacing))
    return found


def _only(samples: Samples, wanted: FeatureSet, kept: FeatureSet) -> Samples:
    return Samples(samples.values[:, columns_of(wanted, kept)], samples.classes)


def columns_of(wanted: FeatureSet, kept: FeatureSet) -> np.ndarray:
    """Where the values of some features lie among those of all."""
    places: list[int] = []
    start = 0
    chosen = set(kept.features)
    for feature in wanted.features:
        count = wanted.values_of(feature)
        if feature in chosen:
            places += range(start, start + count)
        start += count
    return np.array(places, np.int64)
