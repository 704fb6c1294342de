"""What a run came to, in the few lines that are printed when it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_OBJECTS = {"whole_cell": "cells", "nuclear": "nuclei"}
_LINES = 20


def outcome(folder: Path) -> Iterator[str]:
    """Say what the files of a run's folder say, a line at a time."""
    yield from _training(folder / "metrics.json")
    yield from _tuning(folder / "tuning.json")
    yield from _results(folder / "summary.json")


def _training(metrics: Path) -> Iterator[str]:
    """Say how good a model is that was just trained, and how good the one that it began from."""
    if not metrics.exists():
        return
    measured = json.loads(metrics.read_text())
    for key, after in measured.items():
        if not key.startswith("validation") or key.startswith("validation_before"):
            continue
        yield f"{key}: {after['images']} images, {after['objects']} objects"
        before = measured.get(key.replace("validation", "validation_before", 1))
        if before:
            yield f"  before: {_accuracy(before)}"
        yield f"  {'after: ' if before else ''}{_accuracy(after)}"
        if before and after["average_precision_mean"] < before["average_precision_mean"]:
            yield "  note: on these images the base is better"


def _accuracy(measured: Mapping[str, Any]) -> str:
    precision = measured["average_precision"]
    return (
        f"{measured['predicted']} found, AP at IoU 0.5 {precision['0.5']:.3f}, "
        f"at 0.7 {precision['0.7']:.3f}, mean 0.50-0.95 {measured['average_precision_mean']:.3f}, "
        f"PQ {measured['panoptic_quality']:.3f}"
    )


def _tuning(tuning: Path) -> Iterator[str]:
    """Say what the best post-processing is, and what it is worth."""
    if not tuning.exists():
        return
    found = json.loads(tuning.read_text())
    best, default = found["best"], found["default"]
    yield (
        f"{found['objective']} over {found['images']} images, {found['objects']} objects: "
        f"{default['value']:.4f} with the card's parameters, {best['value']:.4f} with the best of "
        f"{found['points']} combinations"
    )
    for name, value in best["parameters"].items():
        changed = value != default["parameters"][name]
        yield f"  {name} {value:g}" + (f" (was {default['parameters'][name]:g})" if changed else "")


def _results(summary: Path) -> Iterator[str]:
    """Say in a line what was found in each image, for as many as fit a screen."""
    if not summary.exists():
        return
    images = json.loads(summary.read_text())["images"]
    for image in images[:_LINES]:
        if image["error"]:
            yield f"{image['name']}: left out: {image['error']}"
            continue
        found = [
            f"{c['count']} {_OBJECTS.get(name, name)}" + _against_truth(c)
            for name, c in image["compartments"].items()
        ]
        yield f"{image['name']}: {', '.join(found)}"
        for warning in image["warnings"]:
            yield f"  note: {warning}"
    if len(images) > _LINES:
        yield f"… and {len(images) - _LINES} more images, all in summary.csv"


def _against_truth(compartment: Mapping[str, Any]) -> str:
    if compartment.get("f1_50") is None:
        return ""
    return (
        f" (against the truth, at IoU 0.5: F1 {compartment['f1_50']:.3f}, "
        f"AP {compartment['average_precision_50']:.3f})"
    )
