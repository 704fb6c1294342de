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
        image: `(Y, X, C)` of any real dtype.
        channels: indices into C to show.
        found: `(Y, X)`, the value of each pixel's class.
        classes: all of them.
        counts: how many pixels have each class, in their order.
        model: what found them, for a person.
        truth: the same as `found` where it is known; 0 may be unlabelled.
        scores: what `cellmill.metrics.evaluate_classes` says, if there is truth.
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
        HTML that asks nothing of the network; and the picture of the classes over the image, uint8
        RGB.
    """
    factor = reduction(subject.image.shape, max_side)
    base = compose(reduce_channels(subject.image, subject.channels, factor))
    picture = class_overlay(base, reduce_labels(subject.found, factor), subject.classes)
    panels = [("Image", base), ("Classes", picture)]
    if subject.truth is not None:
        known = reduce_labels(subject.truth, factor)
        panels.append(("Truth", class_overlay(base, known, subject.classes)))
    scores = subject.scores
    height, width = subject.image.shape[:2]
    page = {
        "name": subject.name,
        "version": __version__,
        "facts": [f"{width:,} × {height:,} px", subject.model, *_truth_facts(scores)],
        "panels": [{"name": name, "uri": picture_uri(shown)[0]} for name, shown in panels],
        "reduced": f"Shown reduced by {factor}." if factor > 1 else "",
        "figures": _figures(scores),
        "rows": [
            _row(each, count, sum(subject.counts), scores)
            for each, count in zip(subject.classes, subject.counts, strict=True)
        ],
        "scored": scores is not None,
        "names": [each.name for each in subject.classes],
        "confusion": _confusion(scores, subject.classes),
    }
    return render("classes.html.jinja", page), picture


def _truth_facts(scores: Mapping[str, Any] | None) -> list[str]:
    if scores is None:
        return ["no truth"]
    if not scores["unlabelled"]:
        return ["truth for every pixel"]
    share = scores["pixels"] / (scores["pixels"] + scores["unlabelled"])
    return [f"truth for {percent(share)} of the pixels"]


def _figures(scores: Mapping[str, Any] | None) -> list[dict[str, str]]:
    if scores is None:
        return []
    return [
        {"title": title, "value": fixed(scores[key])}
        for title, key in (
            ("Mean Dice", "mean_dice"),
            ("Mean IoU", "mean_iou"),
            ("Pixels right", "accuracy"),
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
