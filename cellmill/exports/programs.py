"""The forms of other programs by name: what each is for, what it writes, and what it can take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from cellmill.arrays.windows import Windowed
from cellmill.errors import BadInput
from cellmill.exports.tables import TableInParts, whole


@dataclass(frozen=True)
class Findings:
    """An image and what was found in it.

    Attributes:
        name: the image's.
        image: `(Y, X, C)` or `(Z, Y, X, C)`, the original pixels.
        channels: C names, the suffixes of the table's columns.
        labels: label images `(Y, X)` or `(Z, Y, X)` by kind of object.
        table: their measurements.
        mpp: pixel size (y, x), or (z, y, x), in microns, None where unknown.
        segmented: the channels that were segmented.
        about: what else is known, as texts: model, source.
        tolerance: how far, in pixels, an outline may be from the pixels' edges; 0 is exact.
        memory_mib: to work in.
        t: its time point, None where it is not one of a series.
    """

    name: str
    image: Windowed
    channels: Sequence[str]
    labels: Mapping[str, Windowed]
    table: pa.Table | TableInParts
    mpp: tuple[float, ...] | None = None
    segmented: Sequence[int] = ()
    about: Mapping[str, str] = field(default_factory=dict)
    tolerance: float = 0.0
    memory_mib: int = 1024
    t: int | None = None


@dataclass(frozen=True)
class Program:
    """A form in which results go to another program.

    Attributes:
        suffix: of the file, or folder, of an image.
        write: writes it, to an open file or into a folder; of a series its time points in order.
        folder: whether it is a folder.
        volumes: whether it can hold volumes.
        series: whether it is of a time series as a whole.
    """

    suffix: str
    write: Callable[[Any, Any], object]
    folder: bool = False
    volumes: bool = True
    series: bool = False


def _geojson(file: IO[bytes], found: Findings) -> None:
    from cellmill.exports.geojson import write_geojson

    tolerance = found.tolerance
    write_geojson(file, found.labels, found.table, name=found.name, tolerance=tolerance)


def _anndata(file: IO[bytes], found: Findings) -> None:
    from cellmill.exports.annotated import annotated
    from cellmill.exports.hierarchy import write_hdf5

    tree = annotated(whole(found.table), found.channels, mpp=found.mpp, about=found.about)
    write_hdf5(file, tree)


def _spatialdata(folder: Path, found: Findings) -> None:
    from cellmill.exports.spatial import write_spatialdata

    write_spatialdata(
        folder,
        found.image,
        found.labels,
        found.table,
        channels=found.channels,
        mpp=found.mpp,
        about=found.about,
        tolerance=found.tolerance,
        memory_mib=found.memory_mib,
    )


def _cellpose(folder: Path, found: Findings) -> None:
    from cellmill.exports.cellpose import write_cellpose

    write_cellpose(folder, found.name, found.image, found.labels, found.segmented)


def _rois(file: IO[bytes], found: Findings) -> None:
    from cellmill.exports.imagej import write_rois

    write_rois(file, found.labels, found.table, tolerance=found.tolerance)


def _tracking(folder: Path, series: Sequence[Findings]) -> None:
    from cellmill.exports.tracking import TimePoint, write_tracking

    frames = [TimePoint(each.t or 0, each.labels, whole(each.table)) for each in series]
    write_tracking(folder, frames, series[0].name)


PROGRAMS: Mapping[str, Program] = {
    "geojson": Program("geojson", _geojson, volumes=False),
    "anndata": Program("h5ad", _anndata),
    "spatialdata": Program("spatialdata.zarr", _spatialdata, folder=True),
    "cellpose": Program("cellpose", _cellpose, folder=True),
    "rois": Program("rois.zip", _rois, volumes=False),
    "tracking": Program("tracking", _tracking, folder=True, series=True),
}
"""The forms by name, as `EXPORT=` takes them."""


def programs_of(text: str, what: str = "formats") -> tuple[str, ...]:
    """The forms that a user names, with commas or spaces between, each once.

    Raises:
        BadInput: one is none.

    Example:
        >>> programs_of("rois, geojson rois")
        ('rois', 'geojson')
    """
    words = tuple(dict.fromkeys(text.replace(",", " ").split()))
    for word in words:
        if word not in PROGRAMS:
            raise BadInput(what, expected=f"of {', '.join(PROGRAMS)}", found=word)
    return words


def check_volumes(names: Sequence[str], volume: bool, what: str) -> None:
    """Refuse a volume for a form that has only planes.

    Raises:
        BadInput: it is so; the line names the forms that hold volumes.
    """
    for name in names:
        if volume and not PROGRAMS[name].volumes:
            able = ", ".join(each for each, program in PROGRAMS.items() if program.volumes)
            raise BadInput(
                what, expected=f"one plane for {name}; of a volume: {able}", found="a volume"
            )
