"""The stage that turns a network's maps into labelled cells at the image's own resolution."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Mapping
from typing import Literal

import numpy as np

from cellmill.arrays.batch import Batch, BatchWriter, Entry
from cellmill.arrays.resume import fingerprint
from cellmill.arrays.store import Ledger, remove
from cellmill.arrays.windows import Grid, Windowed
from cellmill.arrays.zarr import create_zarr
from cellmill.compiled import threads_within
from cellmill.contract import Dataset, Input, Output, Record, for_each_image
from cellmill.errors import BadInput
from cellmill.models.card import PostprocessingParameters
from cellmill.models.chosen import card_of, chosen_compartments, chosen_parameters
from cellmill.preprocessing.resize import resize_labels
from cellmill.segmentation import (
    Numbering,
    TieRule,
    WatershedParameters,
    canonical_labels,
    maps_of,
    object_areas,
    segment,
    watershed_parameters,
)
from cellmill.segmentation.tile_flooding import TileFlooder
from cellmill.segmentation.tile_markers import maxima_statistics
from cellmill.segmentation.tiled import empty_tiles, flood_parts, settle, tile_bytes, tile_side
from cellmill.slides.labels import (
    LabelFacts,
    facts_as_attributes,
    source_mpp,
    write_slide_labels,
)

#: What an image that is segmented in memory takes.
_BYTES_PER_PIXEL = 80
#: How many images a warning names.
_NAMED = 5


def postprocess(
    predictions: Input[Dataset],
    labels: Output[Dataset],
    record: Output[Record],
    on_bad_image: Literal["fail", "skip"] = "fail",
    compartment: Literal["", "whole-cell", "nuclear", "both"] = "",
    maxima_algorithm: Literal["", "h_maxima", "peak_local_max"] = "",
    radius: int = -1,
    maxima_threshold: float = -1.0,
    interior_threshold: float = -1.0,
    maxima_smooth: float = -1.0,
    interior_smooth: float = -1.0,
    small_objects_threshold: int = -1,
    small_objects_fraction: float = -1.0,
    fill_holes_threshold: int = -1,
    pixel_expansion: int = -1,
    label_erosion: int = 0,
    exclude_border: int = 0,
    numbering: Literal["canonical", "reference"] = "canonical",
    tie_rule: Literal["local", "reference"] = "local",
    memory_mib: int = 1024,
) -> None:
    """Turn a network's maps into labelled cells, at the image's own resolution.

    Args:
        predictions: Batch with the network's heads (Y', X', channels) float32, from predict.
        labels: Batch with array `whole_cell` or `nuclear`, or both, (Y, X) int32.
        record: What was done, with times and versions.
        on_bad_image: What to do with an image that cannot be used: fail, or skip it and go on.
        compartment: What to segment; both labels whole cells and nuclei, each by themselves. Empty
            is the model card's default.
        maxima_algorithm: How markers are found; empty is the card's.
        radius: Neighbourhood of a maximum, or least distance of two for peak_local_max, in pixels
            at the model's scale; -1 is the card's.
        maxima_threshold: Least height of a maximum, or for peak_local_max the value it exceeds;
            -1 is the card's.
        interior_threshold: Cells lie where the interior map exceeds this; -1 is the card's.
        maxima_smooth: Sigma of a Gaussian on the maxima map, in pixels; -1 is the card's.
        interior_smooth: Sigma of a Gaussian on the interior map, in pixels; -1 is the card's.
        small_objects_threshold: Objects with fewer pixels, at the model's scale, are dropped; -1 is
            the card's.
        small_objects_fraction: Objects below this part of the median area of those left are
            dropped too (below half of it, where the image's border cuts them), 0 for none; -1 is
            the card's.
        fill_holes_threshold: Holes with fewer pixels are filled; -1 is the card's.
        pixel_expansion: By how many pixels the interior map is dilated; -1 is the card's.
        label_erosion: Pixels taken off every object's edge.
        exclude_border: Markers this near to the border, in pixels, are left out; counts for
            peak_local_max only.
        numbering: canonical, 1 to n in raster order of first pixels; or as DeepCell numbers.
        tie_rule: Between equal pixels of a watershed, local (the same however an image is cut up)
            or reference (DeepCell's), for images that memory bears.
        memory_mib: Memory to work in, in MiB, beyond what the program itself takes: images that
            need more are segmented tile by tile, with the same labels.
    """
    source = Batch.open(predictions.path)
    card = card_of(source.attributes, f"predictions '{source.folder}'")
    chosen = chosen_parameters(
        card,
        chosen_compartments(card, compartment),
        {
            "radius": radius,
            "maxima_threshold": maxima_threshold,
            "interior_threshold": interior_threshold,
            "maxima_smooth": maxima_smooth,
            "interior_smooth": interior_smooth,
            "small_objects_threshold": small_objects_threshold,
            "small_objects_fraction": small_objects_fraction,
            "fill_holes_threshold": fill_holes_threshold,
            "pixel_expansion": pixel_expansion,
        },
        maxima_algorithm,
    )
    effect = {
        name: watershed_parameters(
            parameters, label_erosion=label_erosion, exclude_border=exclude_border
        )
        for name, parameters in chosen.items()
    }
    with BatchWriter(labels.path, attributes={"model": card.to_dict()}) as out:

        def work(entry: Entry) -> None:
            heads = {name: source.array(entry, name) for name in entry.arrays}
            shape = next((head.shape for head in heads.values()), ())
            needed = math.prod(shape[:-1]) * _BYTES_PER_PIXEL
            try:
                if len(shape) == 3 and tie_rule == "local" and needed > memory_mib * 2**20:
                    _segment_tiled(entry, heads, chosen, effect, numbering, memory_mib, out, record)
                else:
                    whole = {name: np.asarray(head) for name, head in heads.items()}
                    options = (label_erosion, exclude_border, numbering, tie_rule)
                    _segment_whole(entry, whole, chosen, *options, out, record)
            except BadInput as bad:
                raise BadInput(
                    f"image '{entry.name}', {bad.what}", expected=bad.expected, found=bad.found
                ) from None

        for_each_image(source, work, writers=[out], record=record, on_bad_image=on_bad_image)
        done = [entry for entry in out.entries if entry.ok]
    totals = {name: sum(entry.attributes["objects"][name] for entry in done) for name in chosen}
    vanished = {
        e.name: e.attributes["vanished"] for e in done if any(e.attributes["vanished"].values())
    }
    unscaled = {
        entry.name: entry.attributes["median_diameter_px"]
        for entry in done
        if entry.mpp is None and card.input.mpp
    }
    labels.metadata.update({f"{name}_objects": count for name, count in totals.items()})
    record.note(
        watershed={name: dataclasses.asdict(parameters) for name, parameters in effect.items()},
        numbering=numbering,
        tie_rule=tie_rule,
        objects=totals,
        vanished=vanished,
        median_diameter_px_where_mpp_unknown=unscaled,
    )
    _warn("objects vanished at the image's own resolution", vanished)
    _warn(
        f"pixel size unknown (the model expects {card.input.mpp:g} µm/px), so segmented at its own "
        "scale; median diameter in px",
        unscaled,
    )


def _segment_whole(
    entry: Entry,
    heads: Mapping[str, np.ndarray],
    chosen: Mapping[str, PostprocessingParameters],
    label_erosion: int,
    exclude_border: int,
    numbering: Numbering,
    tie_rule: TieRule,
    out: BatchWriter,
    record: Record,
) -> None:
    """Segment an image in memory."""
    with record.step("segment"):
        small = {
            name: segment(
                heads,
                parameters,
                label_erosion=label_erosion,
                exclude_border=exclude_border,
                numbering=numbering,
                tie_rule=tie_rule,
            )
            for name, parameters in chosen.items()
        }
    with record.step("resize"):
        found = _at_source_scale(small, entry, numbering)
    facts = {
        name: LabelFacts.of(object_areas(plane), len(object_areas(small[name])))
        for name, plane in found.items()
    }
    with record.step("write"):
        out.write(
            entry.name,
            found,
            axes={name: "ZYX"[-plane.ndim :] for name, plane in found.items()},
            mpp=source_mpp(entry),
            mpp_source=entry.mpp_source,
            attributes={**entry.attributes, **facts_as_attributes(facts)},
        )


def _segment_tiled(
    entry: Entry,
    heads: Mapping[str, Windowed],
    chosen: Mapping[str, PostprocessingParameters],
    effect: Mapping[str, WatershedParameters],
    numbering: Numbering,
    memory_mib: int,
    out: BatchWriter,
    record: Record,
) -> None:
    """Segment an image that memory does not bear tile by tile, with the same labels."""
    side = tile_side(memory_mib)
    threads = threads_within(memory_mib, tile_bytes(side))
    scratch = out.scratch(entry.name)
    flooded: dict[str, Windowed] = {}
    tiles: dict[str, dict[str, int]] = {}
    for name, parameters in chosen.items():
        maxima, interior = maps_of(heads, parameters)
        shape = (maxima.shape[0], maxima.shape[1])
        made = create_zarr(
            f"{scratch}/{name}.zarr",
            {"ids": (shape, np.int64, "YX")},
            shard=side,
            work=fingerprint(),
        )
        marks = Ledger(f"{scratch}/{name}.marks", fingerprint())
        with record.step("segment"):
            statistics = maxima_statistics(maxima, effect[name], side)
            flooder = TileFlooder(
                maxima, interior, effect[name], statistics, made["ids"], Grid(shape, side)
            )
            flood_parts(flooder, range(len(flooder.grid)), marks, threads)
            again = settle(flooder, marks, threads=threads)
        flooded[name] = made["ids"]
        tiles[name] = {
            "tiles": len(flooder.grid),
            "empty": empty_tiles(flooder, marks),
            "flooded_again": again,
        }
    with record.step("write"):
        write_slide_labels(
            out,
            entry,
            flooded,
            effect,
            side=side,
            memory_mib=memory_mib,
            numbering=numbering,
            container="zarr" if next(iter(entry.arrays.values())).store else "npz",
        )
    out.annotate(entry.name, tiles=tiles)
    remove(scratch)


def _at_source_scale(
    labels: Mapping[str, np.ndarray], entry: Entry, numbering: Numbering
) -> dict[str, np.ndarray]:
    """Resample labels to the image's own shape; canonical ids are those of the result."""
    shape = next(iter(labels.values())).shape
    wanted = tuple(entry.attributes.get("source_shape") or shape)
    if wanted == shape:
        return dict(labels)
    if len(shape) != 2 or len(wanted) != 2:
        raise BadInput("predictions", expected="a shape (Y, X)", found=f"{shape}")
    resized = resize_labels(np.stack([*labels.values()], axis=-1), (wanted[0], wanted[1]))
    planes = {name: resized[..., i] for i, name in enumerate(labels)}
    if numbering == "reference":
        return planes
    return {name: canonical_labels(plane) for name, plane in planes.items()}


def _warn(text: str, images: Mapping[str, Mapping[str, float]]) -> None:
    """Print one line that names the first images of whom it is true."""
    if images:
        listed = [
            f"'{image}': " + ", ".join(f"{value:g} ({key})" for key, value in values.items())
            for image, values in [*images.items()][:_NAMED]
        ]
        rest = f", and {len(images) - _NAMED} more images" if len(images) > _NAMED else ""
        print(f"warning: {text}: {'; '.join(listed)}{rest}", file=sys.stderr)
