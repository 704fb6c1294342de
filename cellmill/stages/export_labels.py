"""The stage that writes label images for other programs."""

from __future__ import annotations

from typing import Literal

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.arrays.label_pyramid import write_label_pyramids
from cellmill.contract import Input, LabelFiles, Labels, Output, Record, for_each_image, stage
from cellmill.io.tiff.write import write_label_images
from cellmill.labels.kinds import kinds_in


@stage(image="imaging", family="reporting")
def export_labels(
    labels: Input[Labels],
    label_images: Output[LabelFiles],
    record: Output[Record],
    dtype: Literal["int32", "uint16"] = "int32",
    ome_zarr: bool = False,
    memory_mib: int = 1024,
) -> None:
    """Write label images as OME-TIFF, and as OME-Zarr if wanted, for other programs.

    Tiled and compressed, with the physical pixel size where it is known, and with reduced levels
    where a side is longer than 1024 px; kinds of object are channels of one file. The
    same labels give the same bytes.

    Args:
        labels: Batch with an array a kind of object, as `whole_cell` or `nuclear`, (Y, X) or
            (Z, Y, X), of any size.
        label_images: Batch with a file `<name>.tif` per image, and a folder `<name>.ome.zarr` if
            wanted.
        record: What was done, with times and versions.
        dtype: Integers to write; uint16, which more programs open, only if all labels fit.
        ome_zarr: Whether to write OME-Zarr 0.5 labels too, for viewers of large images.
        memory_mib: Memory to take at most, in MiB, above what the program itself needs; the files
            do not depend on it.
    """
    source = Batch.open(labels.path)
    with BatchWriter(label_images.path, attributes=source.attributes) as out:

        def work(entry: Entry) -> None:
            names = kinds_in(entry.arrays, f"labels of image '{entry.name}'")
            arrays = [source.array(entry, name) for name in names]
            with record.step("write"), out.open(entry.name, "tif") as file:
                write_label_images(
                    file,
                    arrays,
                    names,
                    image_name=entry.name,
                    mpp=entry.mpp,
                    dtype=dtype,
                    memory_mib=memory_mib,
                )
            if ome_zarr:
                with record.step("write OME-Zarr"), out.folder_of(entry.name, "ome.zarr") as folder:
                    write_label_pyramids(
                        str(folder),
                        dict(zip(names, arrays, strict=True)),
                        mpp=entry.mpp,
                        dtype=dtype,
                        memory_mib=memory_mib,
                    )
            out.annotate(entry.name, **entry.attributes)

        for_each_image(source, work, writers=[out], record=record)
