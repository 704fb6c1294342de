"""Measure the objects of label images on the original pixels, in bands of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from cellmill.arrays.windows import Windowed
from cellmill.errors import BadInput
from cellmill.labels.kinds import NUCLEAR, WHOLE_CELL, in_order, is_kind
from cellmill.labels.pairs import MEMORY_MIB, check_labels
from cellmill.measurement.compartments import join_nuclei
from cellmill.measurement.passes import sum_channels, sum_objects
from cellmill.measurement.table import COLUMNS, FORMAT, build_table, channel_suffixes, describe
from cellmill.measurement.volumes import measure_volumes

BACKGROUND_RING = (2, 8)


def measure_labels(
    labels: Windowed,
    image: Windowed,
    *,
    mpp: tuple[float, ...] | None = None,
    channel_names: Sequence[str] = (),
    compartment: str = "whole_cell",
    background_ring: tuple[int, int] = BACKGROUND_RING,
    memory_mib: float = MEMORY_MIB,
) -> pa.Table:
    """Measure every object of one label image; `measure_compartments` measures several.

    Args:
        labels: label image `(Y, X)` or volume `(Z, Y, X)`; any integer dtype, labels below 2^40, 0
            is background.
        image: the original pixels, of the same shape or with channels behind, integers or floats.
        mpp: µm per pixel along y and x, of a volume along z, y and x; None, where it is unknown,
            leaves µm columns null.
        channel_names: names of the C channels; missing ones are called `channel_0` and so on.
        compartment: the kind of object.
        background_ring: radii in pixels of the ring of local background, see `background`.
        memory_mib: what this may take beside the table; the results do not depend on it.

    Returns:
        One row an object, by label; the columns are described in `cellmill.measurement.table`, of
        volumes in `cellmill.measurement.volumes`, and in the schema's own metadata. `to_pandas()`
        makes a data frame of it, where pandas is.

    Raises:
        BadInput: shapes differ, a dtype is none of these, or a radius is out of range.

    Example:
        >>> import numpy as np
        >>> table = measure_labels(np.array([[0, 3, 3]]), np.array([[[9], [4], [6]]]))
        >>> table.select(["label", "area_px", "mean_channel_0", "area_um2"]).to_pylist()
        [{'label': 3, 'area_px': 2, 'mean_channel_0': 5.0, 'area_um2': None}]
    """
    if isinstance(image, np.ndarray) and image.ndim == len(labels.shape):
        image = image[..., np.newaxis]
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
    mpp: tuple[float, ...] | None = None,
    channel_names: Sequence[str] = (),
    background_ring: tuple[int, int] = BACKGROUND_RING,
    memory_mib: float = MEMORY_MIB,
) -> pa.Table:
    """Measure every object of one or several kinds.

    The table has one row an object, first the whole cells, then the nuclei, then other kinds, each
    by label. The columns are described in `cellmill.measurement.table` and in the schema's own
    metadata. With whole cells and nuclei, nuclei name their cell and cells count their nuclei.
    Background pixels are those in no object of any kind.

    Args:
        labels: label images `(Y, X)`, or volumes `(Z, Y, X)`, by kind of object, `whole_cell`,
            `nuclear` or another; any integer dtype, labels below 2^40, 0 is background.
        image: the original pixels `(Y, X, C)` or `(Z, Y, X, C)`, integers or floats.
        mpp: µm per pixel along y and x, of a volume along z, y and x; None, where it is unknown,
            leaves µm columns null.
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
    axes = len(image.shape) - 1
    sizes = "three" if axes == 3 else "two"
    if mpp is not None and not (len(mpp) == axes and min(mpp) > 0):
        raise BadInput("mpp", expected=f"{sizes} sizes above 0, or none", found=f"{mpp}")
    present = in_order(labels)
    if not present or not all(map(is_kind, present)):
        raise BadInput(
            "the compartments",
            expected=f"names of kinds of object, as {WHOLE_CELL}",
            found=", ".join(labels) or "none",
        )
    suffixes = channel_suffixes(channel_names, image.shape[-1])
    if axes == 3:
        return measure_volumes(labels, image, mpp=mpp, suffixes=suffixes, ring=background_ring)
    shown = [labels[name] for name in present]
    both = {WHOLE_CELL, NUCLEAR} <= set(present)
    paired = (present.index(WHOLE_CELL), present.index(NUCLEAR)) if both else None
    regions, pairs = sum_objects(shown, memory_mib, paired)
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
    about = {
        "format": FORMAT,
        "mpp": list(mpp) if mpp else None,
        "background_ring_px": list(background_ring),
        "coordinates": "0-based pixel centres (y, x); boxes are half-open",
    }
    return describe(pa.concat_tables(tables), COLUMNS, suffixes, about)


def check_ring(radii: tuple[int, int]) -> None:
    """Refuse radii of the background ring that leave no ring, by BadInput."""
    if not 0 <= radii[0] < radii[1] <= 1000:
        raise BadInput(
            "the background ring",
            expected="an inner radius from 0 on and a larger outer one up to 1000 px",
            found=f"{radii[0]} and {radii[1]}",
        )


def _check(name: str, labels: Windowed, image: Windowed) -> None:
    check_labels(labels, f"the {name} labels", volumes=True)
    if len(image.shape) not in (3, 4) or image.dtype.kind not in "buif":
        raise BadInput(
            "the image to measure",
            expected="an array (Y, X, C) or (Z, Y, X, C) of integers or floats",
            found=f"the shape {image.shape}, {image.dtype}",
        )
    if tuple(labels.shape) != tuple(image.shape[:-1]):
        raise BadInput(
            f"the {name} labels",
            expected=f"the image's {'Z, ' * (len(image.shape) == 4)}Y, X {image.shape[:-1]}",
            found=f"{labels.shape}",
        )
    if not min(labels.shape):
        raise BadInput("the image to measure", expected="pixels", found=f"shape {image.shape}")
