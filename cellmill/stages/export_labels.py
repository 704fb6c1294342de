"""The stage that writes label images for other programs."""

from __future__ import annotations

from typing import Literal

from cellmill.arrays.batch import Batch, BatchWriter, Entry
from cellmill.contract import Dataset, Input, Output, Record, for_each_image
from cellmill.errors import BadInput
from cellmill.tiff.write import write_labels

#: In this order they are channels of one file.
COMPARTMENTS = ("whole_cell", "nuclear")


def export_labels(
    labels: Input[Dataset],
    label_images: Output[Dataset],
    record: Output[Record],
    dtype: Literal["int32", "uint16"] = "int32",
    memory_mib: int = 1024,
) -> None:
    """Write label images as OME-TIFF, for other programs.

    Tiled and compressed, with the physical pixel size where it is known, and with reduced levels
    where a side is longer than 1024 px; whole cells and nuclei are two channels of one file. The
    same labels give the same bytes.

    Args:
        labels: Batch with arrays `whole_cell` and `nuclear`, or one of them, (Y, X), of any size.
        label_images: Batch with a file `<name>.tif` per image.
        record: What was done, with times and versions.
        dtype: Integers to write; uint16, which more programs open, only if all labels fit.
        memory_mib: Memory to take at most, in MiB, above what the program itself needs; the files
            do not depend on it.
    """
    source = Batch.open(labels.path)
    with BatchWriter(label_images.path, attributes=source.attributes) as out:

        def work(entry: Entry) -> None:
            names = [name for name in COMPARTMENTS if name in entry.arrays]
            if not names:
                raise BadInput(
                    f"'{entry.name}' in '{labels.path}'",
                    expected=f"an array {' or '.join(COMPARTMENTS)}",
                    found=", ".join(entry.arrays) or "no arrays",
                )
            arrays = [source.read(entry, name) for name in names]
            with record.step("write"), out.open(entry.name, "tif") as file:
                write_labels(
                    file,
                    arrays,
                    names,
                    image_name=entry.name,
                    mpp=entry.mpp,
                    dtype=dtype,
                    memory_mib=memory_mib,
                )
            out.annotate(entry.name, **entry.attributes)

        for_each_image(source, work, writers=[out], record=record)
