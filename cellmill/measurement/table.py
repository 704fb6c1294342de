"""Measurements as a table: one row an object, typed columns whose names say their units."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cellmill.arrays.channels import distinct_names
from cellmill.labels.kinds import NUCLEAR, WHOLE_CELL
from cellmill.measurement.compartments import NucleiInCells
from cellmill.measurement.intensities import Intensities
from cellmill.measurement.regions import Regions

FORMAT = "cellmill-measurements/1"

COLUMNS: dict[str, str] = {
    "compartment": "what the object is: whole_cell, nuclear or another kind of the model's",
    "label": "its value in the label image of its compartment",
    "cell_label": "of a nucleus: the cell it shares most pixels with; null for none",
    "nucleus_count": "of a cell: how many nuclei name it as their cell",
    "nucleus_cell_area_ratio": "of a nucleus: its area / its cell's; of a cell: its nuclei's "
    "total area / its own; null for none",
    "centroid_y_px": "mean row of its pixel centres, the first row being 0",
    "centroid_x_px": "mean column of its pixel centres, the first column being 0",
    "centroid_y_um": "the same in µm from the centre of the first pixel",
    "centroid_x_um": "the same in µm from the centre of the first pixel",
    "area_px": "number of its pixels",
    "area_um2": "area in µm²",
    "bbox_y0_px": "first row of its bounding box",
    "bbox_x0_px": "first column of its bounding box",
    "bbox_y1_px": "one past the last row of its bounding box",
    "bbox_x1_px": "one past the last column of its bounding box",
    "eccentricity": "of the ellipse with the same second moments: 0 a circle, towards 1 a line; "
    "with square pixels where the pixel size is unknown",
    "major_axis_px": "full length of that ellipse, in pixels",
    "minor_axis_px": "full width of that ellipse, in pixels",
    "major_axis_um": "full length of that ellipse, in µm",
    "minor_axis_um": "full width of that ellipse, in µm",
    "equivalent_diameter_px": "diameter of the circle of the same area, in pixels",
    "equivalent_diameter_um": "diameter of the circle of the same area, in µm",
    "perimeter_px": "length of the line through its boundary pixels' centres",
    "perimeter_um": "the same in µm; null where pixels are not square",
    "touches_edge": "whether its bounding box reaches the edge of the image",
}
"""Every column that is not of a channel and what it holds; µm columns are null without a scale."""

CHANNEL_COLUMNS: dict[str, str] = {
    "mean": "mean intensity over its pixels",
    "sd": "standard deviation over its pixels (divided by their number)",
    "min": "lowest intensity",
    "max": "highest intensity",
    "sum": "sum of the intensities",
    "background": "local background: median of the background pixels nearest to it, more than "
    "the ring's inner and at most its outer radius away; null where there is none",
}
"""Columns of each channel, `mean_DAPI` and so on, on the original pixels."""


def channel_suffixes(names: Sequence[str], n_channels: int) -> list[str]:
    """Name channels for columns: unique, none empty; see `distinct_names`.

    Example:
        >>> channel_suffixes(["DAPI", "", "DAPI"], 4)
        ['DAPI 0', 'channel_1', 'DAPI 2', 'channel_3']
    """
    missing = [""] * (n_channels - len(names))
    return distinct_names([*names[:n_channels], *missing])


def build_table(
    compartment: str,
    regions: Regions,
    intensities: Intensities,
    backgrounds: npt.NDArray[np.float64],
    *,
    shape: tuple[int, int],
    mpp: tuple[float, ...] | None,
    channels: Sequence[str],
    joined: NucleiInCells | None = None,
) -> pa.Table:
    """Put the measurements of one compartment's objects into a table.

    Args:
        compartment: the kind of object, `whole_cell`, `nuclear` or another.
        regions: shapes of N objects.
        intensities: their intensities in C channels.
        backgrounds: their local background `(N, C)`, NaN for none.
        shape: Y, X of the image.
        mpp: µm per pixel along y and x, None where unknown.
        channels: C suffixes of column names.
        joined: nuclei and cells, where both are known.
    """
    n = len(regions.labels)
    y0, x0, y1, x1 = regions.boxes.T
    touches = (y0 == 0) | (x0 == 0) | (y1 == shape[0]) | (x1 == shape[1])
    pixel = (mpp[0], mpp[1]) if mpp else (1.0, 1.0)
    axes_px, axes_um = regions.axes(), regions.axes(pixel)
    diameters = 2 * np.sqrt(regions.areas / np.pi)
    square = mpp is not None and mpp[0] == mpp[1]
    columns: dict[str, pa.Array] = {
        "compartment": pa.array([compartment] * n, pa.string()),
        "label": integers(regions.labels),
    }
    if joined is not None:
        columns |= joined_columns(compartment, n, joined)
    columns |= {
        "centroid_y_px": floats(regions.centroids[:, 0]),
        "centroid_x_px": floats(regions.centroids[:, 1]),
        "centroid_y_um": floats(regions.centroids[:, 0] * pixel[0], known=mpp is not None),
        "centroid_x_um": floats(regions.centroids[:, 1] * pixel[1], known=mpp is not None),
        "area_px": integers(regions.areas),
        "area_um2": floats(regions.areas * (pixel[0] * pixel[1]), known=mpp is not None),
        "bbox_y0_px": integers(y0),
        "bbox_x0_px": integers(x0),
        "bbox_y1_px": integers(y1),
        "bbox_x1_px": integers(x1),
        "eccentricity": floats(_eccentricities(axes_um)),
        "major_axis_px": floats(axes_px[:, 0]),
        "minor_axis_px": floats(axes_px[:, 1]),
        "major_axis_um": floats(axes_um[:, 0], known=mpp is not None),
        "minor_axis_um": floats(axes_um[:, 1], known=mpp is not None),
        "equivalent_diameter_px": floats(diameters),
        "equivalent_diameter_um": floats(
            diameters * np.sqrt(pixel[0] * pixel[1]), known=mpp is not None
        ),
        "perimeter_px": floats(regions.perimeters),
        "perimeter_um": floats(regions.perimeters * pixel[0], known=square),
        "touches_edge": pa.array(touches, pa.bool_()),
    }
    return pa.table(columns | channel_columns(intensities, backgrounds, channels))


def channel_columns(
    intensities: Intensities, backgrounds: npt.NDArray[np.float64], channels: Sequence[str]
) -> dict[str, pa.Array]:
    """The columns of each channel; the arguments are those of `build_table`."""
    columns: dict[str, pa.Array] = {}
    means, deviations = intensities.means, intensities.deviations
    for c, name in enumerate(channels):
        columns |= {
            f"mean_{name}": floats(means[:, c]),
            f"sd_{name}": floats(deviations[:, c]),
            f"min_{name}": pa.array(intensities.minima[:, c]),
            f"max_{name}": pa.array(intensities.maxima[:, c]),
            f"sum_{name}": pa.array(intensities.sums[:, c]),
            f"background_{name}": floats(backgrounds[:, c]),
        }
    return columns


def describe(
    table: pa.Table,
    columns: Mapping[str, str],
    channels: Sequence[str],
    about: Mapping[str, object],
) -> pa.Table:
    """Write into the schema what the columns mean and how they were measured.

    Args:
        table: of objects.
        columns: what each column means, those of channels aside.
        channels: suffixes of the channels' columns.
        about: the table's format, and how objects were measured.
    """
    meanings = dict(columns)
    for name in channels:
        meanings |= {f"{kind}_{name}": text for kind, text in CHANNEL_COLUMNS.items()}
    described = [each.with_metadata({"meaning": meanings[each.name]}) for each in table.schema]
    told = {**about, "channels": list(channels)}
    metadata = {"cellmill": json.dumps(told, sort_keys=True)}
    return table.cast(pa.schema(described, metadata=metadata))


def joined_columns(
    compartment: str, n: int, joined: NucleiInCells, ratio: str = "nucleus_cell_area_ratio"
) -> dict[str, pa.Array]:
    """The columns that join nuclei and cells, `ratio` being the name of the last."""
    if compartment == NUCLEAR:
        cells = joined.cell_of_nucleus
        return {
            "cell_label": pa.array(cells, pa.int64(), mask=cells == 0),
            "nucleus_count": pa.nulls(n, pa.int64()),
            ratio: floats(joined.nucleus_to_cell),
        }
    whole = compartment == WHOLE_CELL
    return {
        "cell_label": pa.nulls(n, pa.int64()),
        "nucleus_count": integers(joined.nuclei_of_cell) if whole else pa.nulls(n, pa.int64()),
        ratio: floats(joined.nuclei_to_cell) if whole else pa.nulls(n, pa.float64()),
    }


def _eccentricities(axes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    major, minor = axes.T
    flat = np.divide(minor, major, out=np.ones_like(major), where=major > 0)
    return np.sqrt(np.maximum(0, 1 - flat**2))


def at_time(table: pa.Table, t: int) -> pa.Table:
    """Give a table of one image of a series its time point, as the column `t`, behind `label`."""
    meaning = {"meaning": "time point of the series, the first being 0"}
    field = pa.field("t", pa.int64(), metadata=meaning)
    place = table.column_names.index("label") + 1
    return table.add_column(place, field, pa.array([t] * len(table), pa.int64()))


def integers(values: npt.NDArray) -> pa.Array:
    """Make a column of whole numbers."""
    return pa.array(values.astype(np.int64), pa.int64())


def floats(values: npt.NDArray, *, known: bool = True) -> pa.Array:
    """Make a column of floats in which NaN, and everything that is not known, is null."""
    if not known:
        return pa.nulls(len(values), pa.float64())
    values = np.asarray(values, np.float64)
    return pa.array(values, pa.float64(), mask=np.isnan(values))
