"""Measure the objects of label images on the original pixels, in bands of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from cellmill.arrays.windows import Windowed
from cellmill.compartments import COMPARTMENTS
from cellmill.errors import BadInput
from cellmill.measurement.compartments import join_nuclei
from cellmill.measurement.passes import sum_channels, sum_objects
from cellmill.measurement.table import build_table, channel_suffixes, describe
from cellmill.metrics.pairs import MEMORY_MIB, check_labels

BACKGROUND_RING = (2, 8)


def measure_labels(
    labels: Windowed,
    image: Windowed,
    *,
    mpp: tuple[float, float] | None = None,
    channel_names: Sequence[str] = (),
    compartment: str = "whole_cell",
    background_ring: tuple[int, int] = BACKGROUND_RING,
    memory_mib: float = MEMORY_MIB,
) -> pa.Table:
    """Measure every object of one label image: `measure_compartments` with one compartment.

    Example:
        >>> import numpy as np
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
        memory_mib=memory_mib,
    )


def measure_compartments(
    labels: Mapping[str, Windowed],
    image: Windowed,
    *,
    mpp: tuple[float, float] | None = None,
    channel_names: Sequence[str] = (),
    background_ring: tuple[int, int] = BACKGROUND_RING,
    memory_mib: float = MEMORY_MIB,
) -> pa.Table:
    """Measure every object of one or both compartments.

    The table has one row an object, first the whole cells, then the nuclei, each by label. The
    columns are described in `cellmill.measurement.table` and in the schema's own metadata. With
    both compartments nuclei name their cell and cells count their nuclei. Background pixels are
    those in no object of either compartment.

    Args:
        labels: label images `(Y, X)` by compartment: `whole_cell`, `nuclear` or both; any integer
            dtype, labels below 2^40, 0 is background.
        image: the original pixels `(Y, X, C)`, integers or floats.
        mpp: µm per pixel along y and x; None, where it is unknown, leaves µm columns null.
        channel_names: names of the C channels; missing ones are called `channel_0` and so on.
        background_ring: radii in pixels of the ring of local background, see `background`.
        memory_mib: what this may take beside the tables of objects; the results do not depend
            on it.

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
    shown = [labels[name] for name in present]
    regions, pairs = sum_objects(shown, memory_mib)
    joined = join_nuclei(pairs) if pairs else None
    intensities, medians = sum_channels(shown, image, regions, background_ring, memory_mib)
    tables = [
        build_table(
            *each,
            shape=(image.shape[0], image.shape[1]),
            mpp=mpp,
            channels=suffixes,
            joined=joined,
        )
        for each in zip(present, regions, intensities, medians, strict=True)
    ]
    return describe(pa.concat_tables(tables), mpp=mpp, channels=suffixes, ring=background_ring)


def check_ring(radii: tuple[int, int]) -> None:
    """Refuse radii of the background ring that leave no ring, by BadInput."""
    if not 0 <= radii[0] < radii[1] <= 1000:
        raise BadInput(
            "the background ring",
            expected="an inner radius from 0 on and a larger outer one up to 1000 px",
            found=f"{radii[0]} and {radii[1]}",
        )


def _check(name: str, labels: Windowed, image: Windowed) -> None:
    check_labels(labels, f"the {name} labels")
    if len(image.shape) != 3 or image.dtype.kind not in "buif":
        raise BadInput(
            "the image to measure",
            expected="an array (Y, X, C) of integers or floats",
            found=f"the shape {image.shape}, {image.dtype}",
        )
    if tuple(labels.shape) != tuple(image.shape[:2]):
        raise BadInput(
            f"the {name} labels",
            expected=f"the image's Y, X {image.shape[:2]}",
            found=f"{labels.shape}",
        )
    if not min(labels.shape):
        raise BadInput("the image to measure", expected="pixels", found=f"shape {image.shape}")
