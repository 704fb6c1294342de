"""What rented machines cost: seconds by a dated table of prices, `prices.json`.

The table holds what could be looked up, each figure with its source; what it does not hold is not
known. Prices are of machines and GPUs alone: no disks, no traffic, no time to start.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any


@dataclass(frozen=True)
class Rented:
    """A machine of Google Cloud that is paid by the hour.

    Attributes:
        region: where it is.
        machine: its type.
        accelerator: type of its GPUs, as Vertex AI names it; empty for none.
        count: how many GPUs.
        spot: whether it is cheap and can be taken away.
    """

    region: str
    machine: str
    accelerator: str = ""
    count: int = 0
    spot: bool = False

    def __str__(self) -> str:
        gpu = f"{self.accelerator}:{self.count}" if self.accelerator else ""
        return "/".join((self.region, self.machine, gpu, "spot" if self.spot else ""))

    @classmethod
    def of(cls, text: str) -> Rented | None:
        """Read what `str` gives; None where it is nothing of the kind."""
        parts = text.split("/")
        if len(parts) != 4 or not parts[1]:
            return None
        accelerator, _, count = parts[2].partition(":")
        if accelerator and not count.isdigit():
            return None
        return cls(parts[0], parts[1], accelerator, int(count or 0), parts[3] == "spot")


@cache
def prices() -> Mapping[str, Any]:
    """Return the table."""
    text = resources.files("cellmill.reporting").joinpath("prices.json").read_text("utf-8")
    document: Mapping[str, Any] = json.loads(text)
    return document


def hourly(rented: Rented) -> float | None:
    """Return what an hour of a machine costs on Vertex AI in US dollars; None where not known.

    Spot machines are at Compute Engine's spot price: what Vertex AI adds to it is not known.
    """
    table = prices()
    parts = dict(table["machines"].get(rented.machine, {}))
    if not parts:
        return None
    series = table["attached"].get(rented.accelerator)
    carried = {unit.rsplit(" ", 1)[-1]: number for unit, number in parts.items()}
    if series and rented.machine.startswith(f"{series}-"):
        parts[rented.accelerator] = rented.count
    elif rented.accelerator and carried.get(rented.accelerator) != rented.count:
        return None
    total = 0.0
    for unit, number in parts.items():
        price = table["units"].get(unit, {}).get(rented.region)
        if price is None:
            return None
        total += number * price[rented.spot]
    return total if rented.spot else total * (1 + table["vertex_fee"])


@dataclass(frozen=True)
class StageCost:
    """What a stage cost.

    Attributes:
        stage: its name.
        usd: US dollars; None where a machine or its price is not known.
        why: what is not known, else empty.
    """

    stage: str
    usd: float | None
    why: str = ""


@dataclass(frozen=True)
class RunCost:
    """What the stages of a run cost together.

    Attributes:
        stages: each.
        gigapixels: of its images; 0 where not known.
    """

    stages: Sequence[StageCost]
    gigapixels: float = 0.0

    @property
    def usd(self) -> float | None:
        """Dollars of all stages; None where one is not known."""
        known = [stage.usd for stage in self.stages if stage.usd is not None]
        return sum(known) if known and len(known) == len(self.stages) else None

    def per_gigapixel(self, usd: float | None) -> float | None:
        """Return dollars per 10⁹ pixels."""
        return usd / self.gigapixels if usd is not None and self.gigapixels else None

    @property
    def note(self) -> str:
        """Say in a sentence what was found and what it leaves out."""
        unknown = list(dict.fromkeys(stage.why for stage in self.stages if stage.why))
        if not self.stages:
            return ""
        if unknown:
            return f"No cost is estimated: {'; '.join(unknown)}."
        return (
            f"Estimated at prices of {prices()['date']}: machines and GPUs while the stages ran, "
            "without their start, disks and traffic."
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON values: in all, and by stage."""
        return {
            "usd": _rounded(self.usd),
            "usd_per_gigapixel": _rounded(self.per_gigapixel(self.usd)),
            "gigapixels": _rounded(self.gigapixels),
            "prices": prices()["date"],
            "note": self.note,
            "stages": {
                stage.stage: {
                    "usd": _rounded(stage.usd),
                    "usd_per_gigapixel": _rounded(self.per_gigapixel(stage.usd)),
                }
                for stage in self.stages
            },
        }


def run_cost(totals: Sequence[Mapping[str, Any]], gigapixels: float = 0.0) -> RunCost:
    """Estimate what stages cost.

    Args:
        totals: as `cellmill.reporting.timing.stage_totals` gives them; `rented` holds wall
            seconds by machine.
        gigapixels: of the images, 10⁹ pixels.
    """
    return RunCost([_stage_cost(total) for total in totals], gigapixels)


def _stage_cost(total: Mapping[str, Any]) -> StageCost:
    stage, spent = total["stage"], 0.0
    machines: Mapping[str, float] = total.get("rented") or {"": total["wall_s"]}
    for text, seconds in machines.items():
        rented = Rented.of(text)
        if rented is None:
            return StageCost(stage, None, "the machines are not known to be rented ones")
        hour = hourly(rented)
        if hour is None:
            gpu = f" with {rented.count} {rented.accelerator}" if rented.accelerator else ""
            where = f" in {rented.region}" if rented.region else ""
            return StageCost(stage, None, f"no price is known of {rented.machine}{gpu}{where}")
        spent += hour * seconds / 3600
    return StageCost(stage, spent)


def dollars(value: float | None) -> str:
    """Write dollars as people read them; a trace is never written as nothing."""
    if value is None:
        return "–"
    if 0 < value < 0.0001:
        return "< $0.0001"
    return f"${value:.4f}" if value < 0.1 else f"${value:,.2f}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
