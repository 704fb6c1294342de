"""The component ``postprocess``: its interface."""

from kfp import dsl

from components.container import run_stage


@dsl.container_component
def postprocess(
    predictions: dsl.Input[dsl.Dataset],
    labels: dsl.Output[dsl.Dataset],
    record: dsl.Output[dsl.Artifact],
    on_bad_image: str = "fail",
    compartment: str = "",
    maxima_algorithm: str = "",
    radius: int = -1,
    maxima_threshold: float = -1.0,
    interior_threshold: float = -1.0,
    maxima_smooth: float = -1.0,
    interior_smooth: float = -1.0,
    small_objects_threshold: int = -1,
    small_objects_fraction: float = -1.0,
    fill_holes_threshold: int = -1,
    pixel_expansion: int = -1,
    label_erosion: int = 0,
    exclude_border: int = 0,
    numbering: str = "canonical",
    tie_rule: str = "local",
    memory_mib: int = 1024,
) -> dsl.ContainerSpec:
    """Turn a network's maps into labelled cells, at the image's own resolution.

    Args:
        predictions: Batch with the network's heads (Y', X', channels) float32, from predict.
        on_bad_image: What to do with an image that cannot be used: fail, or skip it and go on.
        compartment: What to segment; both labels whole cells and nuclei, each by themselves.
            Empty is the model card's default.
        maxima_algorithm: How markers are found; empty is the card's.
        radius: Neighbourhood of a maximum, or least distance of two for peak_local_max, in pixels
            at the model's scale; -1 is the card's.
        maxima_threshold: Least height of a maximum, or for peak_local_max the value it exceeds;
            -1 is the card's.
        interior_threshold: Cells lie where the interior map exceeds this; -1 is the card's.
        maxima_smooth: Sigma of a Gaussian on the maxima map, in pixels; -1 is the card's.
        interior_smooth: Sigma of a Gaussian on the interior map, in pixels; -1 is the card's.
        small_objects_threshold: Objects with fewer pixels, at the model's scale, are dropped; -1
            is the card's.
        small_objects_fraction: Objects below this part of the median area of those left are
            dropped too (below half of it, where the image's border cuts them), 0 for none; -1 is
            the card's.
        fill_holes_threshold: Holes with fewer pixels are filled; -1 is the card's.
        pixel_expansion: By how many pixels the interior map is dilated; -1 is the card's.
        label_erosion: Pixels taken off every object's edge.
        exclude_border: Markers this near to the border, in pixels, are left out; counts for
            peak_local_max only.
        numbering: canonical, 1 to n in raster order of first pixels; or as DeepCell numbers.
        tie_rule: Between equal pixels of a watershed, local (the same however an image is cut up)
            or reference (DeepCell's), for images that memory bears.
        memory_mib: Memory to work in, in MiB, beyond what the program itself takes: images that
            need more are segmented tile by tile, with the same labels.

    Returns:
        labels: Batch with array `whole_cell` or `nuclear`, or both, (Y, X) int32.
        record: What was done, with times and versions.
    """
    return run_stage("postprocess", image="imaging")
