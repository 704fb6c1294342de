"""What is measured under: sweeps over sizes, segmenters, devices, and one factor at a time.

Sizes are swept for every segmenter on every device. Engines, precisions, batch sizes, tiles,
densities and numbers of channels are swept one at a time at the largest size, for the first
segmenter that has a network: a full grid would take hours and answer no more.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from cellmill.errors import BadInput
from cellmill.typed_json import WrongField, from_json

#: A loop of a pipeline can be collected from so many turns at most.
MOST_CONDITIONS = 100
#: The smallest crop, pixels a side, and the largest size that is chosen without being asked for.
SMALLEST, LARGEST = 224, 4096
SIZES = "size"


@dataclass(frozen=True)
class Condition:
    """What one measurement is made under.

    Attributes:
        run: the run that it belongs to.
        condition: its name in the run.
        sweep: what varies in the sweep that asks for it.
        round: which of several processes under the same condition, from 1.
        segmenter: the segmenter's name.
        model: name, path or URI of its model.
        digest: of a model that is a file; empty for others.
        side: of the square that is segmented, pixels.
        repeats: how often it is segmented after the warm-up.
        batch_size: tiles predicted at a time.
        tile: side of the network's tiles, pixels; 0 for the card's.
        engine: what computes the network.
        device: where.
        precision: what the network computes in.
        kept: share of the truth's objects that the image keeps, 0 to 1.
        channels: of the image; 0 for its own.
    """

    run: str
    condition: str
    sweep: str
    round: int
    segmenter: str
    model: str
    digest: str
    side: int
    repeats: int
    batch_size: int = 8
    tile: int = 0
    engine: str = "auto"
    device: str = "auto"
    precision: str = "float32"
    kept: float = 1.0
    channels: int = 0

    def __post_init__(self) -> None:
        least_of = {"side": 16, "repeats": 1, "batch_size": 1, "tile": 0, "channels": 0}
        for name, least in least_of.items():
            if getattr(self, name) < least:
                found = f"{getattr(self, name)}"
                raise BadInput(f"benchmark {name}", expected=f"at least {least}", found=found)
        if not 0 <= self.kept <= 1:
            raise BadInput("benchmark kept", expected="a share, 0 to 1", found=f"{self.kept}")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Condition:
        """Read a condition from JSON values.

        Raises:
            BadInput: a value is missing, or of another type.
        """
        try:
            found: Condition = from_json(cls, values, "condition")
        except WrongField as wrong:
            raise BadInput(
                f"condition of a benchmark, {wrong.place}",
                expected=wrong.expected,
                found=wrong.found,
            ) from None
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Segmenter:
    """A segmenter that is measured.

    Attributes:
        name: of it.
        model: name, path or URI.
        digest: of a model that is a file; empty for others.
        network: whether it has one.
    """

    name: str
    model: str
    digest: str = ""
    network: bool = True


@dataclass(frozen=True)
class Sweeps:
    """What varies; the first value of each is the one that the others are compared with.

    Attributes:
        sides: sizes, pixels a side.
        devices: where networks run.
        engines: what computes them.
        precisions: what they compute in.
        batch_sizes: tiles predicted at a time.
        tiles: sides of tiles, pixels; 0 for the card's.
        densities: shares of the truth's objects that the image keeps.
        channels: numbers of channels of the image; 0 for its own.
        repeats: of each condition in one process, after the warm-up.
        rounds: processes under each condition.
    """

    sides: Sequence[int]
    devices: Sequence[str] = ("auto",)
    engines: Sequence[str] = ("auto",)
    precisions: Sequence[str] = ("float32",)
    batch_sizes: Sequence[int] = (8,)
    tiles: Sequence[int] = (0,)
    densities: Sequence[float] = (1.0,)
    channels: Sequence[int] = (0,)
    repeats: int = 5
    rounds: int = 1


def conditions(run: str, segmenters: Sequence[Segmenter], sweeps: Sweeps) -> list[Condition]:
    """Lay out the conditions of a run, round by round, so that drift meets all alike.

    Raises:
        BadInput: there is nothing to measure, or more than a pipeline's loop can be collected
            from; or a value is below what can be.
    """
    if not segmenters or not sweeps.sides or sweeps.rounds < 1:
        found = f"{len(segmenters)}, {len(sweeps.sides)} and {sweeps.rounds}"
        raise BadInput("segmenters, sides and rounds", expected="at least one each", found=found)
    found_all: list[Condition] = []
    for turn in range(1, sweeps.rounds + 1):
        for each in _one_round(run, segmenters, sweeps):
            name = f"c{len(found_all) + 1:02d}"
            found_all.append(replace(each, condition=name, round=turn))
    if len(found_all) > MOST_CONDITIONS:
        raise BadInput(
            "benchmark",
            expected=f"at most {MOST_CONDITIONS} conditions; run it in parts and merge them",
            found=f"{len(found_all)}",
        )
    return found_all


def _one_round(run: str, segmenters: Sequence[Segmenter], sweeps: Sweeps) -> Iterator[Condition]:
    base = {
        "run": run,
        "condition": "",
        "round": 1,
        "repeats": sweeps.repeats,
        "batch_size": sweeps.batch_sizes[0],
        "tile": sweeps.tiles[0],
        "engine": sweeps.engines[0],
        "precision": sweeps.precisions[0],
        "kept": sweeps.densities[0],
        "channels": sweeps.channels[0],
    }
    for side, each in itertools.product(sweeps.sides, segmenters):
        # Where there is no network there is nothing that a device could change.
        for device in sweeps.devices if each.network else sweeps.devices[:1]:
            yield _condition(each, base, sweep=SIZES, side=side, device=device)
    first = next((each for each in segmenters if each.network), segmenters[0])
    values: dict[str, Sequence[Any]] = {"kept": sweeps.densities, "channels": sweeps.channels}
    if first.network:
        values |= {
            "engine": sweeps.engines,
            "precision": sweeps.precisions,
            "batch_size": sweeps.batch_sizes,
            "tile": sweeps.tiles,
        }
    for factor, all_values in values.items():
        for value in all_values[1:]:
            varied = {**base, factor: value}
            yield _condition(
                first, varied, sweep=factor, side=max(sweeps.sides), device=sweeps.devices[0]
            )


def _condition(segmenter: Segmenter, values: Mapping[str, Any], **more: Any) -> Condition:
    return Condition(
        segmenter=segmenter.name,
        model=segmenter.model,
        digest=segmenter.digest,
        **{**values, **more},
    )


def default_sides(shape: tuple[int, int]) -> list[int]:
    """Choose sizes for an image: crops up to its shorter side, and of a small one mosaics beyond.

    Args:
        shape: `(Y, X)` of the image, pixels.

    Example:
        >>> default_sides((512, 512))
        [224, 295, 389, 512, 724, 1024]
        >>> default_sides((2160, 2560))
        [224, 352, 555, 873, 1373, 2160]
    """
    full = max(16, min(*shape, LARGEST))
    small = full < 1024
    crops = np.geomspace(min(SMALLEST, full), full, 4 if small else 6)
    beyond = [full * 2**0.5, full * 2.0] if small else []
    return [*dict.fromkeys(round(side) for side in (*map(float, crops), *beyond))]
