"""The records of one stage's parallel tasks, as one record."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cellmill.errors import BadInput

_ADDED = (
    *("start_wall_s", "start_cpu_s", "import_wall_s", "import_cpu_s"),
    *("wall_s", "cpu_s", "bytes_read", "bytes_written"),
)


def merge_records(paths: Sequence[Path]) -> dict[str, Any]:
    """Add up the records of one stage's tasks: seconds and bytes; of peak memory the greatest.

    What is not a sum (libraries, parameters, machine, notes) is the first task's; `tasks` says how
    many there were.

    Args:
        paths: JSON files, as the runtime writes an output `record`.

    Raises:
        BadInput: there are none, one is no record, or they are of different stages.
    """
    documents = [_read(path) for path in paths]
    stages = sorted({document["stage"] for document in documents})
    if len(stages) != 1:
        raise BadInput("records", expected="one stage's", found=", ".join(stages) or "none")
    totals = {key: sum(d["totals"].get(key) or 0 for d in documents) for key in _ADDED}
    peaks = [d["totals"].get("peak_rss_bytes") or 0 for d in documents]
    used = [d["gpu"] for d in documents if d.get("gpu")]
    return {
        **documents[0],
        "images": _images(documents),
        "steps": _steps([step for d in documents for step in d["steps"]]),
        "totals": {**totals, "peak_rss_bytes": max(peaks)},
        "gpu": max(used, key=lambda gpu: gpu["peak_memory_bytes"]) if used else None,
        "tasks": len(documents),
    }


def _images(documents: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for document in documents:
        for image in document["images"]:
            have = found.setdefault(
                image["name"], {**image, "wall_s": 0.0, "cpu_s": 0.0, "steps": []}
            )
            have["wall_s"] += image["wall_s"]
            have["cpu_s"] += image["cpu_s"]
            have["steps"] = _steps([*have["steps"], *image["steps"]])
    return list(found.values())


def _steps(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for step in steps:
        have = found.setdefault(step["name"], {"name": step["name"], "wall_s": 0.0, "cpu_s": 0.0})
        have["wall_s"] += step["wall_s"]
        have["cpu_s"] += step["cpu_s"]
    return list(found.values())


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text())
        _ = document["stage"], document["totals"], document["images"], document["steps"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"record '{path}'", expected="a stage's record", found=f"{type(error).__name__}"
        ) from error
    return document
