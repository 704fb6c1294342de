"""Fitting the network to images and label images.

What it is taught is an objective's. A seed fixes the result to the bit on one machine, TensorFlow
build and number of threads (`keras.utils.set_random_seed`, op determinism, crops drawn in one
sequence), as long as no time limit ends the fit; also where it was killed and goes on from a
checkpoint (`state`).
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
from cellmill.training.state import FitState, Keeping, KeptFit, Look, work_of

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
    keeping: Keeping | None = None,
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
        keeping: where checkpoints are kept, from the last of which the fit goes on if it is of the
            same network, images, parameters and objective; None keeps none.

    Raises:
        BadInput: there is nothing to train or to validate on.
        CellmillError: the loss is no longer a number.
    """
    for name, images in (("training images", training), ("validation images", validation)):
        if not any(image.labels.any() for image in images):
            raise BadInput(name, expected=f"at least one with {objective.needed}", found="none")
    optimizer = _optimizer(parameters)
    optimizer.build(network.trainable_variables)
    kept = None
    if keeping:
        about = asdict(parameters), asdict(augmentation), repr(objective)
        work = work_of(network, training, validation, *about)
        kept = KeptFit(network, optimizer, keeping, work)
    step, loss_of = _compiled(network, optimizer, objective)
    fixed = [_stack([objective.whole(image)]) for image in validation]

    def validated() -> float:
        return float(np.mean([float(loss_of(*batch)) for batch in fixed]))

    state = (kept and kept.resumed()) or _begun(network, parameters, validated())
    begun = time.monotonic() - state.seconds
    for batch, after in _batches(training, parameters, augmentation, objective, state):
        state.losses.append(float(step(*batch)))
        state.done, state.random = state.done + 1, after
        if not np.isfinite(state.losses[-1]):
            raise diverged(state.losses[-1], state.done)
        # Early weights are far from where the fit goes: the average forgets them sooner.
        share = 1 - min(_AVERAGE, state.done / (state.done + 10))
        for mean, weight in zip(state.average, network.get_weights(), strict=True):
            mean += share * (weight - mean)
        if on_step:
            on_step(state.done, state.losses[-1])
        state.seconds = time.monotonic() - begun
        _look(network, parameters, state, validated)
        if kept:
            kept.keep(state)
        if state.stopped:
            break
    network.set_weights(state.best)
    return Fit(tuple(state.curve), state.best_step, state.stopped)


def _optimizer(parameters: FitParameters) -> Any:
    keras = extras.load("keras", "training")
    schedule = keras.optimizers.schedules.CosineDecay(
        parameters.learning_rate / 10,
        decay_steps=max(parameters.steps - parameters.steps // 20, 1),
        warmup_target=parameters.learning_rate,
        warmup_steps=parameters.steps // 20,
    )
    return keras.optimizers.AdamW(schedule, weight_decay=1e-4, global_clipnorm=1.0)


def _begun(network: keras.Model, parameters: FitParameters, validation_loss: float) -> FitState:
    """A fit before its first step; what a fine-tuning starts from may be the best."""
    random: Any = np.random.default_rng(parameters.seed).bit_generator.state
    curve = [Look(0, None, validation_loss)]
    return FitState(random, network.get_weights(), network.get_weights(), curve=curve)


def _look(
    network: keras.Model,
    parameters: FitParameters,
    state: FitState,
    validated: Callable[[], float],
) -> None:
    """Look at the validation images, if it is time to, and say whether the fit has ended."""
    late = state.seconds > (parameters.time_limit_s or float("inf"))
    last = state.done == parameters.steps
    if state.done % parameters.validate_every and not last and not late:
        return
    current = network.get_weights()
    network.set_weights(state.average)
    validation_loss = validated()
    state.curve.append(Look(state.done, float(np.mean(state.losses)), validation_loss))
    state.losses.clear()
    if validation_loss <= min(look.validation_loss for look in state.curve):
        state.best, state.best_step = network.get_weights(), state.done
    network.set_weights(current)
    looks_since = (state.done - state.best_step) // parameters.validate_every
    if late:
        state.stopped = "time limit"
    elif parameters.patience and looks_since >= parameters.patience:
        state.stopped = "patience"
    elif last:
        state.stopped = "steps"


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
    state: FitState,
) -> Iterator[tuple[Taught, dict[str, Any]]]:
    """Batches of crops in one fixed sequence, each with the generator's state after it.

    The next is made while one is trained on; a fit that has ended takes none.
    """
    random = np.random.default_rng()
    random.bit_generator.state = state.random

    def make() -> tuple[Taught, Any]:
        chosen = random.integers(len(images), size=parameters.batch_size)
        crops = [objective.crop(images[i], parameters.crop, random, augmentation) for i in chosen]
        return _stack(crops), random.bit_generator.state

    left = 0 if state.stopped else parameters.steps - state.done
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(make) if left else None
        while coming:
            batch, left = coming.result(), left - 1
            coming = pool.submit(make) if left else None
            yield batch


def _stack(crops: Sequence[Taught]) -> Taught:
    return tuple(np.stack(part) for part in zip(*crops, strict=True))
