"""Measure the objects of label volumes on the original voxels, plane by plane."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cellmill.arrays.windows import Section, Windowed
from cellmill.compute.threads import in_threads
from cellmill.labels.grouping import RunningSum
from cellmill.labels.kinds import NUCLEAR, WHOLE_CELL, in_order
from cellmill.labels.pairs import pair_labels
from cellmill.measurement.compartments import NucleiInCells, join_nuclei
from cellmill.measurement.intensities import ChannelSums, Intensities, join_channels
from cellmill.measurement.numbering import Numbered, number_objects
from cellmill.measurement.passes import check_values
from cellmill.measurement.regions import sum_regions
from cellmill.measurement.shells import shell_medians
from cellmill.measurement.solids import Solids, add_solids, count_crossings, solids_of_plane
from cellmill.measurement.table import (
    channel_columns,
    describe,
    floats,
    integers,
    joined_columns,
)

FORMAT = "cellmill-volume-measurements/1"

VOLUME_COLUMNS: dict[str, str] = {
    "compartment": "what the object is: whole_cell, nuclear or another kind of the model's",
    "label": "its value in the label volume of its compartment",
    "cell_label": "of a nucleus: the cell it shares most voxels with; null for none",
    "nucleus_count": "of a cell: how many nuclei name it as their cell",
    "nucleus_cell_volume_ratio": "of a nucleus: its volume / its cell's; of a cell: its nuclei's "
    "total volume / its own; null for none",
    **{
        f"centroid_{axis}_px": f"mean {what} of its voxel centres, the first {what} being 0"
        for axis, what in (("z", "plane"), ("y", "row"), ("x", "column"))
    },
    **{
        f"centroid_{axis}_um": "the same in µm from the centre of the first voxel" for axis in "zyx"
    },
    "volume_px": "number of its voxels",
    "volume_um3": "volume in µm³",
    **{
        f"bbox_{axis}0_px": f"first {what} of its bounding box"
        for axis, what in (("z", "plane"), ("y", "row"), ("x", "column"))
    },
    **{
        f"bbox_{axis}1_px": f"one past the last {what} of its bounding box"
        for axis, what in (("z", "plane"), ("y", "row"), ("x", "column"))
    },
    **{
        f"{name}_axis_um": f"full length of the {which} axis of the ellipsoid with the same second "
        "moments, in µm"
        for name, which in (("major", "longest"), ("middle", "second"), ("minor", "shortest"))
    },
    **{
        f"{name}_axis_px": "the same with voxels taken as cubes, in their sides"
        for name in ("major", "middle", "minor")
    },
    "equivalent_diameter_um": "diameter of the ball of the same volume, in µm",
    "equivalent_diameter_px": "diameter of the ball of as many cubes, in their sides",
    "surface_um2": "surface in µm², by Crofton's formula over 13 directions",
    "surface_px2": "the same with voxels taken as cubes, in their faces",
    "sphericity": "surface of the ball of the same volume / its own: 1 a ball, less what is not; "
    "voxels taken as cubes where their size is unknown",
    "touches_edge": "whether its bounding box reaches a side of the volume (Y or X)",
    "touches_end": "whether its bounding box reaches the first or the last plane",
}
"""Every column that is not of a channel; µm columns are null where the voxel size is unknown."""


def measure_volumes(
    labels: Mapping[str, Windowed],
    image: Windowed,
    *,
    mpp: tuple[float, ...] | None,
    suffixes: Sequence[str],
    ring: tuple[int, int],
) -> pa.Table:
    """Measure every object of one or several kinds, as `measure_compartments` does.

    Args:
        labels: label volumes `(Z, Y, X)` by kind of object.
        image: the original voxels `(Z, Y, X, C)`.
        mpp: µm per voxel along z, y and x; None where unknown.
        suffixes: of the channels' columns.
        ring: radii of the shell of local background in pixels of a plane, see `shells`.
    """
    present = in_order(labels)
    shown = [labels[name] for name in present]
    both = {WHOLE_CELL, NUCLEAR} <= set(present)
    solids = [sum_solids(each) for each in shown]
    joined = join_nuclei(pair_labels(labels[NUCLEAR], labels[WHOLE_CELL])) if both else None
    tables = []
    for name, each, found in zip(present, shown, solids, strict=True):
        others = [other for other in shown if other is not each]
        voxel = mpp or (1.0, 1.0, 1.0)
        tables.append(
            _table(
                name,
                found,
                _intensities(each, image, found),
                shell_medians(each, others, image, found, ring, voxel),
                shape=tuple(each.shape),
                mpp=mpp,
                channels=suffixes,
                joined=joined,
            )
        )
    about = {
        "format": FORMAT,
        "mpp": list(mpp) if mpp else None,
        "background_shell_px": list(ring),
        "coordinates": "0-based voxel centres (z, y, x); boxes are half-open",
    }
    return describe(pa.concat_tables(tables), VOLUME_COLUMNS, suffixes, about)


def sum_solids(labels: Windowed) -> Solids:
    """Sum up the objects of a label volume; three of its planes are held at a time.

    Args:
        labels: `(Z, Y, X)` integers, 0 is background.

    Raises:
        BadInput: a label is out of range.
    """
    total: RunningSum[Solids] = RunningSum(add_solids, len)
    for z, planes in enumerate(_with_neighbours(labels)):
        plane = planes[1, 1:-1, 1:-1]
        check_values(plane)
        regions = sum_regions(plane, slice(0, plane.shape[0]))
        ranks = number_objects(plane, regions, slice(0, plane.shape[0])).ranks
        crossings = count_crossings(planes, ranks, len(regions))
        total.add(solids_of_plane(regions, z, crossings))
    return total.total()


def _with_neighbours(labels: Windowed) -> Iterator[npt.NDArray]:
    """Give each plane between its neighbours, `(3, Y + 2, X + 2)`, zeros all around."""
    depth, height, width = labels.shape
    planes = np.zeros((3, height + 2, width + 2), labels.dtype.newbyteorder("="))
    planes[2, 1:-1, 1:-1] = labels[0]
    for z in range(depth):
        planes[:2] = planes[1:]
        planes[2, 1:-1, 1:-1] = labels[z + 1] if z + 1 < depth else 0
        yield planes


def _intensities(labels: Windowed, image: Windowed, solids: Solids) -> Intensities:
    """Sum up the channels over the objects, as of an image of all planes one below the other."""
    dtype = np.dtype(np.uint8) if image.dtype == bool else image.dtype.newbyteorder("=")
    sums = [ChannelSums(len(solids), dtype) for _ in range(image.shape[-1])]
    for z in range(labels.shape[0]):
        numbered = number_objects(np.asarray(labels[z]), solids, slice(0, labels.shape[1]))
        add = partial(_add_plane, sums, Section(image, z), numbered, dtype)
        in_threads(add, range(len(sums)))
    return join_channels(sums, solids.areas)


def _add_plane(
    sums: Sequence[ChannelSums], plane: Section, numbered: Numbered, dtype: np.dtype, channel: int
) -> None:
    pixels = np.ascontiguousarray(plane[:, :, channel], plane.dtype.newbyteorder("="))
    runs = numbered.runs_of, numbered.starts, numbered.lengths
    sums[channel].add(pixels.reshape(-1).view(dtype), *runs)


def _table(
    compartment: str,
    solids: Solids,
    intensities: Intensities,
    backgrounds: npt.NDArray[np.float64],
    *,
    shape: tuple[int, ...],
    mpp: tuple[float, ...] | None,
    channels: Sequence[str],
    joined: NucleiInCells | None,
) -> pa.Table:
    known = mpp is not None
    in_um = partial(floats, known=known)
    voxel = mpp or (1.0, 1.0, 1.0)
    size = float(np.prod(voxel))
    n, volumes = len(solids), solids.areas
    low, high = solids.boxes[:, :3], solids.boxes[:, 3:]
    reaches = (low == 0) | (high == np.array(shape))
    axes = {"um": solids.axes(voxel), "px": solids.axes()}
    surfaces = {"um": solids.surfaces(voxel), "px": solids.surfaces()}
    diameters = np.cbrt(6 * volumes / np.pi)
    around = np.pi * (diameters * np.cbrt(size)) ** 2
    columns: dict[str, pa.Array] = {
        "compartment": pa.array([compartment] * n, pa.string()),
        "label": integers(solids.labels),
    }
    if joined is not None:
        columns |= joined_columns(compartment, n, joined, "nucleus_cell_volume_ratio")
    centres = solids.centroids
    columns |= {f"centroid_{a}_px": floats(centres[:, i]) for i, a in enumerate("zyx")}
    columns |= {f"centroid_{a}_um": in_um(centres[:, i] * voxel[i]) for i, a in enumerate("zyx")}
    columns |= {"volume_px": integers(volumes), "volume_um3": in_um(volumes * size)}
    columns |= {f"bbox_{a}0_px": integers(low[:, i]) for i, a in enumerate("zyx")}
    columns |= {f"bbox_{a}1_px": integers(high[:, i]) for i, a in enumerate("zyx")}
    for unit, make in (("um", in_um), ("px", floats)):
        for i, name in enumerate(("major", "middle", "minor")):
            columns[f"{name}_axis_{unit}"] = make(axes[unit][:, i])
    columns |= {
        "equivalent_diameter_um": in_um(diameters * np.cbrt(size)),
        "equivalent_diameter_px": floats(diameters),
        "surface_um2": in_um(surfaces["um"]),
        "surface_px2": floats(surfaces["px"]),
        "sphericity": floats(around / surfaces["um"]),
        "touches_edge": pa.array(reaches[:, 1:].any(axis=1), pa.bool_()),
        "touches_end": pa.array(reaches[:, 0], pa.bool_()),
    }
    return pa.table(columns | channel_columns(intensities, backgrounds, channels))
