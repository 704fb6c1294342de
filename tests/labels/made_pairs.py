"""Pairs of small label images, made at random."""

import itertools

import numpy as np

Pair = tuple[np.ndarray, np.ndarray]


def random_pairs(number: int, seed: int) -> list[Pair]:
    """Make pairs of small label images, labels 1…n, from independent to nearly equal."""
    rng = np.random.default_rng(seed)
    return [_random_pair(rng, index % 4) for index in range(number)]


def _random_pair(rng: np.random.Generator, kind: int) -> Pair:
    if kind == 3:
        truth = _strips(rng)
        predicted = _strips(rng) if rng.random() < 0.5 else truth.copy()
    else:
        truth = _boxes(rng)
        shift = tuple(int(step) for step in rng.integers(-2, 3, 2))
        predicted = _boxes(rng) if kind == 0 else np.roll(truth, shift, (0, 1))
    if kind:
        for _ in range(rng.integers(0, 8)):
            y, x = rng.integers(0, 30, 2)
            height, width = rng.integers(1, 12, 2)
            predicted[y : y + height, x : x + width] = rng.integers(0, 20)
    return _sequential(truth), _sequential(predicted)


def _boxes(rng: np.random.Generator) -> np.ndarray:
    labels = np.zeros((32, 40), np.int64)
    for label in range(1, rng.integers(1, 10)):
        y, x = rng.integers(0, 32, 2)
        height, width = rng.integers(2, 14, 2)
        labels[y : y + height, x : x + width] = label
    return labels


def _strips(rng: np.random.Generator) -> np.ndarray:
    """Cut rows of strips at whole tenths, so that IoUs of exactly 0.1, 0.5 and 0.6 occur."""
    labels = np.zeros((32, 40), np.int64)
    for y in range(0, 32, 4):
        cuts = np.unique(rng.integers(0, 21, rng.integers(2, 10))) * 2
        for left, right in itertools.pairwise(cuts):
            if rng.random() < 0.8:
                labels[y : y + rng.integers(1, 5), left:right] = labels.max() + 1
    return labels


def _sequential(labels: np.ndarray) -> np.ndarray:
    return (
        np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
        if (labels == 0).any()
        else np.unique(labels, return_inverse=True)[1].reshape(labels.shape) + 1
    )
