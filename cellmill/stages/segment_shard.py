"""The stage that floods one shard of a slide from its markers."""

from __future__ import annotations

from cellmill.arrays.batch import Batch, BatchWriter, Entry
from cellmill.arrays.windows import Grid
from cellmill.compiled import threads_within
from cellmill.contract import Dataset, Input, Output, Record, for_each_image
from cellmill.segmentation.tiled import flood_parts, tile_bytes
from cellmill.slides.plan import SlidePlan, check_shard
from cellmill.slides.watershed import shared_floods


def segment_shard(
    watershed: Input[Dataset],
    segmented: Output[Dataset],
    record: Output[Record],
    shard: int,
    memory_mib: int = 1024,
) -> None:
    """Find the markers of one shard of a slide and flood it from them.

    Markers and floods near the shard's border are found with the pixels beyond it; what stitch
    still has to settle is kept as lines of pixels around each tile. Tiles without anything to flood
    are left out. A task that was interrupted goes on where it was.

    Args:
        watershed: The slides and how to segment them, from plan_watershed.
        segmented: Batch without arrays: says which shard is done.
        record: What was done, with times and versions.
        shard: Number of the shard, from 0.
        memory_mib: Memory to work in, in MiB, beyond what the program itself takes.
    """
    check_shard(shard)
    source = Batch.open(watershed.path)
    with BatchWriter(segmented.path) as out:

        def work(entry: Entry) -> None:
            made = SlidePlan.of(entry.attributes, entry.name)
            tiles = 0
            if shard < len(made.shards):
                box = made.shards[shard]
                with record.step("flood"):
                    for flood in shared_floods(source, entry).values():
                        grid: Grid = flood.flooder.grid
                        mine = grid.overlapping(box)
                        threads = threads_within(memory_mib, tile_bytes(grid.side))
                        flood_parts(flood.flooder, mine, flood.marks, threads)
                        tiles += len(mine)
            out.annotate(entry.name, shard=shard, tiles=tiles)

        for_each_image(source, work, writers=[out], record=record)
