"""Training two generators and two discriminators on unpaired planes of two domains (CycleGAN).

After Zhu et al. 2017, with adversarial losses of least squares or focal, cycle and identity
losses. The generators are valid, so that a plane shrinks by two halos at each pass: losses are
taken where both sides are known. After steps of planes there may be steps of volumes, for which the
generators are inflated. What is kept are weights averaged over steps, at checkpoints: which of
these is best no loss says, see `gate`.

Crop, augmentation and step follow from the seed and the step's number, and a checkpoint keeps
weights, averages and optimisers: a training that was killed goes on to the same curve.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cellmill.arrays.checkpoints import Checkpoints
from cellmill.arrays.files import open_staged
from cellmill.arrays.resume import key_of
from cellmill.errors import CellmillError
from cellmill.style_transfer.augmentation import varied
from cellmill.style_transfer.cyclegan import Networks, compiled_step, inflate
from cellmill.style_transfer.network import Levels, build_generator
from cellmill.style_transfer.parameters import Phase, TransferParameters
from cellmill.style_transfer.sampling import Source, check_room, sample_volumes
from cellmill.style_transfer.volumes import Triple
from cellmill.version import __version__

LOSSES = ("adversarial", "cycle", "identity", "discriminators")
#: Part of the average that a step keeps; early steps are forgotten sooner.
_AVERAGE = 0.99


@dataclass(frozen=True)
class Domain:
    """What is trained on, and its grey values' mean and standard deviation."""

    sources: Sequence[Source]
    levels: Levels


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says.

    Args:
        step: steps done.
        losses: their means since the last checkpoint, by name.
    """

    step: int
    losses: dict[str, float]


def train(
    networks: Networks,
    x: Domain,
    y: Domain,
    parameters: TransferParameters,
    folder: Path,
    on_step: Callable[[int], None] | None = None,
    on_checkpoint: Callable[[Checkpoint], None] | None = None,
) -> list[Checkpoint]:
    """Train in place; go on from the last checkpoint in a folder.

    Args:
        networks: as `build_networks` makes them.
        x: the source domain.
        y: the target domain.
        parameters: how.
        folder: of checkpoints; those of other work do not count.
        on_step: called with the steps done.
        on_checkpoint: called with each checkpoint once it is written.

    Returns:
        The curve, from its beginning.

    Raises:
        BadInput: the domains have no room for crops.
        CellmillError: a loss is no longer a number.
    """
    for domain in (x, y):
        check_crops(domain.sources, parameters)
    domains = [(each.levels, [_named(s) for s in each.sources]) for each in (x, y)]
    prior = networks.prior.digest if networks.prior else ""
    work = key_of(asdict(parameters), domains, prior, networks.base, __version__)
    kept = Checkpoints(folder, work)
    _inflate_at(0, networks, parameters)
    curve = _resumed(networks, kept.last(), parameters)

    def keep(step: int, losses: Sequence[Sequence[float]]) -> None:
        means = np.mean(losses, axis=0) if losses else ()
        named = {name: float(m) for name, m in zip(LOSSES, means, strict=bool(losses))}
        curve.append(Checkpoint(step, named))
        _keep(networks, kept, curve)
        if on_checkpoint:
            on_checkpoint(curve[-1])

    if not curve:
        keep(0, ())
    begun = curve[-1].step
    for phase in parameters.phases:
        if begun >= phase.last:
            continue
        _inflate_at(phase.last, networks, parameters)
        losses: list[list[float]] = []
        for done, found in _steps(networks, x, y, parameters, phase, max(begun, phase.first)):
            losses.append(found)
            if on_step:
                on_step(done)
            if done % parameters.checkpoint_every == 0 or done == phase.last:
                keep(done, losses)
                losses.clear()
    return curve


def check_crops(sources: Sequence[Source], parameters: TransferParameters) -> None:
    """Raise `BadInput` where a domain has no room for a training's crops, of whatever phase."""
    for phase in parameters.phases:
        for shape in _shapes(parameters, phase):
            check_room(sources, shape)


def _inflate_at(step: int, networks: Networks, parameters: TransferParameters) -> None:
    """Make the generators of the kind that they are of after so many steps."""
    if parameters.sees_volumes_at(step) and not networks.see_volumes:
        inflate(networks, parameters)


def _steps(
    networks: Networks,
    x: Domain,
    y: Domain,
    parameters: TransferParameters,
    phase: Phase,
    begun: int,
) -> Iterator[tuple[int, list[float]]]:
    """Do a phase's steps from one on; give the steps done and each one's losses."""
    step = compiled_step(networks, parameters)
    batches = zip(
        *(_crops(domain, parameters, phase, begun, n) for n, domain in enumerate((x, y))),
        strict=False,
    )
    for done, (of_x, of_y) in enumerate(batches, start=begun + 1):
        losses = [float(loss) for loss in step(of_x, of_y)]
        if not np.isfinite(losses).all():
            raise CellmillError(
                f"training: a loss is no number at step {done}; try a lower learning rate"
            )
        share = 1 - min(_AVERAGE, done / (done + 10))
        for average, network in zip(networks.averages, (networks.to_y, networks.to_x), strict=True):
            for mean, weight in zip(average, network.get_weights(), strict=True):
                mean += share * (weight - mean)
        yield done, losses


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
    generator = build_generator(
        parameters.width,
        depth=parameters.depth,
        residual=parameters.residual,
        volume=parameters.sees_volumes_at(step),
    )
    with np.load(folder / f"{step}.npz", allow_pickle=False) as kept:
        which = 1 if back else 0
        count = len(generator.weights)
        generator.set_weights([kept[f"average_{which}_{n}"] for n in range(count)])
    return generator


def applied(generator: Any, source: Levels, target: Levels, planes: np.ndarray) -> np.ndarray:
    """What a generator makes of planes `(N, n, n)` of grey values, its halo less at each side.

    One of volumes takes `(N, m, n, n)`, and gives its halo less of sections, too.
    """
    given = ((planes - source[0]) / source[1])[..., None].astype(np.float32)
    made = [
        np.asarray(generator(given[n : n + 4], training=False)) for n in range(0, len(given), 4)
    ]
    return np.asarray(np.concatenate(made)[..., 0] * target[1] + target[0])


def _shapes(parameters: TransferParameters, phase: Phase) -> list[Triple]:
    """Of a phase's crops, `(z, y, x)`: one for each axis across which its planes lie."""
    shapes = []
    for across in parameters.planes:
        z, y, x = (phase.sections if axis == across else parameters.crop for axis in "zyx")
        shapes.append((z, y, x))
    return shapes


def _crops(
    domain: Domain, parameters: TransferParameters, phase: Phase, begun: int, which: int
) -> Iterator[np.ndarray]:
    """Batches of a phase, `(N, n, n, 1)` or `(N, sections, n, n, 1)` float32, from a step on.

    They are standardised and varied. Crop `i` of a training is crop `i // axes` across axis
    `i % axes`.
    """
    axes = len(parameters.planes)
    first, last = phase.number(begun), phase.number(phase.last)
    samples = [
        sample_volumes(
            domain.sources,
            shape,
            seed=6 * parameters.seed + 3 * which + number,
            start=-(-(first - number) // axes),
            threads=1,
            ahead=2 * phase.batch_size,
            defects=parameters.defects,
        )
        for number, shape in enumerate(_shapes(parameters, phase))
    ]
    mean, sd = domain.levels
    for start in range(first, last, phase.batch_size):
        batch = []
        for number in range(start, start + phase.batch_size):
            crop = next(samples[number % axes]).values
            random = np.random.default_rng([parameters.seed, which, number])
            across = "zyx".index(parameters.planes[number % axes])
            grey = (np.moveaxis(crop, across, 0).astype(np.float32) - mean) / sd
            grey = grey if phase.sees_volumes else grey[0]
            batch.append(varied(random, grey)[0][..., None])
        yield np.stack(batch)


def _named(source: Source) -> tuple[Any, ...]:
    """What tells a source from another."""
    region = (source.boxes, source.mask_name, source.mask_factors, source.least_inside)
    return source.volume.name, source.weight, *region


def _keep(networks: Networks, kept: Checkpoints, curve: Sequence[Checkpoint]) -> None:
    """Write a checkpoint: averages by themselves, and what a restart needs, the last one alone."""
    averages: dict[str, Any] = {
        f"average_{which}_{n}": weight
        for which, weights in enumerate(networks.averages)
        for n, weight in enumerate(weights)
    }
    state = {f"state_{n}": np.asarray(v) for n, v in enumerate(networks.variables)}
    steps = np.array([each.step for each in curve])
    losses = np.array([[each.losses.get(name, 0.0) for name in LOSSES] for each in curve])
    with open_staged(kept.folder / f"{curve[-1].step}.npz") as file:
        np.savez(file, **averages)
    kept.keep({**averages, **state, "steps": steps, "losses": losses})


def _resumed(
    networks: Networks, last: Mapping[str, np.ndarray], parameters: TransferParameters
) -> list[Checkpoint]:
    """Put the last checkpoint's state into the networks; its curve, empty where there is none."""
    if not last:
        return []
    _inflate_at(int(last["steps"][-1]), networks, parameters)
    for n, variable in enumerate(networks.variables):
        variable.assign(last[f"state_{n}"])
    for which, weights in enumerate(networks.averages):
        for n in range(len(weights)):
            weights[n] = last[f"average_{which}_{n}"]
    return [
        Checkpoint(int(step), dict(zip(LOSSES, map(float, row), strict=True)) if step else {})
        for step, row in zip(last["steps"], last["losses"], strict=True)
    ]
