"""Whether transfer helps: what a network that was trained on Y finds in what was made of X.

Losses do not say it: a generator of the least adversarial loss may be worse than matching two
numbers. So every candidate, matching among them, is scored by a task on tissue that no training
saw, and the best is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cellmill.errors import BadInput
from cellmill.style_transfer.augmentation import varied
from cellmill.style_transfer.network import HALO, build_generator, repeatable

Score = tuple[float, float]
"""F1 at a threshold, and average precision."""

#: Thresholds of a probability among which the task's own domain chooses.
_THRESHOLDS = np.linspace(0.05, 0.95, 19)


@dataclass(frozen=True)
class Row:
    """One candidate's figures.

    Args:
        name: of what was done to X.
        f1: of the task's pixels at the threshold of its own domain, on the planes that choose.
        average_precision: of the task's pixels there, whatever the threshold.
        f1_apart: F1 on planes that choose nothing.
        average_precision_apart: average precision there.
        step: of a training's checkpoint; -1 of others.
    """

    name: str
    f1: float = math.nan
    average_precision: float = math.nan
    f1_apart: float = math.nan
    average_precision_apart: float = math.nan
    step: int = -1

    @property
    def figures(self) -> tuple[float, float, float, float]:
        """F1 and average precision where candidates are chosen, and the same apart."""
        return self.f1, self.average_precision, self.f1_apart, self.average_precision_apart

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Planes:
    """Planes of a domain with what is to be found in them.

    Args:
        grey: `(N, n, n)` uint8.
        truth: `(N, n, n)` bool; empty where it is not known.
    """

    grey: np.ndarray
    truth: np.ndarray


@dataclass(frozen=True)
class TaskNetwork:
    """A small network that finds something (membranes) in planes of one domain.

    Args:
        network: gives a logit a pixel, `HALO` less at each side.
        levels: mean and standard deviation of its domain.
        threshold: of its probability, the best on its own domain.
    """

    network: Any
    levels: tuple[float, float]
    threshold: float

    def probabilities(self, planes: np.ndarray) -> np.ndarray:
        """What it finds, `(N, n - 40, n - 40)`, in planes `(N, n, n)` of grey values."""
        mean, sd = self.levels
        found = [
            np.asarray(self.network(((some - mean) / sd)[..., None].astype(np.float32)))[..., 0]
            for some in np.array_split(planes, max(1, len(planes) // 4))
        ]
        return 1 / (1 + np.exp(-np.concatenate(found).astype(np.float64)))


def train_task(
    taught: Planes,
    levels: tuple[float, float],
    *,
    steps: int = 200,
    batch_size: int = 8,
    crop: int = 80,
    width: int = 4,
    seed: int = 0,
) -> TaskNetwork:
    """Train a small network on labelled planes.

    Args:
        taught: planes, with their truth.
        levels: mean and standard deviation of the domain.
        steps: batches.
        batch_size: crops in a batch.
        crop: side of a crop, a multiple of 4.
        width: channels at full resolution.
        seed: of everything random.

    Raises:
        BadInput: there is nothing to find, or planes are too small.
    """
    planes, truth = taught.grey, taught.truth
    if not truth.any() or truth.all():
        raise BadInput("truth", expected="both what is to be found and what is not", found="one")
    if min(planes.shape[1:]) < crop:
        expected = f"planes of at least {crop} px"
        raise BadInput("task", expected=expected, found=f"{planes.shape[1:]}")
    keras, tf = repeatable(seed)
    network = build_generator(width, residual=False, name="task")
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, steps))
    weight = float((~truth).sum() / truth.sum())

    @tf.function(reduce_retracing=True, autograph=False)
    def step(images: Any, wanted: Any) -> Any:
        with tf.GradientTape() as tape:
            logits = network(images, training=True)[..., 0]
            loss = tf.reduce_mean(
                tf.nn.weighted_cross_entropy_with_logits(wanted, logits, min(weight, 10.0))
            )
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
        return loss

    random = np.random.default_rng(seed)
    inner = slice(HALO, crop - HALO)
    for _ in range(steps):
        images, wanted = [], []
        for _ in range(batch_size):
            n = random.integers(len(planes))
            y, x = (int(random.integers(side - crop + 1)) for side in planes.shape[1:])
            window = (n, slice(y, y + crop), slice(x, x + crop))
            grey = (planes[window].astype(np.float32) - levels[0]) / levels[1]
            image, mask = varied(random, grey, truth[window])
            images.append(image[..., None])
            wanted.append(mask[inner, inner])
        step(np.stack(images), np.stack(wanted).astype(np.float32))
    task = TaskNetwork(network, levels, 0.5)
    found, seen = task.probabilities(planes), inside(truth)
    best = max(_THRESHOLDS, key=lambda t: f1_score(found >= t, seen))
    return TaskNetwork(network, levels, float(best))


def score(task: TaskNetwork, planes: np.ndarray, truth: np.ndarray) -> Score:
    """What a task's network finds in planes, against the truth there.

    Args:
        task: the network.
        planes: `(N, m, m)` grey values, which are clipped and rounded.
        truth: `(N, m, m)` bool; `HALO` at each side is not scored.
    """
    found = task.probabilities(np.clip(np.rint(planes), 0, 255))
    seen = inside(truth)
    return f1_score(found >= task.threshold, seen), average_precision(found, seen)


def choose(rows: Sequence[Row]) -> Row:
    """The candidate of the greatest F1, as the network is used; of equals the first.

    Its figures on the planes that chose it are the best of several, and so too good; those on
    planes apart are not.
    """
    return max(rows, key=lambda row: row.f1)


def gate_row(
    task: TaskNetwork,
    name: str,
    make: Callable[[np.ndarray], np.ndarray],
    choosing: Planes,
    apart: Planes,
    step: int = -1,
) -> Row:
    """Score a candidate on held-out planes.

    Args:
        task: of the target domain.
        name: of the candidate.
        make: makes `(N, n - 40, n - 40)` grey values of `(N, n, n)` uint8.
        choosing: planes of the source domain that choose among candidates.
        apart: planes that choose nothing.
        step: of a training's checkpoint.
    """
    chosen, confirmed = (
        score(task, make(planes.grey), inside(planes.truth)) for planes in (choosing, apart)
    )
    return Row(name, *chosen, *confirmed, step)


def inside(planes: np.ndarray, margin: int = HALO) -> np.ndarray:
    """Planes without a margin."""
    return planes[:, margin : planes.shape[1] - margin, margin : planes.shape[2] - margin]


def f1_score(found: np.ndarray, truth: np.ndarray) -> float:
    """2 × both / (found + true) of pixels; 1 where both are empty.

    Example:
        >>> f1_score(np.array([True, True, False]), np.array([True, False, False]))
        0.6666666666666666
    """
    total = int(found.sum()) + int(truth.sum())
    return 2 * int((found & truth).sum()) / total if total else 1.0


def average_precision(probability: np.ndarray, truth: np.ndarray) -> float:
    """The mean precision at each true pixel, pixels in falling order of probability.

    Equal probabilities count as one threshold, as in scikit-learn.

    Example:
        >>> average_precision(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]))
        0.8333333333333333
    """
    order = np.argsort(-probability, axis=None, kind="stable")
    hits, values = truth.ravel()[order], probability.ravel()[order]
    last = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)
    true = np.cumsum(hits)[last]
    if not true.size or not true[-1]:
        return 0.0
    gained = np.diff(true, prepend=0)
    return float((gained * true / (last + 1)).sum() / true[-1])
