"""Tables of measurements as a report shows them: which columns, under which names and units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cellmill.metrics.pairs import pair_labels

#: Numbers that a page may carry in tables; past it, columns are left out, the least asked for first.
VALUE_LIMIT = 4_000_000
_UNITS = (("_um2", "µm²"), ("_um", "µm"), ("_px", "px"))
_NAMES = {"sd": "SD", "iou": "IoU"}


@dataclass(frozen=True)
class Column:
    """One column of measurements.

    Attributes:
        key: its name in the table of measurements.
        title: for people.
        unit: empty where there is none.
        yes_no: whether it says yes or no.
        brief: whether it is shown beside the pointer, and not in the panel only.
        values: ``(n,)`` float64.
    """

    key: str
    title: str
    unit: str
    yes_no: bool
    brief: bool
    values: np.ndarray


def columns_of(
    table: Mapping[str, np.ndarray], shown_channels: Sequence[str], limit: int = VALUE_LIMIT
) -> list[Column]:
    """Return the columns a report shows of a table of measurements, ``label`` first.

    Left out are columns of text, those without any value (µm where the pixel size is unknown),
    and, of a table too large for a page, those of channels not shown, then the last ones.

    Args:
        table: columns ``(n,)`` by name, with ``label``.
        shown_channels: names of the channels that the report shows.
        limit: numbers at most.
    """
    known = {k: v for k, v in table.items() if k == "label" or _has_numbers(v)}
    area = "area_um2" if "area_um2" in known else "area_px"
    brief = {area, "iou_with_truth", *(f"mean_{name}" for name in shown_channels)}
    keys = ["label", *(k for k in known if k in brief), *known]
    ours = [k for k in dict.fromkeys(keys) if not _of_other_channel(k, known, shown_channels)]
    others = [k for k in dict.fromkeys(keys) if k not in ours]
    rows = len(table["label"])
    most = max(3, limit // max(1, rows))
    return [
        Column(
            key=key,
            title=title_of(key),
            unit=unit_of(key),
            yes_no=known[key].dtype == np.bool_,
            brief=key in brief,
            values=known[key].astype(np.float64),
        )
        for key in [*ours, *others][:most]
    ]


def with_truth(
    table: Mapping[str, np.ndarray], labels: np.ndarray, truth: np.ndarray
) -> dict[str, np.ndarray]:
    """Add the column ``iou_with_truth``: each object's greatest IoU with any true object.

    Args:
        table: columns ``(n,)`` by name, with ``label``.
        labels: ``(Y, X)``, what the table is about.
        truth: ``(Y, X)``, true labels.
    """
    pairs = pair_labels(truth, labels)
    best = np.zeros(len(pairs.predicted))
    np.maximum.at(best, pairs.predicted_index, pairs.ious)
    rows = np.searchsorted(pairs.predicted.labels, table["label"])
    return {**table, "iou_with_truth": best[rows]}


def title_of(key: str) -> str:
    """Return a column's name in words, without its unit."""
    for suffix, _ in _UNITS:
        key = key.removesuffix(suffix)
    words = [_NAMES.get(word, word) for word in key.split("_") if word]
    text = " ".join(words)
    return text[:1].upper() + text[1:]


def unit_of(key: str) -> str:
    """Return a column's unit, empty where it has none."""
    return next((unit for suffix, unit in _UNITS if key.endswith(suffix)), "")


def _has_numbers(values: np.ndarray) -> bool:
    if values.dtype.kind == "f":
        return not values.size or bool(np.isfinite(values).any())
    return values.dtype.kind in "biu"


def _of_other_channel(key: str, known: Mapping[str, np.ndarray], shown: Sequence[str]) -> bool:
    """Whether a column is about a channel, and not about one that is shown."""
    prefix, _, channel = key.partition("_")
    about_channels = {k.removeprefix("mean_") for k in known if k.startswith("mean_")}
    candidates = {c for c in about_channels if key.endswith(f"_{c}")}
    return bool(prefix and channel and candidates) and not candidates & set(shown)
