"""The component ``measure``: its interface."""

from kfp import dsl

from components.container import run_stage


@dsl.container_component
def measure(
    images: dsl.Input[dsl.Dataset],
    labels: dsl.Input[dsl.Dataset],
    measurements: dsl.Output[dsl.Dataset],
    record: dsl.Output[dsl.Artifact],
    background_inner_px: int = 2,
    background_outer_px: int = 8,
    memory_mib: int = 1024,
    on_bad_image: str = "fail",
) -> dsl.ContainerSpec:
    """Measure every cell on the original pixels: one table an image, one row a cell.

    Position, area and shape in pixels, and in µm where the pixel size is known; per channel mean,
    spread, extremes, sum and local background. With both compartments one table holds the whole
    cells, then the nuclei, told apart by the column `compartment`: a filter gives either, a join
    of `cell_label` with `label` puts each nucleus beside its cell, and a cell with two nuclei or
    none, or a nucleus outside any cell, keeps its row.

    Args:
        images: Batch with array `image` (Y, X, C), the original pixels.
        labels: Batch with array `whole_cell` or `nuclear`, or both, (Y, X), 0 is background.
        background_inner_px: The local background is the median of the background pixels nearest
            to a cell that are farther away than this, in pixels.
        background_outer_px: And no farther away than this, in pixels.
        memory_mib: Memory to work in, in MiB, beside the tables of cells. Results do not depend
            on it.
        on_bad_image: What to do with an image that cannot be used: fail, or skip it and go on.

    Returns:
        measurements: Batch with files `<name>.csv` and `<name>.parquet` per image.
        record: What was done, with times and versions.
    """
    return run_stage("measure", image="imaging")
