"""The stage that writes images as OME-TIFF, for other programs."""

from __future__ import annotations

from typing import Literal

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.contract import ImageFiles, Images, Input, Output, Record, for_each_image, stage
from cellmill.io.tiff.write import write_image
from cellmill.stages.shared.psfs import channel_names, pixels_of


@stage(image="imaging", family="reporting")
def export_images(
    images: Input[Images],
    image_files: Output[ImageFiles],
    record: Output[Record],
    on_bad_image: Literal["fail", "skip"] = "fail",
) -> None:
    """Write images and volumes as OME-TIFF: restored ones, for Fiji, napari or QuPath.

    Args:
        images: Batch with array `image` (Y, X, C) or (Z, Y, X, C) uint8, uint16 or float32.
        image_files: Batch with a file `<name>.tif` per image, with channels and pixel size.
        record: What was done, with times and versions.
        on_bad_image: What to do with an image that cannot be used: fail, or skip it and go on.
    """
    source = Batch.open(images.path)
    with BatchWriter(image_files.path, attributes=source.attributes) as out:

        def work(entry: Entry) -> None:
            image = pixels_of(source, entry)
            names = channel_names(entry, image.shape[-1])
            with record.step("write"), out.open(entry.name, "tif") as file:
                write_image(file, image, names, image_name=entry.name, mpp=entry.mpp)
            out.annotate(entry.name, **entry.attributes)

        for_each_image(source, work, writers=[out], record=record, on_bad_image=on_bad_image)
