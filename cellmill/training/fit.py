"""Fitting the network to images and label images.

What it is taught is an objective's. A seed fixes the result to the bit on one machine, TensorFlow
build and number of threads (`keras.utils.set_random_seed`, op determinism, crops drawn in one
sequence), as long as no time limit ends the fit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellmill import extras
from cellmill.errors import BadInput, CellmillError, check_least
from cellmill.training.augmentation import Augmentation
from cellmill.training.images import TrainingImage
from cellmill.training.instances import INSTANCES
from cellmill.training.network import STRIDE
from cellmill.training.objective import Objective, Taught

if TYPE_CHECKING:
    import keras

_AVERAGE = 0.998
"""What each step keeps of the weights' running average, which is what is validated and kept."""


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
        check_least(self, ("steps", "batch_size", "validate_every"), 1)
        if self.crop < STRIDE or self.crop % STRIDE:
            raise BadInput("crop", expected=f"a multiple of {STRIDE}", found=f"{self.crop}")
        check_least(self, ("patience", "seed", "time_limit_s"), 0)
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


def diverged(loss: float, step: int) -> CellmillError:
    """What to raise where a loss is no longer a number."""
    return CellmillError(f"training: the loss is {loss} at step {step}; try a lower learning rate")


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
    objective: Objective = INSTANCES,
) -> Fit:
    """Fit the network in place.

    Args:
        network: gives the heads that the objective compares.
        training: images to draw crops from, each as often as another.
        validation: images never trained on.
        parameters: how long and how.
        augmentation: how crops vary.
        on_step: called with the steps done and the last loss.
        objective: what the network is taught.

    Raises:
        BadInput: there is nothing to train or to validate on.
        CellmillError: the loss is no longer a number.
    """
    for name, images in (("training images", training), ("validation images", validation)):
        if not any(image.labels.any() for image in images):
            raise BadInput(name, expected=f"at least one with {objective.needed}", found="none")
    keras = extras.load("keras", "training")
    schedule = keras.optimizers.schedules.CosineDecay(
        parameters.learning_rate / 10,
        decay_steps=max(parameters.steps - parameters.steps // 20, 1),
        warmup_target=parameters.learning_rate,
        warmup_steps=parameters.steps // 20,
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=1e-4, global_clipnorm=1.0)
    optimizer.build(network.trainable_variables)
    step, loss_of = _compiled(network, optimizer, objective)
    fixed = [_stack([objective.whole(image)]) for image in validation]

    def validated() -> float:
        return float(np.mean([float(loss_of(*batch)) for batch in fixed]))

    # What a fine-tuning starts from may be the best.
    curve = [Look(0, None, validated())]
    losses: list[float] = []
    average = network.get_weights()
    best, best_step, stopped = network.get_weights(), 0, "steps"
    batches = _batches(training, parameters, augmentation, objective)
    deadline = time.monotonic() + (parameters.time_limit_s or float("inf"))
    for done, batch in enumerate(batches, start=1):
        losses.append(float(step(*batch)))
        if not np.isfinite(losses[-1]):
            raise diverged(losses[-1], done)
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
    network: keras.Model, optimizer: Any, objective: Objective
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The training step and the loss, as TensorFlow functions of what is taught."""
    tf = extras.load("tensorflow", "training")

    def loss_of(pictures: Any, *taught: Any, training: bool = False) -> Any:
        # Of one head Keras gives the tensor itself.
        return objective.loss(tf.nest.flatten(network(pictures, training=training)), *taught)

    @tf.function(reduce_retracing=True, autograph=False)
    def step(pictures: Any, *taught: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(pictures, *taught, training=True)
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
        return loss

    return step, tf.function(loss_of, reduce_retracing=True, autograph=False)


def _batches(
    images: Sequence[TrainingImage],
    parameters: FitParameters,
    augmentation: Augmentation,
    objective: Objective,
) -> Iterator[Taught]:
    """Batches of crops in one fixed sequence; the next is made while one is trained on."""
    random = np.random.default_rng(parameters.seed)

    def make() -> Taught:
        chosen = random.integers(len(images), size=parameters.batch_size)
        return _stack(
            [objective.crop(images[i], parameters.crop, random, augmentation) for i in chosen]
        )

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(make)
        for left in reversed(range(parameters.steps)):
            batch = coming.result()
            if left:
                coming = pool.submit(make)
            yield batch


def _stack(crops: Sequence[Taught]) -> Taught:
    return tuple(np.stack(part) for part in zip(*crops, strict=True))
