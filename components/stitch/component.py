"""The component ``stitch``: its interface."""

from kfp import dsl

from components.container import run_stage


@dsl.container_component
def stitch(
    watershed: dsl.Input[dsl.Dataset],
    segmented: dsl.Input[list[dsl.Dataset]],
    segment_records: dsl.Input[list[dsl.Artifact]],
    labels: dsl.Output[dsl.Dataset],
    segment_record: dsl.Output[dsl.Artifact],
    record: dsl.Output[dsl.Artifact],
    numbering: str = "canonical",
    memory_mib: int = 1024,
) -> dsl.ContainerSpec:
    """Settle the seams of slides that were segmented in shards, and write their labels.

    Where a tile took something else to be beyond its border than its neighbour found there, it is
    flooded again, until all agree: the labels are then those of the whole slide, however it was cut
    up. Small objects, holes and numbers are decided over the whole slide.

    Args:
        watershed: The slides and how to segment them, from plan_watershed.
        segmented: What segment_shard gave for each shard.
        segment_records: Its record for each shard.
        numbering: canonical, 1 to n in raster order of first pixels; or as DeepCell numbers.
        memory_mib: Memory to work in, in MiB, beyond what the program itself takes.

    Returns:
        labels: Batch with array `whole_cell` or `nuclear`, or both, (Y, X) int32.
        segment_record: Record of segment_shard, all shards added up.
        record: What was done, with times and versions; how many tiles were flooded again.
    """
    return run_stage("stitch", image="imaging")
