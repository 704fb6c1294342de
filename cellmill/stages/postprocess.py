"""The stage that turns a network's maps into labelled cells at the image's own resolution."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from typing import Literal

import numpy as np

from cellmill.arrays.batch import Batch, BatchWriter, Entry
from cellmill.contract import Dataset, Input, Output, Record, for_each_image
from cellmill.errors import BadInput
from cellmill.models.chosen import card_of, chosen_compartments, chosen_parameters
from cellmill.preprocessing.resize import resize_labels
from cellmill.segmentation import (
    Numbering,
    canonical_labels,
    object_areas,
    segment,
    watershed_parameters,
)

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
    fill_holes_threshold: int = -1,
    pixel_expansion: int = -1,
    label_erosion: int = 0,
    exclude_border: int = 0,
    numbering: Literal["canonical", "reference"] = "canonical",
    tie_rule: Literal["local", "reference"] = "local",
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
        fill_holes_threshold: Holes with fewer pixels are filled; -1 is the card's.
        pixel_expansion: By how many pixels the interior map is dilated; -1 is the card's.
        label_erosion: Pixels taken off every object's edge.
        exclude_border: Markers this near to the border, in pixels, are left out; counts for
            peak_local_max only.
        numbering: canonical, 1 to n in raster order of first pixels; or as DeepCell numbers.
        tie_rule: Between equal pixels of a watershed, local (the same however an image is cut up)
            or reference (DeepCell's).
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
    totals = dict.fromkeys(chosen, 0)
    vanished: dict[str, dict[str, int]] = {}
    unscaled: dict[str, dict[str, float]] = {}
    with BatchWriter(labels.path, attributes={"model": card.to_dict()}) as out:

        def work(entry: Entry) -> None:
            heads = {name: source.read(entry, name) for name in entry.arrays}
            with record.step("segment"):
                try:
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
                except BadInput as bad:
                    raise BadInput(
                        f"image '{entry.name}', {bad.what}", expected=bad.expected, found=bad.found
                    ) from None
            with record.step("resize"):
                found = _at_source_scale(small, entry, numbering)
            areas = {name: object_areas(plane) for name, plane in found.items()}
            objects = {name: len(area) for name, area in areas.items()}
            lost = {name: len(object_areas(small[name])) - objects[name] for name in small}
            diameters = {name: _median_diameter(area) for name, area in areas.items()}
            mpp = _source_mpp(entry)
            with record.step("write"):
                out.write(
                    entry.name,
                    found,
                    axes={name: "ZYX"[-plane.ndim :] for name, plane in found.items()},
                    mpp=mpp,
                    mpp_source=entry.mpp_source,
                    attributes={
                        **entry.attributes,
                        "objects": objects,
                        "vanished": lost,
                        "median_diameter_px": diameters,
                    },
                )
            for name, count in objects.items():
                totals[name] += count
            if any(lost.values()):
                vanished[entry.name] = lost
            if mpp is None and card.input.mpp:
                unscaled[entry.name] = diameters

        for_each_image(source, work, writers=[out], record=record, on_bad_image=on_bad_image)
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


def _at_source_scale(
    labels: Mapping[str, np.ndarray], entry: Entry, numbering: Numbering
) -> dict[str, np.ndarray]:
    """Resample labels to the image's own shape; canonical ids are those of the result."""
    shape = next(iter(labels.values())).shape
    wanted = tuple(entry.attributes.get("source_shape") or shape)
    if wanted == shape:
        return dict(labels)
    if len(shape) != 2 or len(wanted) != 2:
        raise BadInput(
            f"predictions of image '{entry.name}'", expected="a shape (Y, X)", found=f"{shape}"
        )
    resized = resize_labels(np.stack([*labels.values()], axis=-1), (wanted[0], wanted[1]))
    planes = {name: resized[..., i] for i, name in enumerate(labels)}
    if numbering == "reference":
        return planes
    return {name: canonical_labels(plane) for name, plane in planes.items()}


def _source_mpp(entry: Entry) -> tuple[float, float] | None:
    """The pixel size (y, x) of the image itself; the maps have another if they were resized."""
    if "source_mpp" not in entry.attributes:
        return entry.mpp
    given = entry.attributes["source_mpp"]
    return (float(given[0]), float(given[1])) if given else None


def _median_diameter(areas: np.ndarray) -> float:
    """Median over objects of the diameter of the disk of equal area, px; 0 without objects."""
    return round(float(np.median(np.sqrt(areas * (4 / np.pi)))), 2) if len(areas) else 0.0


def _warn(text: str, images: Mapping[str, Mapping[str, float]]) -> None:
    """Print one line that names the first images of whom it is true."""
    if images:
        listed = [
            f"'{image}': " + ", ".join(f"{value:g} ({key})" for key, value in values.items())
            for image, values in [*images.items()][:_NAMED]
        ]
        rest = f", and {len(images) - _NAMED} more images" if len(images) > _NAMED else ""
        print(f"warning: {text}: {'; '.join(listed)}{rest}", file=sys.stderr)
