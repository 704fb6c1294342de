"""The stage that segments one shard of a slide."""

from __future__ import annotations

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.contract import (
    Input,
    Output,
    PlannedSegmentation,
    Record,
    SegmentedShard,
    for_each_image,
    stage,
)
from cellmill.stages.shared.slides.plan import SlidePlan, check_shard
from cellmill.stages.shared.slides.segmentation import open_segmentation


@stage(image="imaging", family="slides")
def segment_shard(
    segmentation: Input[PlannedSegmentation],
    segmented: Output[SegmentedShard],
    record: Output[Record],
    shard: int,
    memory_mib: int = 1024,
) -> None:
    """Segment one shard of a slide, tile by tile, as far as it can be without the other shards.

    What is near the shard's border is found with the pixels beyond it; what stitch still has to
    settle is kept with each tile. A task that was interrupted goes on where it was.

    Args:
        segmentation: The slides and how to segment them, from plan_segmentation.
        segmented: Batch without arrays: says which shard is done.
        record: What was done, with times and versions.
        shard: Number of the shard, from 0.
        memory_mib: Memory to work in, in MiB, beyond what the program itself takes.
    """
    check_shard(shard)
    source = Batch.open(segmentation.path)
    with BatchWriter(segmented.path) as out:

        def work(entry: Entry) -> None:
            made = SlidePlan.of(entry.attributes, entry.name)
            tiles = 0
            if shard < len(made.shards):
                box = made.shards[shard]
                with record.step("segment"):
                    for each in open_segmentation(source, entry).values():
                        mine = each.grid.overlapping(box)
                        each.work.work(mine, each.threads(memory_mib))
                        tiles += len(mine)
            out.annotate(entry.name, shard=shard, tiles=tiles)

        for_each_image(source, work, writers=[out], record=record)
