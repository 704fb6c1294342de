"""The layers of a report's picture: outlines, and the labels and measurements behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cellmill.reporting.cells import Column, columns_of, with_truth
from cellmill.reporting.display import reduce_labels
from cellmill.reporting.overlay import colour_of, outline_png
from cellmill.reporting.packing import pack_columns, pack_labels
from cellmill.reporting.pictures import uri_of
from cellmill.reporting.subject import Subject, plural, singular


def layers_of(
    subject: Subject, shown: Sequence[str], factor: int, truth: bool = False
) -> list[dict[str, Any]]:
    """Return a layer for each compartment, in the order they are drawn.

    Args:
        subject: what the report is about.
        shown: names of the channels that are shown.
        factor: by how much the picture is reduced.
        truth: whether to outline what is true instead of what was segmented.
    """
    images = subject.truth if truth else subject.labels
    layers = []
    for compartment in sorted(images, key=lambda name: name == "nuclear"):
        labels = reduce_labels(images[compartment], factor)
        colour = colour_of(compartment, truth)
        packed = pack_labels(labels)
        table = None if truth else subject.measurements.get(compartment)
        if table is not None and compartment in subject.truth:
            table = with_truth(table, images[compartment], subject.truth[compartment])
        columns = columns_of(table, shown) if table is not None else []
        title = plural(compartment)
        layers.append(
            {
                "key": f"truth-{compartment}" if truth else compartment,
                "title": f"Truth, {title}" if truth else f"{title.capitalize()}, segmented",
                "object": f"True {singular(compartment).lower()}"
                if truth
                else singular(compartment),
                "truth": truth,
                "colour": colour,
                "picture": uri_of(outline_png(labels, colour), "png"),
                "packed": packed.data,
                "table": pack_columns([c.values for c in columns]) if columns else "",
                "runs": packed.runs,
                "labelBytes": packed.label_bytes,
                "lengthBytes": packed.length_bytes,
                "diameter": _median_diameter(labels),
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
    """What the page's script is told; ``layers`` in the order they are drawn."""
    carried = ("key", "object", "truth", "colour", "diameter", "runs", "labelBytes", "lengthBytes")
    return {
        "width": shape[1],
        "height": shape[0],
        "factor": factor,
        "mpp": subject.mpp,
        "channels": list(names),
        "layers": [{key: layer[key] for key in (*carried, "rows", "fields")} for layer in layers],
    }


def _field(column: Column) -> dict[str, Any]:
    return {
        "title": column.title,
        "unit": column.unit,
        "kind": "yes-no" if column.yes_no else "number",
        "brief": column.brief,
    }


def _median_diameter(labels: np.ndarray) -> float:
    areas = np.unique(labels[labels > 0], return_counts=True)[1]
    return float(2 * np.sqrt(np.median(areas) / np.pi)) if areas.size else 0.0
