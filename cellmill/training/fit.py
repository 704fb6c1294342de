"""Fitting the network to images and label images.

The loss is that of Greenwald et al. 2022: squared error of the inner distance plus weighted cross
entropy of the pixel classes. A seed fixes the result to the bit on one machine, TensorFlow build
and number of threads (`keras.utils.set_random_seed`, op determinism, crops drawn in one sequence),
as long as no time limit ends the fit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellmill import extras
from cellmill.errors import BadInput, CellmillError
from cellmill.training.augmentation import (
    Augmentation,
    add_cytoplasm,
    random_crop,
    vary_objects,
    vary_picture,
)
from cellmill.training.crowding import crowd
from cellmill.training.network import STRIDE
from cellmill.training.targets import inner_distance, pixel_classes, pixel_weights

if TYPE_CHECKING:
    import keras

CLASS_WEIGHTS = (2.0, 1.0, 1.0)
"""Of edge, interior and background in the cross entropy: edges are few."""

_OBJECTS_VARIED = 0.6
"""Part of the crops in which single objects are made dimmer or brighter."""

_AVERAGE = 0.998
"""What each step keeps of the weights' running average, which is what is validated and kept."""

DISTANCE_WEIGHT = 10.0
"""Brings the squared error to the size of the cross entropy."""

Batch = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Pictures `(N, Y, X, C)`, inner distance, pixel classes (uint8) and weights, `(N, Y, X, K)` each
for K compartments."""


@dataclass(frozen=True)
class TrainingImage:
    """An image with its truth.

    Args:
        name: for messages.
        image: `(Y, X, C)` float32, normalised as the card will say.
        labels: `(Y, X)` int32, 0 is background; or `(Y, X, K)` for K compartments.
        hard_background: `(Y, X)` integer, non-zero on what looks like an object and is none; or
            `(Y, X, K)`.
        mpp: microns per pixel `(y, x)`; `None` if unknown.
    """

    name: str
    image: np.ndarray
    labels: np.ndarray
    hard_background: np.ndarray | None = None
    mpp: tuple[float, ...] | None = None


@dataclass(frozen=True)
class FitParameters:
    """How long and how the network is fitted.

    Args:
        steps: batches at most; the learning rate falls along a half cosine over all of them.
        batch_size: crops in a batch.
        crop: side of a crop in pixels, a multiple of `STRIDE`.
        learning_rate: the greatest, after a short warm-up.
        validate_every: steps between two looks at the validation images.
        patience: stop after so many looks without a better validation loss; 0 never stops early.
        seed: of everything random.
        time_limit_s: stop after this time; 0 is no limit. A run that it ends is not repeatable.
    """

    steps: int = 1000
    batch_size: int = 8
    crop: int = 192
    learning_rate: float = 3e-3
    validate_every: int = 100
    patience: int = 0
    seed: int = 0
    time_limit_s: float = 0.0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "validate_every"):
            if getattr(self, name) < 1:
                raise BadInput(name, expected="at least 1", found=f"{getattr(self, name)}")
        if self.crop < STRIDE or self.crop % STRIDE:
            raise BadInput("crop", expected=f"a multiple of {STRIDE}", found=f"{self.crop}")
        for name in ("patience", "seed", "time_limit_s"):
            if getattr(self, name) < 0:
                raise BadInput(name, expected="0 or more", found=f"{getattr(self, name)}")
        if not 0 < self.learning_rate < 1:
            raise BadInput("learning_rate", expected="0 to 1", found=f"{self.learning_rate}")


@dataclass(frozen=True)
class Look:
    """One look at the validation images.

    Args:
        step: steps done.
        loss: mean training loss since the last look; None at the first, before any step.
        validation_loss: loss on the validation images, unaugmented.
    """

    step: int
    loss: float | None
    validation_loss: float


@dataclass(frozen=True)
class Fit:
    """What a fit came to; the network holds the weights of the best look.

    Args:
        curve: every look.
        best_step: where the validation loss was least.
        stopped: `steps`, `patience` or `time limit`: what ended it.
    """

    curve: tuple[Look, ...]
    best_step: int
    stopped: str

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def seed_everything(seed: int) -> None:
    """Make what follows in this process repeatable; call it before building the network."""
    keras, tf = extras.load("keras", "training"), extras.load("tensorflow", "training")
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def fit(
    network: keras.Model,
    training: Sequence[TrainingImage],
    validation: Sequence[TrainingImage],
    parameters: FitParameters,
    augmentation: Augmentation,
    on_step: Callable[[int, float], None] | None = None,
) -> Fit:
    """Fit the network in place.

    Args:
        network: gives inner distance and pixel classes, in this order, for each compartment.
        training: images to draw crops from, each as often as another.
        validation: images never trained on.
        parameters: how long and how.
        augmentation: how crops vary.
        on_step: called with the steps done and the last loss.

    Raises:
        BadInput: there is nothing to train or to validate on.
        CellmillError: the loss is no longer a number.
    """
    for name, images in (("training images", training), ("validation images", validation)):
        if not any(image.labels.any() for image in images):
            raise BadInput(name, expected="at least one with objects", found="none")
    keras = extras.load("keras", "training")
    schedule = keras.optimizers.schedules.CosineDecay(
        parameters.learning_rate / 10,
        decay_steps=max(parameters.steps - parameters.steps // 20, 1),
        warmup_target=parameters.learning_rate,
        warmup_steps=parameters.steps // 20,
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=1e-4, global_clipnorm=1.0)
    optimizer.build(network.trainable_variables)
    step, loss_of = _compiled(network, optimizer)
    fixed = [_validation_batch(image) for image in validation]

    def validated() -> float:
        return float(np.mean([float(loss_of(*batch)) for batch in fixed]))

    # What a fine-tuning starts from may be the best.
    curve = [Look(0, None, validated())]
    losses: list[float] = []
    average = network.get_weights()
    best, best_step, stopped = network.get_weights(), 0, "steps"
    deadline = time.monotonic() + (parameters.time_limit_s or float("inf"))
    for done, batch in enumerate(_batches(training, parameters, augmentation), start=1):
        losses.append(float(step(*batch)))
        if not np.isfinite(losses[-1]):
            raise CellmillError(
                f"training: the loss is {losses[-1]} at step {done}; try a lower learning rate"
            )
        # Early weights are far from where the fit goes: the average forgets them sooner.
        share = 1 - min(_AVERAGE, done / (done + 10))
        for mean, weight in zip(average, network.get_weights(), strict=True):
            mean += share * (weight - mean)
        if on_step:
            on_step(done, losses[-1])
        late = time.monotonic() > deadline
        if done % parameters.validate_every and done < parameters.steps and not late:
            continue
        current = network.get_weights()
        network.set_weights(average)
        validation_loss = validated()
        curve.append(Look(done, float(np.mean(losses)), validation_loss))
        losses.clear()
        if validation_loss <= min(look.validation_loss for look in curve):
            best, best_step = network.get_weights(), done
        network.set_weights(current)
        looks_since = (done - best_step) // parameters.validate_every
        if late or (parameters.patience and looks_since >= parameters.patience):
            stopped = "time limit" if late else "patience"
            break
    network.set_weights(best)
    return Fit(tuple(curve), best_step, stopped)


def _compiled(
    network: keras.Model, optimizer: Any
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The training step and the loss, as TensorFlow functions of a `Batch`."""
    tf = extras.load("tensorflow", "training")
    class_weights = tf.constant(CLASS_WEIGHTS, tf.float32)

    def loss_of(
        pictures: Any, distance: Any, classes: Any, weights: Any, training: bool = False
    ) -> Any:
        heads = network(pictures, training=training)
        losses = []
        for k, (predicted, probabilities) in enumerate(zip(heads[::2], heads[1::2], strict=True)):
            squared = tf.square(predicted[..., 0] - distance[..., k])
            truth = tf.one_hot(classes[..., k], len(CLASS_WEIGHTS))
            entropy = -tf.reduce_sum(truth * class_weights * tf.math.log(probabilities + 1e-6), -1)
            loss = tf.reduce_mean(weights[..., k] * (DISTANCE_WEIGHT * squared + entropy))
            losses.append(loss)
        return tf.add_n(losses)

    @tf.function(reduce_retracing=True)
    def step(pictures: Any, distance: Any, classes: Any, weights: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(pictures, distance, classes, weights, training=True)
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
        return loss

    return step, tf.function(loss_of, reduce_retracing=True)


def _batches(
    images: Sequence[TrainingImage], parameters: FitParameters, augmentation: Augmentation
) -> Iterator[Batch]:
    """Batches of crops in one fixed sequence; the next is made while one is trained on."""
    random = np.random.default_rng(parameters.seed)

    def make() -> Batch:
        chosen = random.integers(len(images), size=parameters.batch_size)
        return _stack([_crop(images[i], parameters.crop, random, augmentation) for i in chosen])

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(make)
        for left in reversed(range(parameters.steps)):
            batch = coming.result()
            if left:
                coming = pool.submit(make)
            yield batch


def _crop(
    image: TrainingImage, size: int, random: np.random.Generator, augmentation: Augmentation
) -> Batch:
    truth, hard = _planes(image.labels), _planes(image.hard_background)
    picture, cut = random_crop(image.image, truth + hard, size, random, augmentation)
    labels, others = np.stack(cut[: len(truth)], -1), cut[len(truth) :]
    if random.random() < augmentation.crowding:
        picture, labels = crowd(picture, labels, random, condensed=augmentation.condensed)
    if random.random() < _OBJECTS_VARIED:
        picture = vary_objects(picture, labels[..., 0], random, augmentation)
    if augmentation.cytoplasm and random.random() < augmentation.cytoplasm:
        picture = add_cytoplasm(picture, labels[..., 0], random, augmentation)
    return _taught(vary_picture(picture, random, augmentation), labels, others)


def _validation_batch(image: TrainingImage) -> Batch:
    """The whole image, cut to multiples of `STRIDE` (mirrored up to one if it is smaller)."""
    y, x = image.labels.shape[:2]
    if min(y, x) < STRIDE:
        pad = [(0, max(STRIDE - y, 0)), (0, max(STRIDE - x, 0))]
        labels = np.pad(image.labels, [*pad, (0, 0)][: image.labels.ndim])
        picture = np.pad(image.image, [*pad, (0, 0)], mode="symmetric")
        return _validation_batch(TrainingImage(image.name, picture, labels))
    y, x = y // STRIDE * STRIDE, x // STRIDE * STRIDE
    hard = [plane[:y, :x] for plane in _planes(image.hard_background)]
    return _stack([_taught(image.image[:y, :x], image.labels[:y, :x], hard)])


def _planes(labels: np.ndarray | None) -> list[np.ndarray]:
    """The label images of an array `(Y, X)` or `(Y, X, K)`, `(Y, X)` each; none of None."""
    if labels is None:
        return []
    return [labels] if labels.ndim == 2 else list(np.moveaxis(labels, -1, 0))


def _taught(picture: np.ndarray, labels: np.ndarray, hard: Sequence[np.ndarray]) -> Batch:
    """A picture and what its labels teach; one plane of `hard` goes for all of them."""
    planes = _planes(labels)
    one = [hard[0] if hard else None] * len(planes)
    others = hard if len(hard) == len(planes) else one
    weights = [pixel_weights(p, other) for p, other in zip(planes, others, strict=True)]
    return (
        picture.astype(np.float32),
        np.stack([inner_distance(plane) for plane in planes], -1),
        np.stack([pixel_classes(plane) for plane in planes], -1),
        np.stack(weights, -1),
    )


def _stack(crops: Sequence[Batch]) -> Batch:
    pictures, distances, classes, weights = (np.stack(part) for part in zip(*crops, strict=True))
    return pictures, distances, classes, weights
