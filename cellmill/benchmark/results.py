"""What a table says, condition by condition: means of repeats, memory, cost, growth with size."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from cellmill.benchmark.conditions import SIZES
from cellmill.benchmark.statistics import Growth, Mean, growth
from cellmill.benchmark.tables import Row
from cellmill.reporting.costs import Rented, hourly

#: Stages in the order in which they run; others follow.
STAGES = ("preprocess", "predict", "postprocess", "deepcell_reference")
#: What a process spends before its second image.
FIRST = ("start", "import", "load", "warm-up")
#: With so many runnable processes to a processor other work runs beside a benchmark.
BUSY = 1.5


@dataclass(frozen=True, order=True)
class Setting:
    """What is the same for all sizes of a sweep.

    Attributes:
        machine: where the network ran, or, without one, the last stage.
        segmenter: as it was asked for.
        image: what crops and mosaics are made of.
        diameter: that was given.
        engine: of the network.
        device: of the network.
        precision: of the network.
        batch_size: tiles at a time; 0 without a network.
        tile_px: side of a tile; 0 without a network.
        kept: share of the truth's objects that the image keeps.
        channels: of the image.
    """

    machine: str
    segmenter: str
    image: str
    diameter: str
    engine: str
    device: str
    precision: str
    batch_size: int
    tile_px: int
    kept: float = 1.0
    channels: int = 0

    @property
    def host(self) -> str:
        """The machine without its GPU."""
        return self.machine.split(" + ")[0]

    def text(self, name: str) -> str:
        """One of its fields, as people read it; empty where it says nothing."""
        value = getattr(self, name)
        if name == "kept":
            return kept_text(self.kept)
        words = {
            "batch_size": f"batch {value}",
            "tile_px": f"tile {value} px",
            "channels": f"channels {value}",
        }
        return words.get(name, str(value)) * bool(value)


def kept_text(share: float) -> str:
    """Say how many of an image's objects were kept."""
    return "all objects" if share == 1 else f"{share:.3g} of the objects"


def labels(settings: Iterable[Setting]) -> dict[Setting, str]:
    """Name settings by what tells them apart; the segmenter stands in every name."""
    known = list(settings)
    differing = [
        f.name
        for f in fields(Setting)
        if f.name == "segmenter" or len({getattr(s, f.name) for s in known if s.text(f.name)}) > 1
    ]
    return {s: ", ".join(filter(None, (s.text(n) for n in differing))) for s in known}


@dataclass(frozen=True)
class Measured:
    """One setting at one size.

    Attributes:
        setting: what was measured.
        shape: `(Y, X)`, pixels.
        mosaic: whether it is a mosaic.
        swept: the sweeps that asked for it.
        total: steady wall seconds of an image, all stages.
        stages: the same by stage.
        steps: mean steady wall seconds by stage and step.
        cpu: mean steady processor seconds by stage.
        phases: mean wall seconds of a process by stage and phase.
        repeats: by stage the steady wall seconds of every image, and of all stages under ``.
        peak_bytes: by stage the most memory of a process.
        gpu_bytes: the most memory on a GPU; 0 for none.
        bytes_read: by stage, of a process.
        bytes_written: by stage, of a process.
        machines: by stage where it ran: its name, and what it is rented as.
        objects: that were found.
        f1_50: against the truth; None without.
        ap_50: likewise.
        busy: whether other work ran beside it.
    """

    setting: Setting
    shape: tuple[int, int]
    mosaic: bool
    swept: frozenset[str]
    total: Mean
    stages: Mapping[str, Mean]
    steps: Mapping[tuple[str, str], float]
    cpu: Mapping[str, float]
    phases: Mapping[tuple[str, str], float]
    repeats: Mapping[str, Sequence[float]]
    peak_bytes: Mapping[str, int]
    gpu_bytes: int
    bytes_read: Mapping[str, float]
    bytes_written: Mapping[str, float]
    machines: Mapping[str, tuple[str, str]]
    objects: int | None
    f1_50: float | None
    ap_50: float | None
    busy: bool

    @property
    def pixels(self) -> int:
        """How many pixels were segmented."""
        return self.shape[0] * self.shape[1]

    @property
    def peak(self) -> int:
        """The most memory that a process of any stage held."""
        return max(self.peak_bytes.values())

    @property
    def first(self) -> float:
        """Seconds from nothing to the first image's labels."""
        return sum(v for (_, phase), v in self.phases.items() if phase in FIRST)

    def usd_per_gigapixel(self, prices: Mapping[str, float]) -> Mean | None:
        """What 10⁹ pixels cost at steady speed, in US dollars; None where a price is not known.

        Args:
            prices: an hour by the machine's name, before the table of prices.
        """
        spent = 0.0
        for stage, mean in self.stages.items():
            hour = _hour(*self.machines[stage], prices)
            if hour is None:
                return None
            spent += hour * mean.value / 3600
        factor = spent / self.total.value / self.pixels * 1e9 if self.total.value else 0.0
        total = self.total
        ends = (total.value, total.sd, total.low, total.high)
        value, sd, low, high = (factor * each for each in ends)
        return Mean(value, sd, total.count, low, high)


@dataclass(frozen=True)
class Grown:
    """How a setting's times and memory grow with the pixels; None where too few sizes say so.

    Attributes:
        setting: what was measured.
        sizes: what was measured of it, by size.
        total: growth of an image's time, all stages.
        stages: growth of its time by stage.
        largest_stage: the stage that holds the most memory at the largest size.
        memory: growth of that stage's memory.
    """

    setting: Setting
    sizes: Sequence[Measured]
    total: Growth | None
    stages: Mapping[str, Growth | None]
    largest_stage: str
    memory: Growth | None


@dataclass(frozen=True)
class Results:
    """All that a table says.

    Attributes:
        measured: each setting at each size, by setting and size.
        prices: US dollars an hour by the name of a machine, before the table of prices.
    """

    measured: Sequence[Measured]
    prices: Mapping[str, float] = field(default_factory=dict)

    def sizes(self) -> list[Grown]:
        """The settings whose sizes were swept, with how they grow."""
        by_setting: dict[Setting, list[Measured]] = defaultdict(list)
        for each in self.measured:
            if SIZES in each.swept:
                by_setting[each.setting].append(each)
        return [_grown(setting, found) for setting, found in by_setting.items()]

    def factor(self, name: str) -> list[list[Measured]]:
        """Groups of what differs by one field of the setting alone, at one size.

        Args:
            name: of the field, as `batch_size`.
        """
        groups: dict[Any, list[Measured]] = defaultdict(list)
        others = [f.name for f in fields(Setting) if f.name != name]
        if name == "machine":
            # A machine with a GPU runs the network there: where it ran goes with the machine.
            others = [o for o in others if o not in ("device", "engine")]
        if name == "device":
            others = [o for o in others if o not in ("machine", "engine")]
        for each in self.measured:
            # Where the engine may differ, only what the sweep of sizes chose is compared.
            if name in ("machine", "device") and SIZES not in each.swept:
                continue
            key = [getattr(each.setting, n) for n in others]
            if name == "device":
                key.append(each.setting.host)
            groups[each.shape, tuple(key)].append(each)
        return [
            group
            for group in groups.values()
            if len({getattr(each.setting, name) for each in group if each.setting.text(name)}) > 1
        ]

    def segmenters(self) -> list[list[Measured]]:
        """Groups of what was measured of several segmenters on the same machine and image.

        Of each segmenter the first setting of its size sweep counts, at the largest size that all
        have.
        """
        groups: dict[tuple[str, str], dict[str, Grown]] = defaultdict(dict)
        for grown in self.sizes():
            found = groups[(grown.setting.host, grown.setting.image)]
            found.setdefault(grown.setting.segmenter, grown)
        compared = []
        for found in groups.values():
            shared = set.intersection(*({s.shape for s in g.sizes} for g in found.values()))
            if len(found) > 1 and shared:
                shape = max(shared, key=lambda each: each[0] * each[1])
                compared.append([s for g in found.values() for s in g.sizes if s.shape == shape])
        return compared


def results_of(rows: Sequence[Row], prices: Mapping[str, float] | None = None) -> Results:
    """Gather a table's rows by setting and size.

    Args:
        rows: of the table; several runs and rounds of a setting count together.
        prices: US dollars an hour by the machine's name, before the table of prices.
    """
    by_condition: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        by_condition[(row["run"], row["condition"])].append(row)
    by_setting: dict[tuple[Setting, tuple[int, int]], list[list[Row]]] = defaultdict(list)
    for found in by_condition.values():
        first = found[0]
        by_setting[(_setting(found), (first["height_px"], first["width_px"]))].append(found)
    ordered = sorted(by_setting, key=lambda key: (key[0], key[1]))
    return Results([_measured(key[0], by_setting[key]) for key in ordered], prices or {})


def _setting(rows: Sequence[Row]) -> Setting:
    network = [row for row in rows if row["stage"] in ("predict", "deepcell_reference")]
    row = (network or rows)[-1]
    return Setting(
        machine=row["machine"],
        segmenter=row["segmenter"],
        image=row["image"],
        diameter=row["diameter"],
        engine=row["engine"],
        device=row["device"],
        precision=row["precision"],
        batch_size=row["batch_size"] or 0,
        tile_px=row["tile_px"] or 0,
        # Tables of an earlier cellmill have images as they are.
        kept=1.0 if row.get("kept") is None else row["kept"],
        channels=row["channels"] or 0,
    )


def _measured(setting: Setting, conditions: Sequence[Sequence[Row]]) -> Measured:
    """Put the processes of one setting at one size together."""
    rows = [row for found in conditions for row in found]
    present = {row["stage"] for row in rows}
    stages = [*(s for s in STAGES if s in present), *sorted(present - set(STAGES))]
    walls: dict[str, list[list[float]]] = {stage: [] for stage in stages}
    cpu: dict[str, list[float]] = {stage: [] for stage in stages}
    totals: list[list[float]] = []
    for found in conditions:
        steady = [r for r in found if r["phase"] == "steady" and not r["step"]]
        for stage in stages:
            own = [row for row in steady if row["stage"] == stage]
            walls[stage].append([row["wall_s"] for row in own])
            cpu[stage] += [row["cpu_s"] or 0.0 for row in own]
        numbers = sorted({row["repeat"] for row in steady})
        totals.append([sum(r["wall_s"] for r in steady if r["repeat"] == n) for n in numbers])
    walls[""] = totals
    tasks = [row for row in rows if row["phase"] == "task"]
    first = rows[0]
    return Measured(
        setting=setting,
        shape=(first["height_px"], first["width_px"]),
        mosaic=bool(first["mosaic"]),
        swept=frozenset(row["sweep"] for row in rows),
        total=Mean.over(totals),
        stages={stage: Mean.over(walls[stage]) for stage in stages},
        steps=_means(
            (r["stage"], r["step"], r) for r in rows if r["phase"] == "steady" and r["step"]
        ),
        cpu={stage: sum(values) / len(values) for stage, values in cpu.items()},
        phases=_means((r["stage"], r["phase"], r) for r in rows if not r["step"]),
        repeats={stage: [v for each in found for v in each] for stage, found in walls.items()},
        peak_bytes={s: max(t["peak_rss_bytes"] for t in tasks if t["stage"] == s) for s in stages},
        gpu_bytes=max(t["gpu_peak_bytes"] or 0 for t in tasks),
        bytes_read={s: _mean([t["bytes_read"] for t in tasks if t["stage"] == s]) for s in stages},
        bytes_written={
            s: _mean([t["bytes_written"] for t in tasks if t["stage"] == s]) for s in stages
        },
        machines={t["stage"]: (t["machine"], t["rented"]) for t in tasks},
        objects=first["objects"],
        f1_50=first["f1_50"],
        ap_50=first["ap_50"],
        busy=any(is_busy(row) for row in rows),
    )


def is_busy(row: Row) -> bool:
    """Whether more processes wanted to run than a benchmark's own, when a stage ended."""
    return bool(row["load"] and row["cpus"] and row["load"] > BUSY * row["cpus"])


def _means(found: Iterable[tuple[str, str, Row]]) -> dict[tuple[str, str], float]:
    """Mean wall seconds by stage and name."""
    spent: dict[tuple[str, str], list[float]] = defaultdict(list)
    for stage, name, row in found:
        spent[(stage, name)].append(row["wall_s"])
    return {key: _mean(values) for key, values in spent.items()}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _grown(setting: Setting, found: Sequence[Measured]) -> Grown:
    sizes = sorted(found, key=lambda each: each.pixels)
    pixels = [each.pixels for each in sizes]
    stages = [s for s in sizes[0].stages if all(s in each.stages for each in sizes)]
    heaviest = max(stages, key=lambda stage: sizes[-1].peak_bytes[stage])
    return Grown(
        setting=setting,
        sizes=sizes,
        total=growth(pixels, [each.total.value for each in sizes]),
        stages={s: growth(pixels, [each.stages[s].value for each in sizes]) for s in stages},
        largest_stage=heaviest,
        memory=growth(pixels, [each.peak_bytes[heaviest] for each in sizes]),
    )


def _hour(machine: str, rented: str, prices: Mapping[str, float]) -> float | None:
    if machine in prices:
        return prices[machine]
    known = Rented.of(rented)
    return hourly(known) if known else None
