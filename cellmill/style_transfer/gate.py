"""Whether transfer helps: what a network that was trained on Y finds in what was made of X.

Losses do not say it: a generator of the least adversarial loss may be worse than matching two
numbers. So every candidate, matching among them, is scored by a task on tissue that no training
saw. A checkpoint is taken only if it is better there than the best matching by more than chance:
squares of the planes are drawn anew with replacement (the bootstrap of Efron and Tibshirani 1993),
the same for both, and the least lead that they show has to be above 0. Checkpoints share the level
(Bonferroni), for the best of many leads by chance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import numpy as np

from cellmill.errors import BadInput
from cellmill.style_transfer.augmentation import varied
from cellmill.style_transfer.network import build_generator, reach_of, repeatable

Score = tuple[float, float]
"""F1 at a threshold, and average precision."""

#: Thresholds of a probability among which the task's own domain chooses.
_THRESHOLDS = np.linspace(0.05, 0.95, 19)

MARGIN = reach_of(2).halo
"""Pixels at each side of a plane for which no task says anything; the gate's own are of depth 2."""

CHANCE = 0.05
"""How likely a checkpoint may be taken that is no better than matching; of all of them together."""

#: Side of the squares at most that are drawn anew, pixels, and how often they are.
_SQUARE, _DRAWN = 24, 4000


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
        lead: F1 above that of the best matching, on the planes that choose; of checkpoints.
        least_lead: what it is at least, by the level of `choose`.
    """

    name: str
    f1: float = math.nan
    average_precision: float = math.nan
    f1_apart: float = math.nan
    average_precision_apart: float = math.nan
    step: int = -1
    lead: float = math.nan
    least_lead: float = math.nan

    @property
    def figures(self) -> tuple[float, float, float, float]:
        """F1 and average precision where candidates are chosen, and the same apart."""
        return self.f1, self.average_precision, self.f1_apart, self.average_precision_apart

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Scored:
    """A candidate's figures and what they come of.

    Args:
        row: the figures.
        squares: `(N, 3)` int64, pixels that are both found and true, that are found, and that are
            true, in each square of the planes that choose.
    """

    row: Row
    squares: np.ndarray


@dataclass(frozen=True)
class Planes:
    """Planes of a domain with what is to be found in them.

    Args:
        grey: `(N, n, n)` uint8; or `(N, 2 k + 1, n, n)`, each between `k` sections above and below,
            where something that sees volumes is to be scored.
        truth: `(N, n, n)` bool; empty where it is not known.
    """

    grey: np.ndarray
    truth: np.ndarray


class Task(Protocol):
    """What finds something in planes of the target domain."""

    @property
    def threshold(self) -> float:
        """From which probability on a pixel counts as found."""

    def probabilities(self, planes: np.ndarray, /) -> np.ndarray:
        """What it finds in planes `(N, n, n)` of grey values, `MARGIN` less at each side."""


@dataclass(frozen=True)
class TaskNetwork:
    """A small network that finds something (membranes) in planes of one domain.

    Args:
        network: gives a logit a pixel, `MARGIN` less at each side.
        levels: mean and standard deviation of its domain.
        threshold: of its probability, the best on its own domain.
    """

    network: Any
    levels: tuple[float, float]
    threshold: float

    def probabilities(self, planes: np.ndarray) -> np.ndarray:
        """What it finds in planes `(N, n, n)` of grey values, `MARGIN` less at each side."""
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
    inner = slice(MARGIN, crop - MARGIN)
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
    return replace(
        task, threshold=best_threshold(task.probabilities(planes), inside(truth, MARGIN))
    )


def best_threshold(probability: np.ndarray, truth: np.ndarray) -> float:
    """Of a few thresholds of a probability that of the greatest F1, the least of several."""
    return float(max(_THRESHOLDS, key=lambda t: f1_score(probability >= t, truth)))


def score(task: Task, planes: np.ndarray, truth: np.ndarray) -> Score:
    """What a task's network finds in planes, against the truth there.

    Args:
        task: the network.
        planes: `(N, m, m)` grey values, which are clipped and rounded.
        truth: `(N, m, m)` bool; `MARGIN` at each side is not scored.
    """
    return _score(task, planes, truth)[0]


def _score(task: Task, planes: np.ndarray, truth: np.ndarray) -> tuple[Score, np.ndarray]:
    """The score, and the counts of squares that it comes of."""
    probability = task.probabilities(np.clip(np.rint(planes), 0, 255))
    found, seen = probability >= task.threshold, inside(truth, MARGIN)
    return (f1_score(found, seen), average_precision(probability, seen)), in_squares(found, seen)


def in_squares(found: np.ndarray, truth: np.ndarray, side: int = _SQUARE) -> np.ndarray:
    """Count pixels in squares.

    Args:
        found: `(N, Y, X)` bool.
        truth: of the same shape.
        side: of a square at most; each plane is cut into 2 by 2 or more, as alike as can be.

    Returns:
        `(squares, 3)` int64: both found and true, found, true.
    """
    total = np.stack([found & truth, found, truth], -1).astype(np.int64)
    for axis in (1, 2):
        count = max(2, -(-total.shape[axis] // side))
        starts = np.arange(count) * total.shape[axis] // count
        total = np.add.reduceat(total, starts, axis)
    return total.reshape(-1, 3)


def least_lead(of: np.ndarray, over: np.ndarray, chance: float) -> float:
    """What F1 is above another's at least, squares drawn anew with replacement, the same for both.

    Args:
        of: counts of squares, as `in_squares` gives them.
        over: of the other in the same squares.
        chance: how likely the lead may be smaller.
    """
    random = np.random.default_rng(0)
    weights = random.multinomial(len(of), np.full(len(of), 1 / len(of)), _DRAWN)
    leads = _f1(weights @ of) - _f1(weights @ over)
    return float(np.quantile(leads, chance))


def _f1(counts: np.ndarray) -> np.ndarray:
    """F1 of counts `(…, 3)`, as `f1_score` has it."""
    total = counts[..., 1] + counts[..., 2]
    return np.where(total > 0, 2 * counts[..., 0] / np.maximum(total, 1), 1.0)


def choose(matched: Sequence[Scored], learnt: Sequence[Scored]) -> tuple[Row, list[Row]]:
    """The checkpoint of the greatest F1 of those that lead beyond chance; else the best matching.

    Its figures on the planes that chose it are the best of several, and so too good; those on
    planes apart are not.

    Args:
        matched: ways of matching, of which the first of the greatest F1 is the one to beat.
        learnt: checkpoints, scored on the same planes.

    Returns:
        What is taken, and the checkpoints with their leads.
    """
    best = max(matched, key=lambda each: each.row.f1)
    rows = [
        replace(
            each.row,
            lead=each.row.f1 - best.row.f1,
            least_lead=least_lead(each.squares, best.squares, CHANCE / len(learnt)),
        )
        for each in learnt
    ]
    ahead = [row for row in rows if row.least_lead > 0]
    return max(ahead, key=lambda row: row.f1, default=best.row), rows


def gate_row(
    task: Task,
    name: str,
    make: Callable[[np.ndarray], np.ndarray],
    choosing: Planes,
    apart: Planes,
    step: int = -1,
) -> Scored:
    """Score a candidate on held-out planes.

    Args:
        task: of the target domain.
        name: of the candidate.
        make: makes grey values `(N, m, m)` of what `Planes.grey` is.
        choosing: planes of the source domain that choose among candidates.
        apart: planes that choose nothing.
        step: of a training's checkpoint.
    """
    scores = []
    for planes in (choosing, apart):
        made = make(planes.grey)
        margin = (planes.grey.shape[-1] - made.shape[-1]) // 2
        scores.append(_score(task, made, inside(planes.truth, margin)))
    (chosen, squares), (confirmed, _) = scores
    return Scored(Row(name, *chosen, *confirmed, step), squares)


def between(planes: np.ndarray, sections: int = 0) -> np.ndarray:
    """Planes `(N, n, n)` of what `Planes.grey` is, or each between so many sections.

    Returns:
        `(N, n, n)`; `(N, 2 sections + 1, n, n)` if there are to be any.
    """
    if planes.ndim == 3:
        return planes
    middle = planes.shape[1] // 2
    return planes[:, middle - sections : middle + sections + 1] if sections else planes[:, middle]


def inside(planes: np.ndarray, margin: int) -> np.ndarray:
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
