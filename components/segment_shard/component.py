"""The component ``segment_shard``: its interface."""

from kfp import dsl

from components.container import run_stage


@dsl.container_component
def segment_shard(
    watershed: dsl.Input[dsl.Dataset],
    segmented: dsl.Output[dsl.Dataset],
    record: dsl.Output[dsl.Artifact],
    shard: int,
    memory_mib: int = 1024,
) -> dsl.ContainerSpec:
    """Find the markers of one shard of a slide and flood it from them.

    Markers and floods near the shard's border are found with the pixels beyond it; what stitch
    still has to settle is kept as lines of pixels around each tile. Tiles without anything to flood
    are left out. A task that was interrupted goes on where it was.

    Args:
        watershed: The slides and how to segment them, from plan_watershed.
        shard: Number of the shard, from 0.
        memory_mib: Memory to work in, in MiB, beyond what the program itself takes.

    Returns:
        segmented: Batch without arrays: says which shard is done.
        record: What was done, with times and versions.
    """
    return run_stage("segment_shard", image="imaging")
