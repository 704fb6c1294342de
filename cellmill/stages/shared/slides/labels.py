"""The labels of an image in its batch: where they lie, and what the entry says of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from cellmill.arrays.batch import Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.arrays.entries import Container
from cellmill.arrays.windows import WritableWindowed
from cellmill.segmentation.interface import Numbering, TiledSegmentation
from cellmill.segmentation.labelling import Facts, LabelFacts, Layouts, write_in_tiles


def facts_as_attributes(facts: Facts) -> dict[str, Any]:
    """What the entry of an image's labels says of them."""
    return {
        "objects": {name: each.objects for name, each in facts.items()},
        "vanished": {name: each.vanished for name, each in facts.items()},
        "median_diameter_px": {name: each.median_diameter_px for name, each in facts.items()},
    }


def source_mpp(entry: Entry) -> tuple[float, ...] | None:
    """The pixel size of the image itself, an axis each; resized maps have another."""
    if "source_mpp" not in entry.attributes:
        return entry.mpp
    found: tuple[float, ...] | None = entry.attribute("source_mpp", tuple[float, ...], None)
    return found


def source_shape(entry: Entry) -> tuple[int, ...] | None:
    """The shape of the image itself, without channels; none where its maps have it."""
    found: tuple[int, ...] | None = entry.attribute("source_shape", tuple[int, ...], None)
    return found


def model_shape(entry: Entry) -> tuple[int, ...] | None:
    """The shape of the image at the model's scale; none where nobody said, and heads have it."""
    given = source_shape(entry)
    scale: tuple[float, ...] = entry.attribute("scale", tuple[float, ...], ())
    if given is None or len(scale) != len(given):
        return None
    return tuple(round(side * by) for side, by in zip(given, scale, strict=True))


def write_slide_labels(
    writer: BatchWriter,
    entry: Entry,
    segmented: Mapping[str, TiledSegmentation],
    *,
    side: int,
    memory_mib: int,
    numbering: Numbering = "canonical",
    container: Container = "zarr",
    store: str = "",
) -> dict[str, LabelFacts]:
    """Write what was segmented tile by tile into a batch, at the image's own scale.

    Args:
        writer: of the batch of labels.
        entry: of the maps; its attributes say what the image's own shape and scale are.
        segmented: at the model's scale, settled, by kind of object.
        side: of the tiles, pixels.
        memory_mib: to work in.
        numbering: `canonical` or `reference`.
        container: what the labels lie in.
        store: see `BatchWriter.create`.
    """
    # Labels do not depend on how the slide was cut up.
    kept = {k: v for k, v in entry.attributes.items() if k not in ("plan", "segmentation")}

    @contextlib.contextmanager
    def create(layouts: Layouts, facts: Facts) -> Iterator[Mapping[str, WritableWindowed]]:
        with writer.create(
            entry.name,
            layouts,
            mpp=source_mpp(entry),
            mpp_source=entry.mpp_source,
            attributes={**kept, **facts_as_attributes(facts)},
            container=container,
            store=store,
        ) as arrays:
            yield arrays

    return write_in_tiles(
        segmented,
        source_shape(entry),
        create,
        side=side,
        memory_mib=memory_mib,
        numbering=numbering,
        axes=3 if any("Z" in array.axes for array in entry.arrays.values()) else 2,
    )
