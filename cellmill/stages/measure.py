"""The stage that measures every cell on the original pixels."""

from __future__ import annotations

from typing import Literal

import pyarrow.compute

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.arrays.rows import check_memory
from cellmill.contract import (
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
from cellmill.labels.kinds import kinds_in
from cellmill.measurement import measure_compartments, write_csv, write_parquet
from cellmill.measurement.measuring import check_ring
from cellmill.measurement.table import at_time
from cellmill.stages.shared.time_points import SERIES, T


@stage(image="imaging", family="measurement")
def measure(
    images: Input[Images],
    labels: Input[Labels],
    measurements: Output[Measurements],
    record: Output[Record],
    background_inner_px: int = 2,
    background_outer_px: int = 8,
    memory_mib: int = 1024,
    on_bad_image: Literal["fail", "skip"] = "fail",
) -> None:
    """Measure every cell on the original pixels: one table an image, one row a cell.

    Position, area and shape in pixels, and in µm where the pixel size is known; per channel mean,
    spread, extremes, sum and local background. Of a volume: volume, surface, sphericity and the
    three axes, with the voxel's size along each axis. With several kinds of object one table holds
    the whole cells, then the nuclei, then others, told apart by the column `compartment`: a filter
    gives each, a join of `cell_label` with `label` puts each nucleus beside its cell, and a cell
    with two nuclei or none, or a nucleus outside any cell, keeps its row. Of a time series each row
    has its time point, `t`.

    Args:
        images: Batch with array `image` (Y, X, C), or (Z, Y, X, C) of a volume, the original
            pixels.
        labels: Batch with an array a kind of object, as `whole_cell` or `nuclear`, (Y, X) or
            (Z, Y, X), 0 is background.
        measurements: Batch with files `<name>.csv` and `<name>.parquet` per image.
        record: What was done, with times and versions.
        background_inner_px: The local background is the median of the background pixels nearest
            to a cell that are farther away than this, in pixels.
        background_outer_px: And no farther away than this, in pixels.
        memory_mib: Memory to work in, in MiB, beside the tables of cells. Results do not depend
            on it.
        on_bad_image: What to do with an image that cannot be used: fail, or skip it and go on.
    """
    ring = (background_inner_px, background_outer_px)
    check_ring(ring)
    check_memory(memory_mib)
    pixels = Batch.open(images.path)
    source = Batch.open(labels.path)
    totals = {"images": 0}
    with BatchWriter(measurements.path) as out:

        def work(entry: Entry) -> None:
            compartments = kinds_in(entry.arrays, f"labels of image '{entry.name}'")
            image_entry = pixels.counterpart(entry, source) or pixels.entry(entry.name)
            try:
                with record.step("measure"):
                    table = measure_compartments(
                        {each: source.array(entry, each) for each in compartments},
                        pixels.array(image_entry, "image"),
                        mpp=image_entry.mpp,
                        channel_names=image_entry.channels,
                        background_ring=ring,
                        memory_mib=memory_mib,
                    )
            except BadInput as bad:
                raise bad.about(f"image '{entry.name}', {bad.what}") from None
            if image_entry.attribute(SERIES, str, ""):
                table = at_time(table, image_entry.attribute(T, int))
            with record.step("write"):
                with out.open(entry.name, "csv") as file:
                    write_csv(table, file)
                with out.open(entry.name, "parquet") as file:
                    write_parquet(table, file)
            counts = dict.fromkeys(compartments, 0)
            for kind in pyarrow.compute.value_counts(table["compartment"]).to_pylist():
                counts[kind["values"]] = kind["counts"]
            out.annotate(entry.name, objects=counts)
            totals["images"] += 1
            for compartment, count in counts.items():
                totals[compartment] = totals.get(compartment, 0) + count

        for_each_image(source, work, writers=[out], record=record, on_bad_image=on_bad_image)
    measurements.metadata.update(totals)
