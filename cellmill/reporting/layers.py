"""The layers of a report's picture: outlines, and the labels and measurements behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cellmill.labels.kinds import plural, singular
from cellmill.reporting.cells import IOU, Column, columns_of, with_truth
from cellmill.reporting.display import Shown, reduce_labels
from cellmill.reporting.overlay import colour_of, drawing_order, outline
from cellmill.reporting.packing import find_runs, pack_columns, pack_runs
from cellmill.reporting.pictures import encode_mask_png, uri_of
from cellmill.reporting.subject import Subject
from cellmill.terminal import printable


def layers_of(
    subject: Subject, names: Sequence[str], shown: Shown, truth: bool = False
) -> list[dict[str, Any]]:
    """Return a layer for each compartment, in the order they are drawn.

    Args:
        subject: what the report is about.
        names: of the channels that are shown.
        shown: the image and the labels, reduced.
        truth: whether to outline what is true instead of what was segmented.
    """
    images = subject.truth if truth else subject.labels
    layers = []
    for compartment in drawing_order(images):
        source = images[compartment]
        labels = reduce_labels(source, shown.factor) if truth else shown.labels[compartment]
        colour = colour_of(compartment, truth)
        runs = find_runs(labels)
        packed = pack_runs(*runs)
        table = None if truth else subject.measurements.get(compartment)
        if table is not None and compartment in subject.truth and IOU not in table:
            table = with_truth(table, source, subject.truth[compartment])
        columns = columns_of(table, names) if table is not None else []
        title = plural(compartment)
        layers.append(
            {
                "key": f"truth-{compartment}" if truth else compartment,
                "title": f"Truth, {title}" if truth else f"{title.capitalize()}, segmented",
                "object": f"True {singular(compartment)}"
                if truth
                else singular(compartment).capitalize(),
                "truth": truth,
                "colour": colour,
                "picture": uri_of(encode_mask_png(outline(labels), colour), "png"),
                "packed": packed.data,
                "table": pack_columns([c.values for c in columns]) if columns else "",
                "runs": packed.runs,
                "labelBytes": packed.label_bytes,
                "lengthBytes": packed.length_bytes,
                "diameter": _median_diameter(*runs),
                "rows": len(columns[0].values) if columns else 0,
                "fields": [_field(c) for c in columns],
            }
        )
    return layers


def viewer_data(
    subject: Subject,
    shape: Sequence[int],
    names: Sequence[str],
    layers: Sequence[Mapping[str, Any]],
    factor: int,
) -> dict[str, Any]:
    """What the page's script is told; `layers` in the order they are drawn."""
    carried = ("key", "object", "truth", "colour", "diameter", "runs", "labelBytes", "lengthBytes")
    return {
        "width": shape[1],
        "height": shape[0],
        "factor": factor,
        "mpp": subject.mpp,
        "channels": [printable(name) for name in names],
        "layers": [{key: layer[key] for key in (*carried, "rows", "fields")} for layer in layers],
    }


def _field(column: Column) -> dict[str, Any]:
    return {
        "title": printable(column.title),
        "unit": column.unit,
        "kind": "yes-no" if column.yes_no else "number",
        "brief": column.brief,
    }


def _median_diameter(labels: np.ndarray, lengths: np.ndarray) -> float:
    real = labels > 0
    objects, places = np.unique(labels[real], return_inverse=True)
    areas = np.bincount(places, lengths[real], len(objects))
    return float(2 * np.sqrt(np.median(areas) / np.pi)) if areas.size else 0.0
