"""The stage that settles a slide's seams and writes its labels."""

from __future__ import annotations

from typing import Literal

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.arrays.files import write_text
from cellmill.contract import (
    Input,
    Labels,
    Output,
    PlannedSegmentation,
    Record,
    RecordOfTasks,
    SegmentedShard,
    for_each_image,
    stage,
)
from cellmill.contract.merging import merge_records
from cellmill.contract.recording import to_json
from cellmill.stages.shared.slides.labels import write_slide_labels
from cellmill.stages.shared.slides.plan import SlidePlan
from cellmill.stages.shared.slides.segmentation import check_parts, open_segmentation


@stage(image="imaging", family="slides")
def stitch(
    segmentation: Input[PlannedSegmentation],
    segmented: Input[list[SegmentedShard]],
    segment_records: Input[list[Record]],
    labels: Output[Labels],
    segment_record: Output[RecordOfTasks],
    record: Output[Record],
    numbering: Literal["canonical", "reference"] = "canonical",
    memory_mib: int = 1024,
) -> None:
    """Settle the seams of slides that were segmented in shards, and write their labels.

    What tiles depend on each other for is settled as the method asks for, until all agree: the
    labels are then those of the whole slide, however it was cut up. Small objects, holes and
    numbers are decided over the whole slide.

    Args:
        segmentation: The slides and how to segment them, from plan_segmentation.
        segmented: What segment_shard gave for each shard.
        segment_records: Its record for each shard.
        labels: Batch with an array a kind of object, as `whole_cell` or `nuclear`, (Y, X) int32.
        segment_record: Record of segment_shard, all shards added up.
        record: What was done, with times and versions; what the method counted at the seams.
        numbering: canonical, 1 to n in raster order of first pixels; or as the method's reference
            numbers.
        memory_mib: Memory to work in, in MiB, beyond what the program itself takes.
    """
    source = Batch.open(segmentation.path)
    for part in segmented:
        check_parts(source, Batch.open(part.path))
    tiles: dict[str, dict[str, dict[str, int]]] = {}
    totals: dict[str, int] = {}
    with BatchWriter(labels.path, attributes=source.attributes, run=source.run) as out:

        def work(entry: Entry) -> None:
            made = SlidePlan.of(entry.attributes, entry.name)
            opened = open_segmentation(source, entry)
            tiles[entry.name] = {}
            for name, each in opened.items():
                with record.step("settle seams"):
                    threads = each.threads(memory_mib)
                    # What was lost since its shard was segmented is made again.
                    each.work.work(range(len(each.grid)), threads)
                    tiles[entry.name][name] = dict(each.work.settle(threads))
            with record.step("write"):
                facts = write_slide_labels(
                    out,
                    entry,
                    {name: each.work for name, each in opened.items()},
                    side=min(each.grid.side for each in opened.values()),
                    memory_mib=memory_mib,
                    numbering=numbering,
                    store=f"{made.store}/labels",
                )
            for name, fact in facts.items():
                totals[name] = totals.get(name, 0) + fact.objects

        for_each_image(source, work, writers=[out], record=record)
    write_text(segment_record.path, to_json(merge_records([r.path for r in segment_records])))
    labels.metadata.update({f"{name}_objects": count for name, count in totals.items()})
    record.note(numbering=numbering, objects=totals, tiles=tiles)
