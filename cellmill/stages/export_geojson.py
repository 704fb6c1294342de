"""The stage that writes objects as polygons for QuPath."""

from __future__ import annotations

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.contract import (
    Annotations,
    Input,
    Labels,
    Measurements,
    Output,
    Record,
    for_each_image,
    stage,
)
from cellmill.exports.geojson import check_tolerance, write_geojson
from cellmill.exports.tables import TableInParts
from cellmill.labels.kinds import kinds_in


@stage(image="imaging", family="reporting")
def export_geojson(
    labels: Input[Labels],
    measurements: Input[Measurements],
    annotations: Output[Annotations],
    record: Output[Record],
    tolerance_px: float = 0.0,
) -> None:
    """Write objects as polygons with their measurements, in the GeoJSON that QuPath opens.

    Polygons follow the pixels' edges, with holes, in pixels of the image at full resolution.
    Whole cells are QuPath's cells, with their nucleus where they have one; all others are its
    detections. The same labels and measurements give the same bytes.

    Args:
        labels: Batch with an array a kind of object, as `whole_cell` or `nuclear`, (Y, X), of any
            size.
        measurements: Batch with a file `<name>.parquet` per image, of these labels.
        annotations: Batch with a file `<name>.geojson` per image.
        record: What was done, with times and versions.
        tolerance_px: How far an outline may be from the pixels' edges, in pixels, to have fewer
            corners; 0 is exact.
    """
    check_tolerance(tolerance_px)
    source, tables = Batch.open(labels.path), Batch.open(measurements.path)
    total = 0
    with BatchWriter(annotations.path, attributes=source.attributes) as out:

        def work(entry: Entry) -> None:
            nonlocal total
            names = kinds_in(entry.arrays, f"labels of image '{entry.name}'")
            table = TableInParts(tables.file(tables.entry(entry.name), "parquet"))
            with record.step("write"), out.open(entry.name, "geojson") as file:
                count = write_geojson(
                    file,
                    {each: source.array(entry, each) for each in names},
                    table,
                    name=entry.name,
                    tolerance=tolerance_px,
                )
            out.annotate(entry.name, features=count)
            total += count

        for_each_image(source, work, writers=[out], record=record)
    annotations.metadata["features"] = total
