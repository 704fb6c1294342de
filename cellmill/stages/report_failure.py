"""Stage: say how a run ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from cellmill.arrays.files import write_text
from cellmill.contract import Markdown, Output, Record, TaskFinalStatus, stage
from cellmill.contract.runtime import FAILURE_FILE


@stage(image="imaging", family="reporting")
def report_failure(
    report: Output[Markdown],
    record: Output[Record],
    status: TaskFinalStatus,
    pipeline: str = "",
) -> None:
    """Say how a run ended, and where it failed.

    It is for a pipeline's exit handler, which runs it when all else has ended. What a failed stage
    said is known where its task's folder can be read (Vertex AI mounts it).

    Args:
        report: How the run ended, and of a failed one each task that failed and its one line.
        record: What was done, with times and versions.
        status: How the tasks ended; the platform gives it.
        pipeline: The pipeline's name.
    """
    state = str(status.get("state", "")) or "unknown"
    with record.step("look for what failed"):
        failures = [] if state == "SUCCEEDED" else list(_failures(report.path.parent.parent))
    error = status.get("error") or {}
    message = " ".join(str(error.get("message", "")).split())
    lines = [f"# {pipeline or 'The run'}: {state.lower()}", ""]
    if message:
        lines += [message, ""]
    if failures:
        lines += ["| task | stage | what it said |", "|---|---|---|"]
        lines += [f"| {' | '.join(map(_cell, row))} |" for row in failures]
    elif state == "FAILED":
        lines += ["What the stage said is in the log of the task that failed."]
    elif state != "SUCCEEDED":
        lines += ["The platform does not say how the tasks ended: see the run's page."]
    write_text(report.path, "\n".join(lines).rstrip() + "\n")
    record.note(state=state, failed=[stage for _, stage, _ in failures])


def _failures(run: Path) -> Iterator[tuple[str, str, str]]:
    """Task, stage and line of each task beside this one, whose folder says that it failed."""
    for file in sorted(run.glob(f"*/{FAILURE_FILE}")):
        said = json.loads(file.read_text())
        yield file.parent.name, str(said["stage"]), str(said["message"])


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
