"""From the records of one condition's stages to rows of the table.

Nothing is timed here: every stage leaves a record of what it did, and a benchmark's batch holds one
image several times, the first of which is the warm-up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cellmill.benchmark.conditions import Condition
from cellmill.errors import BadInput
from cellmill.models.card import ModelCard

#: Names of a benchmark's images, by what they are for.
WARM_UP = "warm_up"
REPEAT = "repeat"
_NUMBER = re.compile(rf"{REPEAT}_0*(\d+)")
#: The step in which a stage loads its model.
LOAD_STEP = "load model"


@dataclass(frozen=True)
class Subject:
    """What was segmented under a condition.

    Attributes:
        image: where it comes from.
        shape: `(Y, X)`, pixels.
        channels: of the image.
        mosaic: whether it is larger than the image that it comes from.
        diameter: that was given for its objects.
    """

    image: str
    shape: tuple[int, int]
    channels: int
    mosaic: bool
    diameter: str = ""


@dataclass(frozen=True)
class Found:
    """What was found in one image.

    Attributes:
        objects: how many.
        scores: against the truth, as `cellmill.metrics.evaluate` gives them for the first kind of
            object; empty where there is no truth.
    """

    objects: int | None
    scores: Mapping[str, Any]


def repeat_names(repeats: int) -> list[str]:
    """Return the names of a batch's images: the warm-up, then its repeats."""
    digits = len(str(repeats))
    return [WARM_UP, *(f"{REPEAT}_{i:0{digits}d}" for i in range(1, repeats + 1))]


def rows_of(
    condition: Condition,
    subject: Subject,
    card: ModelCard,
    records: Sequence[Mapping[str, Any]],
    found: Found,
) -> list[dict[str, Any]]:
    """Return the rows of one condition.

    Args:
        condition: what was measured under.
        subject: what was segmented.
        card: of the model.
        records: of the stages, in order.
        found: in the image.
    """
    notes = {record["stage"]: record.get("notes", {}) for record in records}
    about = {
        **_of_condition(condition, subject),
        **_of_segmentation(condition, card, notes),
        **_of_result(found, subject),
    }
    rows = []
    for record in records:
        rows += [{**about, **_of_process(record), **row} for row in _timed(record)]
    return rows


def machine_name(machine: Mapping[str, Any], gpu: str) -> str:
    """Name a machine: what it is rented as, or its processors; and its GPU, where one worked."""
    rented = str(machine.get("rented") or "").split("/")
    if len(rented) == 4 and rented[1]:
        name = rented[1] + (f" + {rented[2]}" if rented[2] else "")
        return name + (" (spot)" if rented[3] == "spot" else "")
    name = f"{machine.get('cpu_model', 'unknown')} × {machine.get('cpus', '?')}"
    return f"{name} + {gpu}" if gpu else name


def _of_condition(condition: Condition, subject: Subject) -> dict[str, Any]:
    return {
        "run": condition.run,
        "condition": condition.condition,
        "sweep": condition.sweep,
        "round": condition.round,
        "image": subject.image,
        "height_px": subject.shape[0],
        "width_px": subject.shape[1],
        "pixels": subject.shape[0] * subject.shape[1],
        "channels": subject.channels,
        "kept": condition.kept,
        "mosaic": subject.mosaic,
        "diameter": subject.diameter,
        "segmenter": condition.segmenter,
    }


def _of_segmentation(
    condition: Condition, card: ModelCard, notes: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    methods = notes.get("postprocess", {}).get("segmentation", {})
    about: dict[str, Any] = {
        "model": f"{card.name} {card.version}",
        "method": ", ".join(f"{each['method']} ({kind})" for kind, each in methods.items()),
    }
    ran = notes.get("predict", {})
    if "engine" not in ran:
        nothing = {"engine": "", "device": "", "precision": ""}
        return {**about, **nothing, "batch_size": None, "tile_px": None}
    return {
        **about,
        "engine": str(ran["engine"]),
        "device": str(ran.get("device", "cpu")),
        "precision": str(ran.get("precision", condition.precision)),
        "batch_size": int(ran.get("batch_size", condition.batch_size)),
        "tile_px": card.input.tile[0],
    }


def _of_result(found: Found, subject: Subject) -> dict[str, Any]:
    scores = found.scores
    half: Mapping[str, Any] = next(
        (m for m in scores.get("matching", ()) if m["iou_threshold"] == 0.5), {}
    )
    pixels = subject.shape[0] * subject.shape[1]
    return {
        "objects": found.objects,
        "objects_true": scores.get("n_truth"),
        "objects_per_mpx": None if found.objects is None else found.objects * 1e6 / pixels,
        "f1_50": half.get("f1"),
        "ap_50": half.get("average_precision"),
        "panoptic_quality": scores.get("panoptic_quality"),
    }


def _of_process(record: Mapping[str, Any]) -> dict[str, Any]:
    machine = record.get("machine") or {}
    gpu = (record.get("gpu") or {}).get("name", "")
    versions = record.get("libraries") or {}
    return {
        "started": record["started"],
        "machine": machine_name(machine, gpu),
        "rented": machine.get("rented", ""),
        "cpus": machine.get("cpus"),
        "cpu_model": machine.get("cpu_model", ""),
        "memory_bytes": machine.get("memory_bytes"),
        "load": machine.get("load"),
        "platform": machine.get("platform", ""),
        "python": machine.get("python", ""),
        "gpu": gpu,
        "cellmill": record.get("version", ""),
        "environment": record.get("image", ""),
        "libraries": ", ".join(f"{k} {v}" for k, v in versions.items()),
        "stage": record["stage"],
    }


def _timed(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what a record says of each phase; of the whole process its memory and bytes, too."""
    totals = record["totals"]
    start = {key: totals.get(f"start_{key}", 0.0) for key in ("wall_s", "cpu_s")}
    imported = {key: totals.get(f"import_{key}", 0.0) for key in ("wall_s", "cpu_s")}
    step = _sum([step for step in record["steps"] if step["name"] == LOAD_STEP])
    load = {key: max(0.0, step[key] - imported[key]) for key in step}
    images = record["images"]
    inside = _sum(images)
    before = {key: load[key] + imported[key] for key in step}
    rest = {key: max(0.0, totals[key] - before[key] - inside[key]) for key in step}
    yield {"phase": "start", "step": "", **start}
    yield {"phase": "import", "step": "", **imported}
    yield {"phase": "load", "step": "", **load}
    for image in images:
        yield from _of_image(image)
    yield {"phase": "rest", "step": "", **rest}
    yield {
        "phase": "task",
        "step": "",
        "wall_s": totals["wall_s"] + start["wall_s"],
        "cpu_s": totals["cpu_s"] + start["cpu_s"],
        "peak_rss_bytes": totals["peak_rss_bytes"],
        "gpu_peak_bytes": (record.get("gpu") or {}).get("peak_memory_bytes"),
        "bytes_read": totals["bytes_read"],
        "bytes_written": totals["bytes_written"],
    }


def _of_image(image: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if image["name"] == WARM_UP:
        about: dict[str, Any] = {"phase": "warm-up", "repeat": 0}
    elif number := _NUMBER.fullmatch(image["name"]):
        about = {"phase": "steady", "repeat": int(number[1])}
    else:
        raise BadInput(
            "record of a benchmark",
            expected=f"images '{WARM_UP}' and '{REPEAT}_1', …",
            found=f"'{image['name']}'",
        )
    yield {**about, "step": "", "wall_s": image["wall_s"], "cpu_s": image["cpu_s"]}
    for name in dict.fromkeys(step["name"] for step in image["steps"]):
        spent = _sum([step for step in image["steps"] if step["name"] == name])
        yield {**about, "step": name, **spent}


def _sum(parts: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    return {key: sum(part[key] for part in parts) for key in ("wall_s", "cpu_s")}
