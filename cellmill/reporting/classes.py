"""The page of an image's classes of pixels: the classes over the image, shares, and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from cellmill.arrays.windows import Windowed
from cellmill.reporting.display import MAX_SIDE, compose, reduce_channels, reduce_labels, reduction
from cellmill.reporting.page import render
from cellmill.reporting.pictures import picture_uri
from cellmill.reporting.text import MISSING, fixed, number, percent
from cellmill.reporting.volumes import Cuts, enlarged
from cellmill.version import __version__

#: How much of a class's colour lies over the image.
_OPACITY = 0.45


@dataclass(frozen=True)
class ShownClass:
    """One class as it is shown.

    Attributes:
        value: by which images show it.
        name: of the class.
        colour: `#rrggbb`.
        tinted: whether its pixels are coloured; the background's are left as they are.
    """

    value: int
    name: str
    colour: str
    tinted: bool = True


@dataclass(frozen=True)
class ClassesSubject:
    """What a page is about.

    Attributes:
        name: of the image.
        image: `(Y, X, C)` or `(Z, Y, X, C)` of any real dtype.
        channels: indices into C to show.
        found: `(Y, X)` or `(Z, Y, X)`, the value of each pixel's class.
        classes: all of them.
        counts: how many pixels have each class, in their order.
        model: what found them, for a person.
        truth: the same as `found` where it is known; 0 may be unlabelled.
        scores: what `cellmill.metrics.evaluate_classes` says, if there is truth.
        mpp: microns per pixel along each axis, None where unknown.
    """

    name: str
    image: Windowed
    channels: Sequence[int]
    found: Windowed
    classes: Sequence[ShownClass]
    counts: Sequence[int]
    model: str
    truth: Windowed | None = None
    scores: Mapping[str, Any] | None = None
    mpp: tuple[float, ...] | None = None


def class_overlay(
    base: np.ndarray, values: np.ndarray, classes: Sequence[ShownClass]
) -> np.ndarray:
    """Lay the colours of classes over an image.

    Args:
        base: uint8 greys `(Y, X)` or RGB `(Y, X, 3)`.
        values: `(Y, X)`, the value of each pixel's class.
        classes: those that are coloured.

    Returns:
        uint8 RGB `(Y, X, 3)`.
    """
    rgb = cv2.cvtColor(base, cv2.COLOR_GRAY2RGB) if base.ndim == 2 else base.copy()
    for each in classes:
        if not each.tinted:
            continue
        there = values == each.value
        colour = np.array([int(each.colour[k : k + 2], 16) for k in (1, 3, 5)], np.float32)
        mixed = rgb[there] * (1 - _OPACITY) + colour * _OPACITY
        rgb[there] = np.rint(mixed).astype(np.uint8)
    return rgb


def render_classes(subject: ClassesSubject, max_side: int = MAX_SIDE) -> tuple[str, np.ndarray]:
    """Write the page of an image's classes.

    Args:
        subject: what it is about.
        max_side: an image with a longer side is shown reduced by a whole factor.

    Returns:
        HTML that asks nothing of the network; and the picture of the classes over the image, of a
        volume over three cuts, uint8 RGB.
    """
    volume = len(subject.image.shape) == 4
    panels, reduced = _cuts(subject) if volume else _reduced(subject, max_side)
    scores = subject.scores
    sides = " × ".join(f"{side:,}" for side in reversed(subject.image.shape[:-1]))
    one = "voxel" if volume else "pixel"
    page = {
        "name": subject.name,
        "version": __version__,
        "one": one,
        "facts": [
            f"{sides} {'voxels' if volume else 'px'}",
            subject.model,
            *_truth_facts(scores, one),
        ],
        "panels": [{"name": name, "uri": picture_uri(shown)[0]} for name, shown in panels],
        "reduced": reduced,
        "figures": _figures(scores, one),
        "rows": [
            _row(each, count, sum(subject.counts), scores)
            for each, count in zip(subject.classes, subject.counts, strict=True)
        ],
        "scored": scores is not None,
        "names": [each.name for each in subject.classes],
        "confusion": _confusion(scores, subject.classes),
    }
    return render("classes.html.jinja", page), dict(panels)["Classes"]


def _reduced(subject: ClassesSubject, max_side: int) -> tuple[list[tuple[str, np.ndarray]], str]:
    """Pictures of an image by their titles, and what is to be said of them."""
    factor = reduction(subject.image.shape, max_side)
    base = compose(reduce_channels(subject.image, subject.channels, factor))
    panels = [("Image", base)]
    for title, classes in _shown(subject):
        values = reduce_labels(classes, factor)
        panels.append((title, class_overlay(base, values, subject.classes)))
    return panels, f"Shown reduced by {factor}." if factor > 1 else ""


def _cuts(subject: ClassesSubject) -> tuple[list[tuple[str, np.ndarray]], str]:
    """Pictures of a volume: its middle plane, and cuts along X and Y through its centre."""
    cuts = Cuts.of(subject.image.shape, subject.mpp)
    pixels = cuts.arranged(subject.image, 0)[..., list(subject.channels)]
    base = compose(pixels.astype(np.float32))
    panels = [("Image", class_overlay(base, np.zeros(base.shape[:2]), []))]
    for title, classes in _shown(subject):
        # Nothing is of this class.
        values = cuts.arranged(classes, -1)
        panels.append((title, class_overlay(base, values, subject.classes)))
    panels = [(title, enlarged(picture, cuts.times)) for title, picture in panels]
    for _, picture in panels:
        cuts.part(picture)
    said = "The middle plane, and cuts along X and Z (below) and along Y and Z (beside it)"
    reduced = f", reduced by {cuts.factor}" if cuts.factor > 1 else ""
    return panels, f"{said} where the dotted lines are{reduced}."


def _shown(subject: ClassesSubject) -> list[tuple[str, Windowed]]:
    truth = [] if subject.truth is None else [("Truth", subject.truth)]
    return [("Classes", subject.found), *truth]


def _truth_facts(scores: Mapping[str, Any] | None, one: str) -> list[str]:
    if scores is None:
        return ["no truth"]
    if not scores["unlabelled"]:
        return [f"truth for every {one}"]
    share = scores["pixels"] / (scores["pixels"] + scores["unlabelled"])
    return [f"truth for {percent(share)} of the {one}s"]


def _figures(scores: Mapping[str, Any] | None, one: str) -> list[dict[str, str]]:
    if scores is None:
        return []
    return [
        {"title": title, "value": fixed(scores[key])}
        for title, key in (
            ("Mean Dice", "mean_dice"),
            ("Mean IoU", "mean_iou"),
            (f"{one.capitalize()}s right", "accuracy"),
        )
    ]


def _row(
    each: ShownClass, count: int, total: int, scores: Mapping[str, Any] | None
) -> dict[str, Any]:
    own = scores["by_class"][each.name] if scores else None
    boundary = own["boundary"] if own else None
    return {
        "name": each.name,
        "value": each.value,
        "colour": each.colour,
        "tinted": each.tinted,
        "share": percent(count / total if total else None),
        "scores": [fixed(own[key]) for key in ("dice", "iou", "precision", "recall")]
        + [fixed(boundary["f1"]) if boundary else MISSING]
        if own
        else [],
    }


def _confusion(
    scores: Mapping[str, Any] | None, classes: Sequence[ShownClass]
) -> list[dict[str, Any]]:
    """A row a true class: its pixels, and which share of them was found to be of each class."""
    if scores is None:
        return []
    rows = []
    for each, counts in zip(classes, scores["confusion"], strict=True):
        whole = sum(counts)
        shares = [count / whole if whole else 0.0 for count in counts]
        cells = [
            {"text": percent(share) if whole else MISSING, "full": round(0.05 + 0.6 * share, 3)}
            for share in shares
        ]
        rows.append({"name": each.name, "pixels": number(whole, 6), "cells": cells})
    return rows
