"""The stages' records as the rows of a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cellmill.reporting.costs import RunCost, dollars
from cellmill.reporting.text import seconds, size

_PARAMETER_LENGTH = 300


@dataclass(frozen=True)
class Detail:
    """A line about a stage, for people."""

    title: str
    value: str


@dataclass(frozen=True)
class StageRow:
    """One stage in a table of stages, as text; `share` is of the longest stage, in percent."""

    name: str
    image_time: str
    time: str
    share: float
    cpu: str
    memory: str
    read: str
    written: str
    cost: str = ""
    cost_per_gigapixel: str = ""
    details: tuple[Detail, ...] = ()


def stage_totals(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Reduce records to what adds up over batches: stage, wall, CPU, peak memory, bytes, machines.

    Records of one stage, from several batches, are added up; of peak memory the greatest counts.
    """
    totals: dict[str, dict[str, Any]] = {}
    for record in records:
        part = record.get("totals", record)
        stage = record["stage"]
        have = totals.setdefault(stage, {"stage": stage, "batches": 0, "peak_rss_bytes": 0})
        have["batches"] += record.get("batches", 1)
        have["peak_rss_bytes"] = max(have["peak_rss_bytes"], part.get("peak_rss_bytes") or 0)
        for key in ("wall_s", "cpu_s", "bytes_read", "bytes_written"):
            have[key] = have.get(key, 0) + (part.get(key) or 0)
        machines = have.setdefault("rented", {})
        for machine, wall in _rented(record, part).items():
            machines[machine] = machines.get(machine, 0) + wall
    return list(totals.values())


def _rented(record: Mapping[str, Any], part: Mapping[str, Any]) -> Mapping[str, float]:
    """Wall seconds by rented machine; under an empty name where it is not known to be one."""
    if "rented" in record:
        found: Mapping[str, float] = record["rented"]
        return found
    machine = (record.get("machine") or {}).get("rented") or ""
    return {machine: part.get("wall_s") or 0}


def image_seconds(records: Sequence[Mapping[str, Any]], image: str) -> dict[str, float]:
    """Return the wall seconds each stage spent on one image, by stage; of those that say so."""
    spent: dict[str, float] = {}
    for record in records:
        for entry in record.get("images", ()):
            if entry["name"] == image:
                spent[record["stage"]] = spent.get(record["stage"], 0.0) + entry["wall_s"]
    return spent


def stage_rows(
    totals: Sequence[Mapping[str, Any]],
    by_image: Mapping[str, float] | None = None,
    records: Sequence[Mapping[str, Any]] = (),
    cost: RunCost | None = None,
) -> tuple[list[StageRow], StageRow]:
    """Return a row for each stage and one for their sum.

    Args:
        totals: as `stage_totals` gives them.
        by_image: as `image_seconds` gives them.
        records: whole records, for the details; none leaves them out.
        cost: what the stages cost; none leaves it out.
    """
    longest = max((t["wall_s"] for t in totals), default=0) or 1
    details = {record["stage"]: _details(record) for record in records}
    spent = by_image or {}
    costs = {stage.stage: stage.usd for stage in cost.stages} if cost else {}

    known = cost if cost is not None and cost.usd is not None else None

    def each(usd: float | None) -> str:
        return dollars(known.per_gigapixel(usd)) if known else ""

    rows = [
        StageRow(
            name=total["stage"],
            image_time=seconds(spent.get(total["stage"])),
            time=seconds(total["wall_s"]),
            share=100 * total["wall_s"] / longest,
            cpu=seconds(total["cpu_s"]),
            memory=size(total["peak_rss_bytes"] or None),
            read=size(total["bytes_read"]),
            written=size(total["bytes_written"]),
            cost=dollars(costs.get(total["stage"])) if known else "",
            cost_per_gigapixel=each(costs.get(total["stage"])),
            details=details.get(total["stage"], ()),
        )
        for total in totals
    ]
    whole = StageRow(
        name="Total",
        image_time=seconds(sum(spent.values()) if spent else None),
        time=seconds(sum(t["wall_s"] for t in totals)),
        share=0,
        cpu=seconds(sum(t["cpu_s"] for t in totals)),
        memory="",
        read="",
        written="",
        cost=dollars(known.usd) if known else "",
        cost_per_gigapixel=each(known.usd) if known else "",
    )
    return rows, whole


def _details(record: Mapping[str, Any]) -> tuple[Detail, ...]:
    libraries = record.get("libraries") or {}
    machine = record.get("machine") or {}
    gpu = record.get("gpu")
    lines = [
        ("cellmill", str(record.get("version", ""))),
        ("Container image", str(record.get("image") or "")),
        ("Libraries", ", ".join(f"{name} {version}" for name, version in libraries.items())),
        ("Parameters", _pairs(record.get("parameters") or {})),
        ("Machine", _machine(machine)),
        ("GPU", f"{gpu['name']}, peak {size(gpu.get('peak_memory_bytes'))}" if gpu else ""),
        ("Steps", _steps(record)),
        ("Notes", _pairs(record.get("notes") or {})),
    ]
    return tuple(Detail(title, value) for title, value in lines if value)


def _machine(machine: Mapping[str, Any]) -> str:
    if not machine:
        return ""
    return ", ".join(
        str(part)
        for part in (
            f"{machine.get('cpus', '?')} CPUs",
            machine.get("cpu_model", ""),
            f"{size(machine.get('memory_bytes'))} memory",
            machine.get("platform", ""),
            f"Python {machine.get('python', '?')}",
            machine.get("rented", ""),
        )
        if part
    )


def _steps(record: Mapping[str, Any]) -> str:
    """Wall seconds by step, added up over images."""
    spent: dict[str, float] = {}
    parts = [*record.get("steps", ())]
    for image in record.get("images", ()):
        parts += image.get("steps", ())
    for step in parts:
        spent[step["name"]] = spent.get(step["name"], 0.0) + step["wall_s"]
    return ", ".join(f"{name} {seconds(wall)}" for name, wall in spent.items())


def _pairs(values: Mapping[str, Any]) -> str:
    text = ", ".join(f"{key} = {_plain(value)}" for key, value in values.items())
    return text if len(text) <= 4 * _PARAMETER_LENGTH else text[: 4 * _PARAMETER_LENGTH] + " …"


def _plain(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = text or "“”"
    return text if len(text) <= _PARAMETER_LENGTH else text[:_PARAMETER_LENGTH] + " …"
