"""The last step of a large image's segmentation: from flooded tiles to its batch of labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellmill.arrays.batch import BatchWriter, Container, Entry
from cellmill.arrays.windows import Grid, Windowed
from cellmill.compiled import threads_within
from cellmill.preprocessing import ResizedLabels
from cellmill.segmentation import Numbering, WatershedParameters
from cellmill.segmentation.tile_objects import Cleaned, Objects, find_objects, number_objects
from cellmill.segmentation.tiled import cleaned_objects
from cellmill.slides.plan import UNIT

#: Bytes that describing and numbering objects takes for each pixel of a tile.
_BYTES_PER_PIXEL = 64


@dataclass(frozen=True)
class LabelFacts:
    """What is said of one compartment's labels.

    Attributes:
        objects: how many there are.
        vanished: how many were lost at the image's own resolution.
        median_diameter_px: of the disk of equal area; 0 without objects.
    """

    objects: int
    vanished: int
    median_diameter_px: float

    @classmethod
    def of(cls, areas: np.ndarray, before: int) -> LabelFacts:
        """Of the objects' areas in px, and how many there were at the model's scale."""
        diameter = float(np.median(np.sqrt(areas * (4 / np.pi)))) if len(areas) else 0.0
        return cls(len(areas), before - len(areas), round(diameter, 2))


def facts_as_attributes(facts: Mapping[str, LabelFacts]) -> dict[str, Any]:
    """What the entry of an image's labels says of them."""
    return {
        "objects": {name: each.objects for name, each in facts.items()},
        "vanished": {name: each.vanished for name, each in facts.items()},
        "median_diameter_px": {name: each.median_diameter_px for name, each in facts.items()},
    }


def source_mpp(entry: Entry) -> tuple[float, float] | None:
    """The pixel size (y, x) of the image itself; the maps have another if they were resized."""
    if "source_mpp" not in entry.attributes:
        return entry.mpp
    given = entry.attributes["source_mpp"]
    return (float(given[0]), float(given[1])) if given else None


def write_slide_labels(
    writer: BatchWriter,
    entry: Entry,
    flooded: Mapping[str, Windowed],
    parameters: Mapping[str, WatershedParameters],
    *,
    side: int,
    memory_mib: int,
    numbering: Numbering = "canonical",
    container: Container = "zarr",
    store: str = "",
) -> dict[str, LabelFacts]:
    """Clean up, resample to the image's own scale and number, tile by tile, into a batch.

    Args:
        writer: of the batch of labels.
        entry: of the maps; its attributes say what the image's own shape and scale are.
        flooded: `(Y', X')` ids at the model's scale, by compartment.
        parameters: of each compartment's watershed.
        side: of the tiles, pixels.
        memory_mib: to work in.
        numbering: `canonical` or `reference`.
        container: what the labels lie in.
        store: see `BatchWriter.create`.
    """
    views: dict[str, Windowed] = {}
    before: dict[str, Objects] = {}
    few = threads_within(memory_mib, side**2 * _BYTES_PER_PIXEL)
    shape = (0, 0)
    for name, labels in flooded.items():
        own = (labels.shape[0], labels.shape[1])
        wanted = tuple(entry.attributes.get("source_shape") or own)
        shape = (int(wanted[0]), int(wanted[1]))
        cleaned, _ = cleaned_objects(labels, parameters[name], Grid(own, side), few)
        before[name], views[name] = find_objects(cleaned, Grid(own, side), few), cleaned
        if shape != own:
            views[name] = ResizedLabels(cleaned, shape, len(flooded))
    objects = {
        name: before[name]
        if isinstance(view, Cleaned)
        else find_objects(view, Grid(shape, side), few)
        for name, view in views.items()
    }
    whole = threads_within(memory_mib, UNIT**2 * _BYTES_PER_PIXEL)
    facts = {
        name: LabelFacts.of(found.areas, len(before[name].ids)) for name, found in objects.items()
    }
    # How the slide was cut up is nothing that labels hang on.
    kept = {k: v for k, v in entry.attributes.items() if k not in ("plan", "watershed")}
    with writer.create(
        entry.name,
        {name: (shape, found.label_dtype, "YX") for name, found in objects.items()},
        mpp=source_mpp(entry),
        mpp_source=entry.mpp_source,
        attributes={**kept, **facts_as_attributes(facts)},
        container=container,
        store=store,
    ) as arrays:
        for name, view in views.items():
            # The reference keeps the numbers that objects had before they were resampled.
            by_id = numbering == "reference"
            named = before[name] if by_id else objects[name]
            # Whole shards are written: of a store's unit no part is written twice.
            number_objects(view, named, arrays[name], Grid(shape, UNIT), by_id=by_id, threads=whole)
    return facts
