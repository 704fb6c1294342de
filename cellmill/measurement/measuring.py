"""Measure the objects of label images on the original pixels, in bands of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cellmill.errors import BadInput
from cellmill.measurement.background import (
    LABEL_BITS,
    RingPixels,
    find_ring_pixels,
    ring_medians,
)
from cellmill.measurement.compartments import join_nuclei
from cellmill.measurement.intensities import Intensities, add_intensities, sum_intensities
from cellmill.measurement.regions import Regions, add_regions, sum_regions
from cellmill.measurement.runs import bands, find_runs
from cellmill.measurement.table import build_table, channel_suffixes, describe
from cellmill.metrics.pairs import check_labels, pair_labels

BACKGROUND_RING = (2, 8)
COMPARTMENTS = ("whole_cell", "nuclear")


def measure_labels(
    labels: npt.NDArray,
    image: npt.NDArray,
    *,
    mpp: tuple[float, float] | None = None,
    channel_names: Sequence[str] = (),
    compartment: str = "whole_cell",
    background_ring: tuple[int, int] = BACKGROUND_RING,
) -> pa.Table:
    """Measure every object of one label image: `measure_compartments` with one compartment.

    Example:
        >>> table = measure_labels(np.array([[0, 3, 3]]), np.array([[[9], [4], [6]]]))
        >>> table.select(["label", "area_px", "mean_channel_0", "area_um2"]).to_pylist()
        [{'label': 3, 'area_px': 2, 'mean_channel_0': 5.0, 'area_um2': None}]
    """
    return measure_compartments(
        {compartment: labels},
        image,
        mpp=mpp,
        channel_names=channel_names,
        background_ring=background_ring,
    )


def measure_compartments(
    labels: Mapping[str, npt.NDArray],
    image: npt.NDArray,
    *,
    mpp: tuple[float, float] | None = None,
    channel_names: Sequence[str] = (),
    background_ring: tuple[int, int] = BACKGROUND_RING,
) -> pa.Table:
    """Measure every object of one or both compartments.

    The table has one row an object, first the whole cells, then the nuclei, each by label. The
    columns are described in `cellmill.measurement.table` and in the schema's own metadata. With
    both compartments nuclei name their cell and cells count their nuclei. Background pixels are
    those in no object of either compartment.

    Args:
        labels: label images `(Y, X)` by compartment: `whole_cell`, `nuclear` or both; any integer
            dtype, labels below 2^40, 0 is background; may be memory-mapped.
        image: the original pixels `(Y, X, C)`, integers or floats; may be memory-mapped.
        mpp: µm per pixel along y and x; None, where it is unknown, leaves µm columns null.
        channel_names: names of the C channels; missing ones are called `channel_0` and so on.
        background_ring: radii in pixels of the ring of local background, see `background`.

    Raises:
        BadInput: shapes differ, a dtype is none of these, or a radius is out of range.
    """
    for name, array in labels.items():
        _check(name, array, image)
    check_ring(background_ring)
    if mpp is not None and not (len(mpp) == 2 and min(mpp) > 0):
        raise BadInput("mpp", expected="two sizes above 0, or none", found=f"{mpp}")
    present = [name for name in COMPARTMENTS if name in labels]
    if len(present) != len(labels) or not present:
        raise BadInput(
            "the compartments",
            expected=" or ".join(COMPARTMENTS),
            found=", ".join(labels) or "none",
        )
    suffixes = channel_suffixes(channel_names, image.shape[2])
    regions, intensities, rings = _measure_bands(
        [labels[name] for name in present], image, background_ring
    )
    joined = None
    if len(present) == 2:
        joined = join_nuclei(pair_labels(labels["nuclear"], labels["whole_cell"]))
    tables = []
    for name, shapes, channels, ring in zip(present, regions, intensities, rings, strict=True):
        summed = add_regions(shapes)
        medians = ring_medians(summed.labels, ring, image.shape[2])
        tables.append(
            build_table(
                name,
                summed,
                add_intensities(channels),
                medians,
                shape=(image.shape[0], image.shape[1]),
                mpp=mpp,
                channels=suffixes,
                joined=joined,
            )
        )
    return describe(pa.concat_tables(tables), mpp=mpp, channels=suffixes, ring=background_ring)


def check_ring(radii: tuple[int, int]) -> None:
    """Refuse radii of the background ring that leave no ring, by BadInput."""
    if not 0 <= radii[0] < radii[1] <= 1000:
        raise BadInput(
            "the background ring",
            expected="an inner radius from 0 on and a larger outer one up to 1000 px",
            found=f"{radii[0]} and {radii[1]}",
        )


def _measure_bands(
    labels: Sequence[npt.NDArray], image: npt.NDArray, ring: tuple[int, int]
) -> tuple[list[list[Regions]], list[list[Intensities]], list[list[RingPixels]]]:
    """Sum up band by band, for each label image apart."""
    regions: list[list[Regions]] = [[] for _ in labels]
    intensities: list[list[Intensities]] = [[] for _ in labels]
    rings: list[list[RingPixels]] = [[] for _ in labels]
    for around, inner in bands((image.shape[0], image.shape[1]), max(2, ring[1])):
        origin = around.start + inner.start
        pixels = np.asarray(image[origin : around.start + inner.stop])
        windows = [np.asarray(each[around]) for each in labels]
        background = np.logical_and.reduce([window == 0 for window in windows])
        for index, window in enumerate(windows):
            _check_values(window)
            runs = find_runs(window[inner])
            regions[index].append(sum_regions(window, runs, inner, origin=(origin, 0)))
            intensities[index].append(sum_intensities(pixels, runs))
            rings[index].append(find_ring_pixels(pixels, window, background, inner, ring))
    return regions, intensities, rings


def _check(name: str, labels: npt.NDArray, image: npt.NDArray) -> None:
    check_labels(labels, f"the {name} labels")
    if image.ndim != 3 or image.dtype.kind not in "buif":
        raise BadInput(
            "the image to measure",
            expected="an array (Y, X, C) of integers or floats",
            found=f"the shape {image.shape}, {image.dtype}",
        )
    if labels.shape != image.shape[:2]:
        raise BadInput(
            f"the {name} labels",
            expected=f"the image's Y, X {image.shape[:2]}",
            found=f"{labels.shape}",
        )
    if not labels.size:
        raise BadInput("the image to measure", expected="pixels", found=f"shape {image.shape}")


def _check_values(labels: npt.NDArray) -> None:
    low, high = labels.min(), labels.max()
    if low < 0 or high >= 1 << LABEL_BITS:
        raise BadInput(
            "the labels to measure",
            expected=f"values from 0 to 2^{LABEL_BITS}-1",
            found=f"{low if low < 0 else high}",
        )
