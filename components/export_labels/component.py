"""The component ``export_labels``: its interface."""

from kfp import dsl

from components.container import run_stage


@dsl.container_component
def export_labels(
    labels: dsl.Input[dsl.Dataset],
    label_images: dsl.Output[dsl.Dataset],
    record: dsl.Output[dsl.Artifact],
    dtype: str = "int32",
    ome_zarr: bool = False,
    memory_mib: int = 1024,
) -> dsl.ContainerSpec:
    """Write label images as OME-TIFF, and as OME-Zarr if wanted, for other programs.

    Tiled and compressed, with the physical pixel size where it is known, and with reduced levels
    where a side is longer than 1024 px; whole cells and nuclei are two channels of one file. The
    same labels give the same bytes.

    Args:
        labels: Batch with arrays `whole_cell` and `nuclear`, or one of them, (Y, X), of any size.
        dtype: Integers to write; uint16, which more programs open, only if all labels fit.
        ome_zarr: Whether to write OME-Zarr 0.5 labels too, for viewers of large images.
        memory_mib: Memory to take at most, in MiB, above what the program itself needs; the files
            do not depend on it.

    Returns:
        label_images: Batch with a file `<name>.tif` per image, and a folder `<name>.ome.zarr` if
            wanted.
        record: What was done, with times and versions.
    """
    return run_stage("export_labels", image="imaging")
