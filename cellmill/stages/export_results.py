"""The stage that writes what was found in the forms of other programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.arrays.rows import check_memory
from cellmill.contract import (
    Exports,
    Images,
    Input,
    Labels,
    Measurements,
    Output,
    Record,
    for_each_image,
    stage,
)
from cellmill.errors import BadInput
from cellmill.exports.geojson import check_tolerance
from cellmill.exports.programs import PROGRAMS, Findings, check_volumes, programs_of
from cellmill.exports.tables import TableInParts
from cellmill.labels.kinds import kinds_in
from cellmill.measurement.table import channel_suffixes
from cellmill.stages.shared.time_points import SERIES, T
from cellmill.version import __version__


@stage(image="imaging", family="reporting")
def export_results(
    images: Input[Images],
    labels: Input[Labels],
    measurements: Input[Measurements],
    exports: Output[Exports],
    record: Output[Record],
    formats: str = "",
    tolerance_px: float = 0.0,
    memory_mib: int = 1024,
    on_bad_image: Literal["fail", "skip"] = "fail",
) -> None:
    """Write images, labels and measurements in the forms of other programs, those that are named.

    Forms are `geojson` (QuPath), `anndata` (scanpy, squidpy), `spatialdata` (SpatialData, napari),
    `cellpose` (Cellpose's window) and `rois` (ImageJ's ROI Manager); of a time series `tracking`
    (btrack, laptrack). The same inputs give the same bytes.

    Args:
        images: Batch with array `image` (Y, X, C), or (Z, Y, X, C) of a volume, the original
            pixels.
        labels: Batch with an array a kind of object, as `whole_cell` or `nuclear`, (Y, X) or
            (Z, Y, X), of any size.
        measurements: Batch with a file `<name>.parquet` per image, of these labels.
        exports: Batch with a file per image and form: `<name>.geojson`, `<name>.h5ad`,
            `<name>.rois.zip`, and folders `<name>.spatialdata.zarr` and `<name>.cellpose`; of a
            time series a folder `<series>.tracking`.
        record: What was done, with times and versions.
        formats: Forms to write, with commas between; none by default.
        tolerance_px: How far an outline may be from the pixels' edges, in pixels, to have fewer
            corners; 0 is exact.
        memory_mib: Memory to work in, in MiB, beside the tables of cells; the files do not depend
            on it.
        on_bad_image: What to do with an image that cannot be exported: fail, or skip it and go on.
    """
    wanted = programs_of(formats, "parameter formats")
    check_tolerance(tolerance_px)
    check_memory(memory_mib)
    source, pixels = Batch.open(labels.path), Batch.open(images.path)
    tables = Batch.open(measurements.path)
    bounds = {"tolerance": tolerance_px, "memory_mib": memory_mib}
    of_image = [name for name in wanted if not PROGRAMS[name].series]
    of_series = [name for name in wanted if PROGRAMS[name].series]
    with BatchWriter(exports.path, attributes=source.attributes) as out:

        def work(entry: Entry) -> None:
            measured = tables.counterpart(entry, source)
            if measured is not None and not measured.ok:
                raise BadInput(
                    f"measurements of '{entry.name}'", expected="some", found=measured.error
                )
            if wanted:
                found = _findings(source, entry, pixels, tables, bounds)
                volume = len(found.image.shape) == 4
                check_volumes(wanted, volume, f"image '{entry.name}'")
                if of_series:
                    _series_of(pixels, entry, source)
            for name in of_image:
                program = PROGRAMS[name]
                with record.step(name):
                    if program.folder:
                        with out.folder_of(entry.name, program.suffix) as folder:
                            program.write(folder, found)
                    else:
                        with out.open(entry.name, program.suffix) as file:
                            program.write(file, found)
            out.annotate(entry.name, **entry.attributes)

        for_each_image(source, work, writers=[out], record=record, on_bad_image=on_bad_image)
        if of_series:
            series: dict[str, list[Findings]] = {}
            done = {entry.name for entry in out.entries if entry.ok}
            for entry in source.entries:
                if entry.name in done:
                    found = _findings(source, entry, pixels, tables, bounds)
                    series.setdefault(_series_of(pixels, entry, source), []).append(found)
            for name, frames in series.items():
                _write_series(out, name, frames, of_series, record)


def _write_series(
    out: BatchWriter,
    name: str,
    frames: list[Findings],
    wanted: Sequence[str],
    record: Record,
) -> None:
    frames.sort(key=lambda frame: frame.t or 0)
    for each in wanted:
        with record.step(each), out.folder_of(name, PROGRAMS[each].suffix) as folder:
            PROGRAMS[each].write(folder, frames)


def _series_of(pixels: Batch, entry: Entry, source: Batch) -> str:
    """The name of the time series that an image is of.

    Raises:
        BadInput: it is of none.
    """
    image_entry = pixels.counterpart(entry, source) or pixels.entry(entry.name)
    name: str = image_entry.attribute(SERIES, str, "")
    if not name:
        raise BadInput(
            f"image '{entry.name}'",
            expected="a time point of a series (T=all), for tracking",
            found="an image by itself",
        )
    return name


def _findings(
    source: Batch, entry: Entry, pixels: Batch, tables: Batch, bounds: dict[str, Any]
) -> Findings:
    image_entry = pixels.counterpart(entry, source) or pixels.entry(entry.name)
    image = pixels.array(image_entry, "image")
    measured = tables.counterpart(entry, source) or tables.entry(entry.name)
    card = source.attributes.get("model") or {}
    about = {
        "cellmill": __version__,
        "image": entry.name,
        "source": image_entry.attribute("source", str, ""),
        "model": f"{card.get('name', '')} {card.get('version', '')}".strip(),
    }
    kinds = kinds_in(entry.arrays, f"labels of image '{entry.name}'")
    return Findings(
        name=entry.name,
        image=image,
        channels=channel_suffixes(image_entry.channels, image.shape[-1]),
        labels={each: source.array(entry, each) for each in kinds},
        table=TableInParts(tables.file(measured, "parquet")),
        mpp=image_entry.mpp,
        segmented=image_entry.attribute("segmentation_channels", tuple[int, ...], ()),
        about={key: text for key, text in about.items() if text},
        t=image_entry.attribute(T, int, None),
        **bounds,
    )
