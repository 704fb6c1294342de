"""What a run came to, in the few lines that are printed when it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cellmill.labels.kinds import plural

_LINES = 20


def outcome(folder: Path) -> Iterator[str]:
    """Say what the files of a run's folder say, a line at a time."""
    yield from _training(folder / "metrics.json")
    yield from _classes(folder / "classes.json")
    yield from _tuning(folder / "tuning.json")
    yield from _comparison(folder / "comparison.json")
    yield from _benchmark(folder / "benchmark.json")
    yield from _restoration(folder / "restoration.json")
    yield from _gate(folder / "gate.json")
    yield from _transferred(folder / "transfer" / "volume.json")
    yield from _results(folder / "summary.json")


def _training(metrics: Path) -> Iterator[str]:
    """Say how good a model is that was just trained, and how good the one that it began from."""
    if not metrics.exists():
        return
    measured = json.loads(metrics.read_text())
    for key, after in measured.items():
        if not key.startswith("validation") or key.startswith("validation_before"):
            continue
        before = measured.get(key.replace("validation", "validation_before", 1))
        if "by_class" in after:
            yield f"{key}: {after['images']} image(s)"
            yield from (f"  before: {line}" for line in (_by_class(before) if before else ()))
            yield from (f"  {line}" for line in _by_class(after))
            continue
        yield f"{key}: {after['images']} images, {after['objects']} objects"
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


def _classes(classes: Path) -> Iterator[str]:
    """Say how well classes of pixels were told."""
    if not classes.exists():
        return
    measured = json.loads(classes.read_text())
    if "by_class" not in measured:
        yield f"classes: {measured['note']}"
        return
    yield f"classes of {measured['images']} image(s) with truth:"
    yield from (f"  {line}" for line in _by_class(measured))


def _by_class(measured: Mapping[str, Any]) -> Iterator[str]:
    """A line a class."""
    for name, each in measured["by_class"].items():
        boundary = each["boundary"]
        outline = f", boundary F {boundary['f1']:.3f}" if boundary else ""
        yield f"{name}: Dice {each['dice']:.3f}, IoU {each['iou']:.3f}{outline}"


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


def _comparison(comparison: Path) -> Iterator[str]:
    """Say how good each segmenter is, and how long it took."""
    if not comparison.exists():
        return
    document = json.loads(comparison.read_text())
    taken = {each["name"]: sum(each["seconds"].values()) for each in document["segmenters"]}
    for kind, found in document["kinds"].items():
        yield f"{plural(kind)}, {len(found['images'])} image(s):"
        for name, each in found["segmenters"].items():
            scores = {key: value["value"] for key, value in each["scores"].items()}
            yield (
                f"  {name}: AP {scores['ap_50']:.3f} and F1 {scores['f1_50']:.3f} at IoU 0.5, "
                f"PQ {scores['panoptic_quality']:.3f}, {taken[name]:.1f} s"
            )


def _benchmark(benchmark: Path) -> Iterator[str]:
    """Say the guidelines that a benchmark's data carry, and what got slower."""
    if not benchmark.exists():
        return
    document = json.loads(benchmark.read_text())
    carried = [each["text"] for each in document["guidelines"] if each["carried"]]
    yield from carried[:_LINES]
    if len(carried) > _LINES:
        yield f"… and {len(carried) - _LINES} more, all in benchmark.html"
    for found in (document["baseline"] or {}).get("regressions", ()):
        yield f"regression: {found}"


def _restoration(restoration: Path) -> Iterator[str]:
    """Say how much nearer to the truth a simulated volume came."""
    if not restoration.exists():
        return
    for image in json.loads(restoration.read_text())["images"]:
        for name, channel in image["channels"].items():
            yield f"{image['image']}, {name}:"
            for state, error in channel["rmse"].items():
                found = channel["objects"].get(state)
                yield f"  {state}: RMSE {error:.4g}" + (
                    f", {found['found']} objects found, {found['matched']} of {found['true']} "
                    "true ones matched"
                    if found
                    else ""
                )
        for warning in image["warnings"]:
            yield f"  note: {warning}"


def _gate(gate: Path) -> Iterator[str]:
    """Say what a style transfer was chosen for, and against what."""
    if not gate.exists():
        return
    found = json.loads(gate.read_text())
    chosen = found["chosen"]
    if not found["gate"]:
        yield f"{chosen['name']} was taken: without truth nothing says whether it helps"
        return
    yield f"{chosen['name']} was taken; F1 in held-out X, on planes that chose and on others:"
    best = [row for row in found["gate"] if row["step"] < 0 or row["step"] == chosen["step"]]
    for row in best:
        yield f"  {row['name']}: {row['f1']:.3f}, {row['f1_apart']:.3f}"


def _transferred(about: Path) -> Iterator[str]:
    """Say where a transferred volume lies, and what was read for it."""
    if not about.exists():
        return
    found = json.loads(about.read_text())
    yield (
        f"{' × '.join(map(str, found['shape']))} voxels in {found['blocks']} block(s), "
        f"{found['read_amplification']:.2f} read for each: {found['volume']}"
    )


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
            f"{c['count']} {plural(name)}" + _against_truth(c)
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
