"""The component ``tiff_to_npz``: its interface."""

from typing import Any

from kfp import dsl

from components.container import run_stage


@dsl.container_component
def tiff_to_npz(
    images: dsl.Output[dsl.Dataset],
    truth: dsl.Output[dsl.Dataset],
    record: dsl.Output[dsl.Artifact],
    items: list[Any],
    channels: str = "",
    measure_channels: str = "",
    mpp: float = 0.0,
    target_mpp: float = 0.0,
    z: int = -1,
    t: int = -1,
    series: int = -1,
    on_bad_image: str = "fail",
    container: str = "auto",
    store: str = "",
    memory_mib: int = 1024,
) -> dsl.ContainerSpec:
    """Open TIFF images and put the channels that matter into arrays.

    Only the pages of those channels are read. Reads TIFF, OME-TIFF, BigTIFF, ImageJ and MetaMorph
    files, pyramids, tiles and strips, every common compression, and OME-Zarr 0.5; 8- and 16-bit
    pixels stay as they are, others become float32. Killed and started again with a Zarr container,
    it reads only what is missing.

    Args:
        items: The images: paths or URIs, or objects {"image": URI, "truth": URI or "", "name":
            its name, "digest": "sha256:…" of the image, "truth_digest": of the truth}; only
            "image" is needed. A file whose digest is another is refused; a local one without is
            known by its size and time of change.
        channels: Channels to segment, in the model's order, by name or 0-based index, with commas
            between: `DAPI,membrane`, `0,2`; `-` is a blank channel. Empty: the image's only one.
        measure_channels: More channels to carry along for measurement, likewise; `all` for all.
        mpp: Pixel size at full resolution in microns; overrides what the file says. 0: the
            file's.
        target_mpp: Of a pyramid, read the coarsest level that is not coarser than this many
            microns per pixel. 0: full resolution.
        z: Focal plane to read, 0-based. -1: the only one.
        t: Time point to read, 0-based. -1: the only one.
        series: Image to read of a file that holds several, 0-based. -1: the only one, or the
            largest.
        on_bad_image: What to do with an image that cannot be used: fail, or skip it and go on.
        container: What arrays are kept in: npz; zarr, OME-Zarr in shards, which tasks can share;
            or auto, zarr for images of more than 256 million pixels, counted over channels.
        store: Folder or URI (gs://, s3://) that Zarr stores go to. Empty: the batch's own folder,
            or in a pipeline beside it, where no launcher copies them.
        memory_mib: Memory to work in, MiB, beyond what the program itself takes.

    Returns:
        images: Batch of images, array `image` (Y, X, C) uint8, uint16 or float32; the channels to
            segment come first.
        truth: Batch of label images, array `labels` (Y, X) or (Y, X, 2: whole cells, nuclei)
            int32; an entry without arrays where an image has no truth.
        record: What was done, with times and versions.
    """
    return run_stage("tiff_to_npz", image="imaging")
