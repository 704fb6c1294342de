"""The component ``plan_watershed``: its interface."""

from kfp import dsl

from components.container import run_stage


@dsl.container_component
def plan_watershed(
    plan: dsl.Input[dsl.Dataset],
    predicted: dsl.Input[list[dsl.Dataset]],
    predict_records: dsl.Input[list[dsl.Artifact]],
    watershed: dsl.Output[dsl.Dataset],
    predict_record: dsl.Output[dsl.Artifact],
    record: dsl.Output[dsl.Artifact],
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
    memory_mib: int = 1024,
) -> dsl.ContainerSpec:
    """Settle how slides are segmented, and take what hangs on the whole slide.

    Which maxima count hangs on the least and greatest value of the whole map. They are taken here,
    once all shards are predicted, so that each shard is segmented as the whole is.

    Args:
        plan: The slides' plan, its arrays filled by predict_shard.
        predicted: What predict_shard gave for each shard.
        predict_records: Its record for each shard.
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
        memory_mib: Memory to work in, in MiB, beyond what the program itself takes.

    Returns:
        watershed: The plan, with how to segment.
        predict_record: Record of prediction, all shards added up.
        record: What was done, with times and versions.
    """
    return run_stage("plan_watershed", image="imaging")
