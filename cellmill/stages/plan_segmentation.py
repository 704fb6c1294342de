"""The stage that settles how predicted slides are segmented, from what depends on all of them."""

from __future__ import annotations

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.arrays.files import write_text
from cellmill.arrays.resume import fingerprint_of
from cellmill.contract import (
    Input,
    Output,
    PlannedSegmentation,
    PlannedSlides,
    PredictedShard,
    Record,
    RecordOfTasks,
    for_each_image,
    stage,
)
from cellmill.contract.merging import merge_records
from cellmill.contract.recording import to_json
from cellmill.stages.shared.slides.segmentation import (
    begin_segmentation,
    card_with,
    check_parts,
    planned_kinds,
)


@stage(image="imaging", family="slides")
def plan_segmentation(
    plan: Input[PlannedSlides],
    predicted: Input[list[PredictedShard]],
    predict_records: Input[list[Record]],
    segmentation: Output[PlannedSegmentation],
    predict_record: Output[RecordOfTasks],
    record: Output[Record],
    parameters: dict = {},
    memory_mib: int = 1024,
) -> None:
    """Settle how slides are segmented, and take what depends on the whole slide.

    What a method needs of the whole image, as the extremes of a map, is taken here, once all shards
    are predicted, so that each shard is segmented as the whole is.

    Args:
        plan: The slides' plan, its arrays filled by predict_shard.
        predicted: What predict_shard gave for each shard.
        predict_records: Its record for each shard.
        segmentation: The plan, with how to segment on the model's card.
        predict_record: Record of prediction, all shards added up.
        record: What was done, with times and versions.
        parameters: Parameters of the planned method in place of the plan's, by name, as a JSON
            object: '{"radius": 3}'. An unknown name is refused with the names that there are.
        memory_mib: Memory to work in, in MiB, beyond what the program itself takes.
    """
    plans = Batch.open(plan.path)
    for part in predicted:
        check_parts(plans, Batch.open(part.path))
    card = card_with(plans, parameters)
    attributes = {**plans.attributes, "model": card.to_dict()}
    with BatchWriter(segmentation.path, attributes=attributes, run=plans.run) as out:

        def work(entry: Entry) -> None:
            about = fingerprint_of(entry.name)
            with record.step("whole slide"):
                begun = begin_segmentation(plans, entry, card, about, memory_mib)
            out.refer(entry, plans.folder, segmentation=begun)

        for_each_image(plans, work, writers=[out], record=record)
    write_text(predict_record.path, to_json(merge_records([r.path for r in predict_records])))
    kinds = planned_kinds(plans)
    record.note(segmentation={kind: card.postprocessing[kind] for kind in kinds})
