"""A time series for programs that link objects over time: a label stack, and a table of places.

For each kind of object `KIND.tif`, labels `(T, Y, X)` or `(T, Z, Y, X)`, which btrack's
`segmentation_to_objects` and laptrack's overlap tracking take, and `KIND.csv` with columns `t`,
`x`, `y`, `z`, `label`, which btrack's `import_CSV` reads and laptrack takes as a data frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import tifffile

from cellmill.arrays.windows import Windowed
from cellmill.errors import BadInput


@dataclass(frozen=True)
class TimePoint:
    """What was found at one time point.

    Attributes:
        t: its place in the series.
        labels: label images `(Y, X)` or `(Z, Y, X)` by kind of object.
        table: their measurements.
    """

    t: int
    labels: Mapping[str, Windowed]
    table: pa.Table


def write_tracking(folder: Path, series: Sequence[TimePoint], name: str) -> None:
    """Write a series; one time point's labels are held at a time.

    Places are in pixels, 0-based centres, of a plane with z = 0. A time point that was left out is
    a plane without objects.

    Args:
        folder: which is there.
        series: its time points, in order, at least one.
        name: the series', for messages.

    Raises:
        BadInput: time points differ in shape or kinds of object.
    """
    kinds = [*series[0].labels]
    shape = tuple(series[0].labels[kinds[0]].shape)
    for each in series:
        found = [tuple(array.shape) for array in each.labels.values()]
        if [*each.labels] != kinds or set(found) != {shape}:
            raise BadInput(
                f"time point {each.t} of '{name}'",
                expected=f"{', '.join(kinds)} of shape {shape}",
                found=f"{', '.join(each.labels)} of shape {found[0]}",
            )
    for kind in kinds:
        _write_places(folder / f"{kind}.csv", series, kind)
        _write_stack(folder / f"{kind}.tif", series, kind, shape)


def _write_places(path: Path, series: Sequence[TimePoint], kind: str) -> None:
    tables = []
    for each in series:
        rows = each.table.filter(pa.compute.equal(each.table["compartment"], kind))
        columns = {"t": pa.array([each.t] * len(rows), pa.int64())}
        for axis in "xyz":
            key = f"centroid_{axis}_px"
            there = key in rows.column_names
            columns[axis] = rows[key] if there else pa.array([0.0] * len(rows), pa.float64())
        tables.append(pa.table({**columns, "label": rows["label"]}))
    options = pyarrow.csv.WriteOptions(quoting_style="needed")
    pyarrow.csv.write_csv(pa.concat_tables(tables), path, options)


def _write_stack(
    path: Path, series: Sequence[TimePoint], kind: str, shape: tuple[int, ...]
) -> None:
    by_time = {each.t: each.labels[kind] for each in series}
    last = max(by_time)

    def planes() -> Iterator[np.ndarray]:
        for t in range(last + 1):
            found = by_time.get(t)
            labels = np.zeros(shape, np.int32) if found is None else np.asarray(found[...])
            yield from labels.astype(np.int32, copy=False).reshape(-1, *shape[-2:])

    with tifffile.TiffWriter(path, bigtiff=True) as out:
        out.write(
            planes(),
            shape=(last + 1, *shape),
            dtype=np.int32,
            photometric="minisblack",
            compression="zlib",
            metadata={"axes": "TZYX" if len(shape) == 3 else "TYX"},
            software="cellmill",
        )
