"""The four networks of a CycleGAN, and one step of their training, on one device or several.

Several devices each take a part of the batch; each loss is a mean over the whole batch, gradients
are added up, and every device changes the same weights alike. So a step is that of one device, but
for the order in which numbers are added. Mixed precision keeps weights and losses in 32 bits, and
float16 scales its losses (Micikevicius et al. 2018).

Generators begin with planes. They may be made ones of volumes that make the same (`inflate`); the
discriminators judge planes still, each section of what such a generator makes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cellmill import extras
from cellmill.errors import BadInput
from cellmill.style_transfer.network import (
    build_discriminator,
    build_generator,
    inflated,
    reach_of,
    repeatable,
)
from cellmill.style_transfer.parameters import TransferParameters
from cellmill.style_transfer.prior import Prior

#: Of a residual generator cycle and identity begin at zero, where |d| has its kink and holds it:
#: √(d² + slack²) - slack (Charbonnier et al. 1994) does not, in standard deviations of grey.
_SLACK = 0.3


@dataclass
class Networks:
    """The four networks and the averages of the generators' weights.

    Attributes:
        to_y: generator from X to Y.
        to_x: generator from Y to X.
        of_x: discriminator of X.
        of_y: discriminator of Y.
        generating: optimiser of both generators.
        judging: optimiser of both discriminators.
        averages: of the weights of `to_y` and `to_x`.
        strategy: of TensorFlow, that shares batches among devices; None of one device.
        prior: frozen, whose outputs the discriminator of Y sees beside a plane; None for none.
        base: digest of the networks whose weights the generators began with; empty for none.
    """

    to_y: Any
    to_x: Any
    of_x: Any
    of_y: Any
    generating: Any
    judging: Any
    averages: list[list[np.ndarray]] = field(default_factory=list)
    strategy: Any = None
    prior: Prior | None = None
    base: str = ""

    @property
    def see_volumes(self) -> bool:
        """Whether the generators do."""
        return len(self.to_y.inputs[0].shape) == 5

    @property
    def variables(self) -> list[Any]:
        """All that a step changes, in one order."""
        parts = (self.to_y, self.to_x, self.of_x, self.of_y)
        weights = [weight for part in parts for weight in part.weights]
        return [*weights, *self.generating.variables, *self.judging.variables]


def build_networks(
    parameters: TransferParameters, replicas: int = 1, prior: Prior | None = None
) -> Networks:
    """Untrained networks of planes; the seed gives their weights.

    Args:
        parameters: how they are trained.
        replicas: devices that share a batch: GPUs, or where there is none processors, as TensorFlow
            counts them; 0 takes as many GPUs as there are and as divide a batch.
        prior: what the discriminator of Y looks through too.

    Raises:
        BadInput: there are not as many devices, or they do not divide a batch.
    """
    repeatable(parameters.seed)
    strategy = _strategy(replicas, parameters)
    with _scope(strategy):
        generators = _generators(parameters, volume=False)
        more = {"of_x": 0, "of_y": prior.channels if prior else 0}
        judges = [
            build_discriminator(
                parameters.discriminator_width,
                name=name,
                precision=parameters.precision,
                channels=1 + count,
            )
            for name, count in more.items()
        ]
        optimisers = [_optimiser(networks, parameters) for networks in (generators, judges)]
    made = Networks(*generators, *judges, *optimisers)
    made.averages = [network.get_weights() for network in generators]
    made.strategy, made.prior = strategy, prior
    return made


def inflate(networks: Networks, parameters: TransferParameters) -> None:
    """Make the generators ones of volumes, which make what they made plane by plane; in place.

    Averages become those of their weights. Their optimiser begins anew, for what it knows is of
    other weights; the discriminators and theirs go on.
    """
    with _scope(networks.strategy):
        generators = _generators(parameters, volume=True)
        networks.generating = _optimiser(generators, parameters)
    for flat, deep in zip((networks.to_y, networks.to_x), generators, strict=True):
        deep.set_weights(inflated(flat.get_weights(), deep))
    networks.averages = [
        inflated(weights, deep) for weights, deep in zip(networks.averages, generators, strict=True)
    ]
    networks.to_y, networks.to_x = generators


def _generators(parameters: TransferParameters, *, volume: bool) -> list[Any]:
    return [
        build_generator(
            parameters.width,
            depth=parameters.depth,
            residual=parameters.residual,
            volume=volume,
            name=name,
            precision=parameters.precision,
        )
        for name in ("to_y", "to_x")
    ]


def _optimiser(networks: Sequence[Any], parameters: TransferParameters) -> Any:
    keras = extras.load("keras", "style transfer")
    optimiser = keras.optimizers.Adam(parameters.learning_rate, beta_1=0.5)
    if parameters.precision == "mixed_float16":
        optimiser = keras.optimizers.LossScaleOptimizer(optimiser)
    optimiser.build([v for network in networks for v in network.trainable_variables])
    return optimiser


def compiled_step(networks: Networks, parameters: TransferParameters) -> Callable[..., Any]:
    """One step: of the generators, then of the discriminators on what they made.

    Returns:
        What takes a batch of each domain, `(N, n, n, 1)` float32 or, where generators see volumes,
        `(N, m, n, n, 1)`, and gives the four losses.
    """
    tf = extras.load("tensorflow", "style transfer")
    strategy = networks.strategy
    if strategy is None:
        return tf.function(_step(networks, parameters, 1), autograph=False, reduce_retracing=True)
    replicas = strategy.num_replicas_in_sync
    step = _step(networks, parameters, replicas)

    def of_replica(x: Any, y: Any) -> Any:
        own = tf.distribute.get_replica_context().replica_id_in_sync_group
        count = x.shape[0] // replicas
        part = slice(own * count, (own + 1) * count)
        return step(x[part], y[part])

    def shared(x: Any, y: Any) -> Any:
        losses = strategy.run(of_replica, args=(x, y))
        return [strategy.reduce("SUM", loss, axis=None) for loss in losses]

    return tf.function(shared, autograph=False, reduce_retracing=True)


def _step(networks: Networks, parameters: TransferParameters, replicas: int) -> Callable[..., Any]:
    """What a device does with its part of a batch; its losses are its part of the batch's."""
    tf = extras.load("tensorflow", "style transfer")
    generators = [*networks.to_y.trainable_variables, *networks.to_x.trainable_variables]
    judges = [*networks.of_x.trainable_variables, *networks.of_y.trainable_variables]
    halos = reach_of(parameters.depth, volume=networks.see_volumes).halos

    def cropped(crops: Any, passes: int = 1) -> Any:
        """What so many passes of a generator leave of crops."""
        kept = (slice(None), *(slice(passes * halo, -passes * halo) for halo in halos))
        return crops[kept]

    def planes(crops: Any) -> Any:
        """The sections of all crops, one by one."""
        return tf.reshape(crops, (-1, *crops.shape[-3:]))

    def distance(a: Any, b: Any) -> Any:
        apart = tf.abs(a - b)
        if parameters.residual:
            apart = tf.sqrt(tf.square(apart) + _SLACK**2) - _SLACK
        return tf.reduce_mean(apart) / replicas

    def judged(judge: Any, seen: Any, wanted: float) -> Any:
        said = judge(seen, training=True)
        if parameters.objective == "focal":
            wrong = -said if wanted else said
            loss = tf.square(tf.sigmoid(wrong)) * tf.nn.softplus(wrong)
        else:
            loss = tf.square(said - wanted)
        return tf.reduce_mean(loss) / replicas

    def shown(crops: Any) -> Any:
        """What the discriminator of Y sees."""
        seen = planes(crops)
        return tf.concat([seen, networks.prior(seen)], -1) if networks.prior else seen

    def changed(optimiser: Any, tape: Any, loss: Any, weights: list[Any]) -> None:
        gradients = tape.gradient(loss, weights)
        optimiser.apply_gradients(zip(gradients, weights, strict=True))

    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            like_y, like_x = networks.to_y(x, training=True), networks.to_x(y, training=True)
            seen_y, seen_x = shown(like_y), planes(like_x)
            fooled = judged(networks.of_y, seen_y, 1.0) + judged(networks.of_x, seen_x, 1.0)
            back_x = networks.to_x(like_y, training=True)
            back_y = networks.to_y(like_x, training=True)
            cycle = distance(back_x, cropped(x, 2)) + distance(back_y, cropped(y, 2))
            same = distance(networks.to_y(y, training=True), cropped(y))
            same += distance(networks.to_x(x, training=True), cropped(x))
            loss = networks.generating.scale_loss(
                parameters.adversarial * fooled
                + parameters.cycle * cycle
                + parameters.identity * same
            )
        changed(networks.generating, tape, loss, generators)
        with tf.GradientTape() as tape:
            told = judged(networks.of_y, shown(cropped(y)), 1.0)
            told += judged(networks.of_y, seen_y, 0.0)
            told += judged(networks.of_x, planes(cropped(x)), 1.0)
            told += judged(networks.of_x, seen_x, 0.0)
            told /= 4.0
            loss = networks.judging.scale_loss(told)
        changed(networks.judging, tape, loss, judges)
        return fooled, cycle, same, told

    return step


def _scope(strategy: Any) -> Any:
    """In which variables are made."""
    return strategy.scope() if strategy else contextlib.nullcontext()


def _strategy(replicas: int, parameters: TransferParameters) -> Any:
    """What shares a training's batches among devices; None where one is asked for."""
    tf = extras.load("tensorflow", "style transfer")
    gpus = tf.config.list_logical_devices("GPU")
    sizes = {
        "volume_batch_size" if phase.sees_volumes else "batch_size": phase.batch_size
        for phase in parameters.phases
    }
    if replicas == 0:
        counts = range(1, max(len(gpus), 1) + 1)
        replicas = max(n for n in counts if not any(size % n for size in sizes.values()))
    if replicas == 1:
        return None
    devices = gpus or tf.config.list_logical_devices("CPU")
    if not 0 < replicas <= len(devices):
        expected = f"0 to {len(devices)}, the devices there are"
        raise BadInput("replicas", expected=expected, found=f"{replicas}")
    for name, size in sizes.items():
        if size % replicas:
            expected = f"a multiple of {replicas}, the devices that share it"
            raise BadInput(name, expected=expected, found=f"{size}")
    return tf.distribute.MirroredStrategy([device.name for device in devices[:replicas]])
