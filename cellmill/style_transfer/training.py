"""Training two generators and two discriminators on unpaired planes of two domains (CycleGAN).

After Zhu et al. 2017, with least-squares adversarial losses (Mao et al. 2017), cycle and identity
losses. The generators are valid, so that a plane shrinks by 40 at each pass: losses are taken where
both sides are known. What is kept are weights averaged over steps, at checkpoints: which of these
is best no loss says, see `gate`.

Crop, augmentation and step follow from the seed and the step's number, and a checkpoint keeps
weights, averages and optimisers: a training that was killed goes on to the same curve.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cellmill import extras
from cellmill.arrays.files import open_staged
from cellmill.arrays.resume import key_of
from cellmill.errors import BadInput, CellmillError
from cellmill.style_transfer.augmentation import varied
from cellmill.style_transfer.defects import Defects
from cellmill.style_transfer.network import (
    HALO,
    STRIDE,
    Levels,
    build_discriminator,
    build_generator,
    repeatable,
)
from cellmill.style_transfer.sampling import Source, sample_volumes
from cellmill.version import __version__

LOSSES = ("adversarial", "cycle", "identity", "discriminators")
#: Part of the average that a step keeps; early steps are forgotten sooner.
_AVERAGE = 0.99
_SHAPES = {"z": (1, 0, 0), "y": (0, 1, 0), "x": (0, 0, 1)}


@dataclass(frozen=True)
class TransferParameters:
    """How the networks are trained.

    Args:
        steps: batches.
        batch_size: planes of each domain in a batch.
        crop: side of a plane in pixels, a multiple of 4 that leaves something after two passes.
        width: channels of the generators at full resolution.
        discriminator_width: channels of the discriminators' first layer.
        residual: whether a generator adds to what it is given. It then begins at matching, and may
            stay there.
        adversarial: weight of the adversarial loss.
        cycle: weight of the cycle loss.
        identity: weight of the identity loss.
        learning_rate: of all networks.
        checkpoint_every: steps between two checkpoints.
        planes: across which axes planes are cut.
        warp: standard deviation of the elastic warp of crops, voxels; 0 bends none.
        missing: part of the sections that are missing, of planes across y and x.
        folds: part of the sections that have a fold.
        dark: part of the sections that are darker and of lower contrast.
        seed: of everything random.
    """

    steps: int = 600
    batch_size: int = 6
    crop: int = 108
    width: int = 8
    discriminator_width: int = 16
    residual: bool = False
    adversarial: float = 1.0
    cycle: float = 2.0
    identity: float = 1.0
    learning_rate: float = 1e-3
    checkpoint_every: int = 100
    planes: str = "zyx"
    warp: float = 0.0
    missing: float = 0.0
    folds: float = 0.0
    dark: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "width", "discriminator_width", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise BadInput(name, expected="at least 1", found=f"{getattr(self, name)}")
        least = 4 * HALO + 4 * STRIDE
        if self.crop < least or self.crop % STRIDE:
            expected = f"a multiple of {STRIDE} from {least}"
            raise BadInput("crop", expected=expected, found=f"{self.crop}")
        for name in ("adversarial", "cycle", "identity"):
            if not getattr(self, name) >= 0:
                raise BadInput(name, expected="0 or more", found=f"{getattr(self, name)}")
        if not 0 < self.learning_rate < 1:
            raise BadInput("learning_rate", expected="0 to 1", found=f"{self.learning_rate}")
        if self.planes not in ("z", "y", "x", "zyx"):
            raise BadInput("planes", expected="z, y, x or zyx", found=f"'{self.planes}'")
        if self.missing and self.planes == "z":
            expected = "0 where planes are cut across z: a missing one shows nothing"
            raise BadInput("missing", expected=expected, found=f"{self.missing}")
        # Says what is wrong with them.
        _ = self.defects

    @property
    def defects(self) -> Defects:
        """How crops are bent and spoilt."""
        return Defects(self.warp, self.missing, self.folds, self.dark)


@dataclass(frozen=True)
class Domain:
    """What is trained on, and its grey values' mean and standard deviation."""

    sources: Sequence[Source]
    levels: Levels


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
    """

    to_y: Any
    to_x: Any
    of_x: Any
    of_y: Any
    generating: Any
    judging: Any
    averages: list[list[np.ndarray]] = field(default_factory=list)

    @property
    def variables(self) -> list[Any]:
        """All that a step changes, in one order."""
        parts = (self.to_y, self.to_x, self.of_x, self.of_y)
        weights = [weight for part in parts for weight in part.weights]
        return [*weights, *self.generating.variables, *self.judging.variables]


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says.

    Args:
        step: steps done.
        losses: their means since the last checkpoint, by name.
    """

    step: int
    losses: dict[str, float]


def build_networks(parameters: TransferParameters) -> Networks:
    """Untrained networks; the seed gives their weights."""
    keras, _ = repeatable(parameters.seed)
    generators = [
        build_generator(parameters.width, residual=parameters.residual, name=name)
        for name in ("to_y", "to_x")
    ]
    judges = [
        build_discriminator(parameters.discriminator_width, name=name) for name in ("of_x", "of_y")
    ]
    optimisers = []
    for networks in (generators, judges):
        optimiser = keras.optimizers.Adam(parameters.learning_rate, beta_1=0.5)
        optimiser.build([v for network in networks for v in network.trainable_variables])
        optimisers.append(optimiser)
    made = Networks(*generators, *judges, *optimisers)
    made.averages = [network.get_weights() for network in generators]
    return made


def train(
    networks: Networks,
    x: Domain,
    y: Domain,
    parameters: TransferParameters,
    folder: Path,
    on_step: Callable[[int], None] | None = None,
    on_checkpoint: Callable[[int], None] | None = None,
) -> list[Checkpoint]:
    """Train in place; go on from the last checkpoint in a folder.

    Args:
        networks: as `build_networks` makes them.
        x: the source domain.
        y: the target domain.
        parameters: how.
        folder: of checkpoints; those of other work do not count.
        on_step: called with the steps done.
        on_checkpoint: called with the steps done after each checkpoint is written.

    Returns:
        The curve, from its beginning.

    Raises:
        BadInput: the domains have no room for crops.
        CellmillError: a loss is no longer a number.
    """
    domains = [
        (each.levels, [(s.volume.name, s.weight, s.boxes) for s in each.sources]) for each in (x, y)
    ]
    work = key_of(asdict(parameters), domains, __version__)
    curve = _resumed(networks, folder, work)
    begun = curve[-1].step if curve else 0
    step = _compiled(networks, parameters)
    losses: list[list[float]] = []
    if not curve:
        _keep(networks, folder, work, curve := [Checkpoint(0, {})])
        if on_checkpoint:
            on_checkpoint(0)
    batches = zip(_planes(x, parameters, begun, 0), _planes(y, parameters, begun, 1), strict=False)
    for done, (of_x, of_y) in enumerate(batches, start=begun + 1):
        losses.append([float(loss) for loss in step(of_x, of_y)])
        if not np.isfinite(losses[-1]).all():
            raise CellmillError(
                f"training: a loss is no number at step {done}; try a lower learning rate"
            )
        share = 1 - min(_AVERAGE, done / (done + 10))
        for average, network in zip(networks.averages, (networks.to_y, networks.to_x), strict=True):
            for mean, weight in zip(average, network.get_weights(), strict=True):
                mean += share * (weight - mean)
        if on_step:
            on_step(done)
        if done % parameters.checkpoint_every == 0 or done == parameters.steps:
            means = np.mean(losses, axis=0)
            named = {name: float(m) for name, m in zip(LOSSES, means, strict=True)}
            curve.append(Checkpoint(done, named))
            losses.clear()
            _keep(networks, folder, work, curve)
            if on_checkpoint:
                on_checkpoint(done)
    return curve


def averaged_generator(
    folder: Path, step: int, parameters: TransferParameters, *, back: bool = False
) -> Any:
    """The generator of a checkpoint, its weights averaged.

    Args:
        folder: of checkpoints.
        step: of the checkpoint.
        parameters: with which it was trained.
        back: the one from Y to X.
    """
    generator = build_generator(parameters.width, residual=parameters.residual)
    with np.load(folder / f"{step}.npz", allow_pickle=False) as kept:
        which = 1 if back else 0
        count = len(generator.weights)
        generator.set_weights([kept[f"average_{which}_{n}"] for n in range(count)])
    return generator


def applied(generator: Any, source: Levels, target: Levels, planes: np.ndarray) -> np.ndarray:
    """What a generator makes of planes `(N, n, n)` of grey values: `(N, n - 40, n - 40)`."""
    given = ((planes - source[0]) / source[1])[..., None].astype(np.float32)
    made = [
        np.asarray(generator(given[n : n + 4], training=False)) for n in range(0, len(given), 4)
    ]
    return np.asarray(np.concatenate(made)[..., 0] * target[1] + target[0])


def _compiled(networks: Networks, parameters: TransferParameters) -> Callable[..., Any]:
    """One step: of the generators, then of the discriminators on what they made."""
    tf = extras.load("tensorflow", "style transfer")
    generators = [*networks.to_y.trainable_variables, *networks.to_x.trainable_variables]
    judges = [*networks.of_x.trainable_variables, *networks.of_y.trainable_variables]

    def cropped(planes: Any, margin: int) -> Any:
        return planes[:, margin:-margin, margin:-margin]

    def distance(a: Any, b: Any) -> Any:
        return tf.reduce_mean(tf.abs(a - b))

    def judged(judge: Any, planes: Any, wanted: float) -> Any:
        return tf.reduce_mean(tf.square(judge(planes, training=True) - wanted))

    @tf.function(reduce_retracing=True)
    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            like_y, like_x = networks.to_y(x, training=True), networks.to_x(y, training=True)
            fooled = judged(networks.of_y, like_y, 1.0) + judged(networks.of_x, like_x, 1.0)
            back_x = networks.to_x(like_y, training=True)
            back_y = networks.to_y(like_x, training=True)
            cycle = distance(back_x, cropped(x, 2 * HALO)) + distance(back_y, cropped(y, 2 * HALO))
            same = distance(networks.to_y(y, training=True), cropped(y, HALO))
            same += distance(networks.to_x(x, training=True), cropped(x, HALO))
            loss = (
                parameters.adversarial * fooled
                + parameters.cycle * cycle
                + parameters.identity * same
            )
        gradients = tape.gradient(loss, generators)
        networks.generating.apply_gradients(zip(gradients, generators, strict=True))
        with tf.GradientTape() as tape:
            told = judged(networks.of_y, cropped(y, HALO), 1.0)
            told += judged(networks.of_y, like_y, 0.0)
            told += judged(networks.of_x, cropped(x, HALO), 1.0)
            told += judged(networks.of_x, like_x, 0.0)
            told /= 4.0
        gradients = tape.gradient(told, judges)
        networks.judging.apply_gradients(zip(gradients, judges, strict=True))
        return fooled, cycle, same, told

    return step


def _planes(
    domain: Domain, parameters: TransferParameters, begun: int, which: int
) -> Iterator[np.ndarray]:
    """Batches `(N, n, n, 1)` float32, standardised and varied; from a step on.

    Plane `i` of a training is crop `i // axes` across axis `i % axes`.
    """
    side, axes = parameters.crop, len(parameters.planes)
    first, last = (s * parameters.batch_size for s in (begun, parameters.steps))
    samples = [
        sample_volumes(
            domain.sources,
            tuple(1 if flat else side for flat in _SHAPES[axis]),  # type: ignore[arg-type]
            seed=6 * parameters.seed + 3 * which + number,
            start=-(-(first - number) // axes),
            threads=1,
            ahead=2 * parameters.batch_size,
            defects=parameters.defects,
        )
        for number, axis in enumerate(parameters.planes)
    ]
    mean, sd = domain.levels
    for start in range(first, last, parameters.batch_size):
        batch = []
        for number in range(start, start + parameters.batch_size):
            crop = next(samples[number % axes]).values
            random = np.random.default_rng([parameters.seed, which, number])
            grey = (crop.reshape(side, side).astype(np.float32) - mean) / sd
            batch.append(varied(random, grey)[0][..., None])
        yield np.stack(batch)


def _keep(networks: Networks, folder: Path, work: str, curve: Sequence[Checkpoint]) -> None:
    """Write a checkpoint: averages by themselves, and what a restart needs, the last one alone."""
    step = curve[-1].step
    averages = {
        f"average_{which}_{n}": weight
        for which, weights in enumerate(networks.averages)
        for n, weight in enumerate(weights)
    }
    state = {f"state_{n}": np.asarray(v) for n, v in enumerate(networks.variables)}
    steps = np.array([each.step for each in curve])
    losses = np.array([[each.losses.get(name, 0.0) for name in LOSSES] for each in curve])
    for name, arrays in (
        (f"{step}.npz", averages),
        ("last.npz", {**averages, **state, "steps": steps, "losses": losses, "work": work}),
    ):
        with open_staged(folder / name) as file:
            np.savez(file, **arrays)


def _resumed(networks: Networks, folder: Path, work: str) -> list[Checkpoint]:
    """Put the last checkpoint's state into the networks; its curve, empty where there is none."""
    path = folder / "last.npz"
    if not path.is_file():
        return []
    with np.load(path, allow_pickle=False) as kept:
        if str(kept["work"]) != work:
            return []
        for n, variable in enumerate(networks.variables):
            variable.assign(kept[f"state_{n}"])
        for which, weights in enumerate(networks.averages):
            for n in range(len(weights)):
                weights[n] = kept[f"average_{which}_{n}"].copy()
        return [
            Checkpoint(int(step), dict(zip(LOSSES, map(float, row), strict=True)) if step else {})
            for step, row in zip(kept["steps"], kept["losses"], strict=True)
        ]
