"""The stage that takes part in deconvolving images with other tasks of its kind."""

from __future__ import annotations

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.contract import (
    DeconvolvedShard,
    Images,
    Input,
    Output,
    PlannedDeconvolution,
    Progress,
    Record,
    for_each_image,
    stage,
)
from cellmill.restoration.deconvolution import Iteration
from cellmill.stages.shared.deconvolution_plan import plan_of, shared_deconvolutions
from cellmill.stages.shared.slides.plan import check_shard


@stage(image="imaging", family="restoration")
def deconvolve_shard(
    plan: Input[PlannedDeconvolution],
    images: Input[Images],
    deconvolved: Output[DeconvolvedShard],
    record: Output[Record],
    shard: int,
    memory_mib: int = 1024,
) -> None:
    """Take part in deconvolving images: block by block, from a place of its own on.

    Blocks exchange their borders after every iteration, by files in the plan's store. What this
    task finds undone it does, so any number of tasks, at any time, make the same bits; one that was
    interrupted goes on where all of them were.

    Args:
        plan: The images and how to deconvolve them, from plan_deconvolution.
        images: The batch of images that was planned.
        deconvolved: Batch without arrays: says which task is done.
        record: What was done, with times and versions.
        shard: Number of the task, from 0.
        memory_mib: Memory to work in, in MiB, beyond what the program itself takes.
    """
    check_shard(shard)
    source, pixels = Batch.open(plan.path), Batch.open(images.path)
    with BatchWriter(deconvolved.path) as out:

        def work(entry: Entry) -> None:
            made = plan_of(entry)
            blocks = 0
            if shard < made.shards:
                for each in shared_deconvolutions(source, entry, pixels):
                    start = len(each.work.blocks) * shard // made.shards
                    threads, kept = each.room_within(memory_mib)
                    with (
                        record.step("deconvolve"),
                        Progress(entry.name, made.iterations, "iterations") as progress,
                    ):

                        def step(number: int, _: Iteration, shown: Progress = progress) -> None:
                            shown.advance(number - shown.done)

                        blocks += each.work_through(
                            start, threads=threads, kept=kept, progress=step
                        )
                        progress.advance(made.iterations - progress.done)
            out.annotate(entry.name, shard=shard, blocks=blocks)

        for_each_image(source, work, writers=[out], record=record)
