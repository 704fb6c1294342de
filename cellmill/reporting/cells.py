"""Tables of measurements as a report shows them: which columns, under which names and units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cellmill.arrays.windows import Windowed
from cellmill.labels.pairs import pair_labels
from cellmill.measurement import CHANNEL_COLUMNS
from cellmill.reporting.text import channel_title

#: Numbers that a page may carry in tables; past it columns are left out, the last ones first.
VALUE_LIMIT = 4_000_000
IOU = "iou_with_truth"
#: What bands of label images may take: a report's pictures take more, and no budget bounds them.
_MEMORY_MIB = 64
_UNITS = {"_um3": "µm³", "_px2": "px²", "_um2": "µm²", "_um": "µm", "_px": "px"}
_WORDS = {"sd": "SD", "iou": "IoU"}
_SIZES = ("area_um2", "area_px", "volume_um3", "volume_px")
_ALWAYS_IN_PX = ("area_px", "volume_px", "centroid_z_px", "centroid_y_px", "centroid_x_px")


@dataclass(frozen=True)
class Column:
    """One column of measurements.

    Attributes:
        key: its name in the table of measurements.
        title: for people.
        unit: empty where there is none.
        yes_no: whether it says yes or no.
        brief: whether it is shown beside the pointer, and not in the panel only.
        values: `(n,)` float64.
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
    """Return the columns a report shows of a table of measurements, `label` first.

    Left out are text, bounding boxes, columns without any value, and lengths in px where they are
    known in µm; of a table too large for a page, the columns of channels that are not shown, then
    the last ones.

    Args:
        table: columns `(n,)` by name, with `label`.
        shown_channels: the channels that the report shows, as columns are named after them.
        limit: numbers at most.
    """
    known = {key: values for key, values in table.items() if _is_told(key, table)}
    area = next((key for key in _SIZES if key in known), "area_px")
    brief = [area, *(f"mean_{name}" for name in shown_channels), IOU]
    order = dict.fromkeys(["label", *(key for key in brief if key in known), *known])
    elsewhere = [k for k in order if (channel_of(k, table) or None) not in (None, *shown_channels)]
    order = {**{k: None for k in order if k not in elsewhere}, **dict.fromkeys(elsewhere)}
    most = max(3, limit // max(1, len(table["label"])))
    return [
        Column(
            key=key,
            title=title_of(key, channel_of(key, table)),
            unit=unit_of(key) if not channel_of(key, table) else "",
            yes_no=known[key].dtype == np.bool_,
            brief=key in brief,
            values=known[key].astype(np.float64),
        )
        for key in list(order)[:most]
    ]


def with_truth(
    table: Mapping[str, np.ndarray], labels: Windowed, truth: Windowed
) -> dict[str, np.ndarray]:
    """Add the column `iou_with_truth`: each object's greatest IoU with any true object.

    Args:
        table: columns `(n,)` by name, with `label`.
        labels: `(Y, X)`, what the table is about.
        truth: `(Y, X)`, true labels.
    """
    pairs = pair_labels(truth, labels, memory_mib=_MEMORY_MIB)
    best = np.zeros(len(pairs.predicted) + 1)
    np.maximum.at(best, pairs.predicted_index, pairs.ious)
    rows = np.searchsorted(pairs.predicted.labels, table["label"])
    return {**table, IOU: best[rows]}


def channel_of(key: str, table: Mapping[str, np.ndarray]) -> str:
    """Return the channel that a column is about, empty for none."""
    kind, _, channel = key.partition("_")
    return channel if kind in CHANNEL_COLUMNS and f"mean_{channel}" in table else ""


def title_of(key: str, channel: str = "") -> str:
    """Return a column's name in words, without its unit; a channel keeps its own name."""
    suffix = next((s for s in _UNITS if key.endswith(s) and not channel), "")
    words = key.removesuffix(suffix).removesuffix(f"_{channel}" if channel else "").split("_")
    text = " ".join(_WORDS.get(word, word) for word in words if word)
    return f"{text[:1].upper()}{text[1:]} {channel_title(channel)}".strip()


def unit_of(key: str) -> str:
    """Return a column's unit, empty where it has none."""
    if key == "volume_px":
        return "voxels"
    return next((unit for suffix, unit in _UNITS.items() if key.endswith(suffix)), "")


def _is_told(key: str, table: Mapping[str, np.ndarray]) -> bool:
    if key == "label":
        return True
    if key.startswith("bbox_") or not _has_numbers(table[key]):
        return False
    if key.startswith("centroid_"):
        return key.endswith("_px")
    if key.endswith("_px2") and _has_numbers(table.get(key.removesuffix("_px2") + "_um2")):
        return False
    in_um = key.removesuffix("_px") + "_um"
    return key in _ALWAYS_IN_PX or in_um == f"{key}_um" or not _has_numbers(table.get(in_um))


def _has_numbers(values: np.ndarray | None) -> bool:
    if values is None:
        return False
    if values.dtype.kind == "f":
        return bool(np.isfinite(values).any())
    return values.dtype.kind in "biu"
