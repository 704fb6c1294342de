"""The stage that settles a slide's seams and writes its labels."""

from __future__ import annotations

from typing import Literal

from cellmill.arrays.batch import Batch, BatchWriter, Entry
from cellmill.arrays.files import write_text
from cellmill.compiled import threads_within
from cellmill.contract import Artifact, Dataset, Input, Output, Record, for_each_image
from cellmill.contract.merging import merge_records
from cellmill.contract.recording import to_json
from cellmill.segmentation.tiled import empty_tiles, settle, tile_bytes
from cellmill.slides.labels import write_slide_labels
from cellmill.slides.plan import SlidePlan
from cellmill.slides.watershed import check_parts, shared_floods


def stitch(
    watershed: Input[Dataset],
    segmented: Input[list[Dataset]],
    segment_records: Input[list[Record]],
    labels: Output[Dataset],
    segment_record: Output[Artifact],
    record: Output[Record],
    numbering: Literal["canonical", "reference"] = "canonical",
    memory_mib: int = 1024,
) -> None:
    """Settle the seams of slides that were segmented in shards, and write their labels.

    Where a tile took something else to be beyond its border than its neighbour found there, it is
    flooded again, until all agree: the labels are then those of the whole slide, however it was cut
    up. Small objects, holes and numbers are decided over the whole slide.

    Args:
        watershed: The slides and how to segment them, from plan_watershed.
        segmented: What segment_shard gave for each shard.
        segment_records: Its record for each shard.
        labels: Batch with array `whole_cell` or `nuclear`, or both, (Y, X) int32.
        segment_record: Record of segment_shard, all shards added up.
        record: What was done, with times and versions; how many tiles were flooded again.
        numbering: canonical, 1 to n in raster order of first pixels; or as DeepCell numbers.
        memory_mib: Memory to work in, in MiB, beyond what the program itself takes.
    """
    source = Batch.open(watershed.path)
    for part in segmented:
        check_parts(source, Batch.open(part.path))
    tiles: dict[str, dict[str, dict[str, int]]] = {}
    totals: dict[str, int] = {}
    with BatchWriter(labels.path, attributes=source.attributes) as out:

        def work(entry: Entry) -> None:
            made = SlidePlan.of(entry.attributes, entry.name)
            floods = shared_floods(source, entry)
            tiles[entry.name] = {}
            for name, flood in floods.items():
                with record.step("settle seams"):
                    threads = threads_within(memory_mib, tile_bytes(flood.flooder.grid.side))
                    again = settle(flood.flooder, flood.marks, threads=threads)
                tiles[entry.name][name] = {
                    "tiles": len(flood.flooder.grid),
                    "empty": empty_tiles(flood.flooder, flood.marks),
                    "flooded_again": again,
                }
            with record.step("write"):
                facts = write_slide_labels(
                    out,
                    entry,
                    {name: flood.flooded for name, flood in floods.items()},
                    {name: flood.parameters for name, flood in floods.items()},
                    side=next(iter(floods.values())).flooder.grid.side,
                    memory_mib=memory_mib,
                    numbering=numbering,
                    store=f"{made.store}/labels",
                )
            for name, each in facts.items():
                totals[name] = totals.get(name, 0) + each.objects

        for_each_image(source, work, writers=[out], record=record)
    write_text(segment_record.path, to_json(merge_records([r.path for r in segment_records])))
    labels.metadata.update({f"{name}_objects": count for name, count in totals.items()})
    record.note(numbering=numbering, objects=totals, tiles=tiles)
