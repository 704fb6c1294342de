"""What takes more than in a stored baseline, beyond noise."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Literal

from cellmill.benchmark.results import Measured, Results
from cellmill.benchmark.statistics import Ratio, paired_ratio

#: A change of less is no regression, however certain.
TOLERANCE = 0.05

Verdict = Literal["slower", "faster", "no change beyond noise"]


@dataclass(frozen=True)
class Change:
    """How a stage of a segmenter changed since the baseline.

    Attributes:
        machine: on which both were measured.
        segmenter: whose stage it is.
        stage: the stage; empty for an image in all.
        ratio: of its steady time, new by old.
        memory: of its peak memory, new by old; None where it cannot be told.
    """

    machine: str
    segmenter: str
    stage: str
    ratio: Ratio
    memory: Ratio | None

    @property
    def verdict(self) -> Verdict:
        """Whether time changed by more than the tolerance, the whole interval on that side."""
        return _verdict(self.ratio)

    @property
    def memory_grew(self) -> bool:
        """Whether memory grew by more than the tolerance, likewise."""
        return self.memory is not None and _verdict(self.memory) == "slower"


def _verdict(ratio: Ratio) -> Verdict:
    if ratio.value > 1 + TOLERANCE and ratio.low > 1:
        return "slower"
    if ratio.value < 1 / (1 + TOLERANCE) and ratio.high < 1:
        return "faster"
    return "no change beyond noise"


@dataclass(frozen=True)
class Compared:
    """A comparison with a baseline.

    Attributes:
        changes: of what is in both, by segmenter and stage.
        unpaired: why conditions could not be compared, empty where all could.
    """

    changes: Sequence[Change]
    unpaired: str = ""

    @property
    def regressions(self) -> list[Change]:
        """What got slower, or takes more memory."""
        return [c for c in self.changes if c.verdict == "slower" or c.memory_grew]


def compare(results: Results, baseline: Results) -> Compared:
    """Compare results with those of a baseline, condition by condition.

    Only what was measured on the same machine, with the same settings and at the same size, is
    paired; a stage needs two such conditions.
    """
    old = {_key(each): each for each in baseline.measured}
    both = [(each, old[_key(each)]) for each in results.measured if _key(each) in old]
    pairs = [pair for pair in both if not any(each.busy for each in pair)]
    grouped: dict[tuple[str, str], list[tuple[Measured, Measured]]] = defaultdict(list)
    for new, before in pairs:
        grouped[(new.setting.machine, new.setting.segmenter)].append((new, before))
    changes = []
    for (machine, segmenter), found in sorted(grouped.items()):
        stages = [s for s in found[0][0].stages if all(s in m.stages for p in found for m in p)]
        for stage in ["", *stages]:
            ratio = paired_ratio(*(_repeats(found, stage, side) for side in (0, 1)))
            memory = paired_ratio(*(_memory(found, stage, side) for side in (0, 1)))
            if ratio:
                changes.append(Change(machine, segmenter, stage, ratio, memory))
    many = len(results.measured)
    alone = sum(len(found) < 2 for found in grouped.values())
    reasons = (
        (many - len(both), "are not in the baseline with the same machine, settings and size"),
        (len(both) - len(pairs), "are not compared, since other work ran beside them"),
        (alone, "are the only ones of their segmenter and machine: a ratio needs two"),
    )
    return Compared(
        changes, " ".join(f"{n} of {many} conditions {why}." for n, why in reasons if n)
    )


def _key(measured: Measured) -> tuple[object, ...]:
    return (*astuple(measured.setting), *measured.shape)


def _repeats(
    pairs: Sequence[tuple[Measured, Measured]], stage: str, side: int
) -> Mapping[str, Sequence[float]]:
    return {str(_key(pair[0])): pair[side].repeats[stage] for pair in pairs}


def _memory(
    pairs: Sequence[tuple[Measured, Measured]], stage: str, side: int
) -> Mapping[str, Sequence[float]]:
    return {
        str(_key(pair[0])): [float(pair[side].peak_bytes.get(stage, pair[side].peak))]
        for pair in pairs
    }
