"""The stage that makes images of what many tasks deconvolved."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.arrays.files import write_text
from cellmill.arrays.store import remove
from cellmill.contract import (
    DeconvolvedShard,
    Images,
    Input,
    Output,
    PlannedDeconvolution,
    Record,
    RecordOfTasks,
    for_each_image,
    stage,
)
from cellmill.contract.merging import merge_records
from cellmill.contract.recording import to_json
from cellmill.restoration.bounded import RichardsonLucySettings
from cellmill.restoration.by_tasks import SharedRichardsonLucy
from cellmill.stages.shared.deconvolution_plan import (
    PLAN,
    DeconvolutionPlan,
    PlannedChannel,
    plan_of,
    shared_deconvolutions,
)
from cellmill.stages.shared.restoring import (
    RestoredChannel,
    restoration_note,
    restoration_warnings,
    write_restored,
)
from cellmill.stages.shared.slides.segmentation import check_parts
from cellmill.terminal import say


@stage(image="imaging", family="restoration")
def gather_deconvolved(
    plan: Input[PlannedDeconvolution],
    images: Input[Images],
    deconvolved: Input[list[DeconvolvedShard]],
    shard_records: Input[list[Record]],
    restored: Output[Images],
    shard_record: Output[RecordOfTasks],
    record: Output[Record],
    dtype: Literal["float32", "uint16"] = "float32",
    memory_mib: int = 1024,
) -> None:
    """Make images of what many tasks deconvolved.

    Args:
        plan: The images and how they were deconvolved, from plan_deconvolution.
        images: The batch of images that was planned.
        deconvolved: What deconvolve_shard gave for each task.
        shard_records: Its record for each task.
        restored: Batch with array `image` of the images' shapes, in a Zarr store, float32 without
            the background; or uint16, attribute `intensity_scale` saying by channel what one is.
        shard_record: Record of deconvolve_shard, all tasks added up.
        record: What was done: by image and channel the curve, the function, warnings.
        dtype: What is written: float32, or uint16 scaled so that the brightest fits.
        memory_mib: Memory to work in, in MiB, beyond what the program itself takes.
    """
    source, pixels = Batch.open(plan.path), Batch.open(images.path)
    for part in deconvolved:
        check_parts(source, Batch.open(part.path))
    notes: dict[str, Any] = {}
    with BatchWriter(restored.path, attributes=pixels.attributes, run=source.run) as out:

        def work(entry: Entry) -> None:
            made, image = plan_of(entry), pixels.entry(entry.name)
            scratch = Path(out.scratch(entry.name))
            scratch.mkdir(parents=True, exist_ok=True)
            channels = []
            for index, each in enumerate(shared_deconvolutions(source, entry, pixels)):
                with record.step("deconvolve"):
                    # What was lost since its task was done is made again.
                    threads, kept = each.room_within(memory_mib)
                    each.work_through(threads=threads, kept=kept)
                with record.step("gather"):
                    found = _gathered(each, scratch / f"{index}.npy")
                channels.append(_channel(made.channels[index], each, found, made))
            attributes = {k: v for k, v in entry.attributes.items() if k != PLAN}
            settled = RichardsonLucySettings(
                made.iterations,
                total_variation=made.total_variation,
                accelerate=made.accelerate,
                consensus=made.consensus,
            )
            notes[entry.name] = write_restored(
                out,
                Entry(**{**vars(entry), "attributes": attributes}),
                channels,
                dtype,
                {"method": "richardson_lucy", **vars(settled)},
                axes=image.arrays["image"].axes,
                record=record,
                container="zarr",
                store=f"{made.store}/restored",
            )
            for line in notes[entry.name]["warnings"]:
                say(f"{entry.name}: warning: {line}", to=sys.stderr)
            remove(str(scratch))

        for_each_image(source, work, writers=[out], record=record)
    write_text(shard_record.path, to_json(merge_records([r.path for r in shard_records])))
    record.note(method="richardson_lucy", restoration=notes)
    restored.metadata["warnings"] = sum(len(each["warnings"]) for each in notes.values())


def _gathered(shared: SharedRichardsonLucy, path: Path) -> np.ndarray:
    """The last object on the acquired window, in a file of this machine, float32."""
    found = np.lib.format.open_memmap(path, "w+", np.float32, shared.work.acquired.shape)
    last, inside = shared.result(), shared.work.acquired_part
    for block in shared.work.blocks:
        pairs = list(zip(block, inside, strict=True))
        common = tuple(slice(max(b.start, i.start), min(b.stop, i.stop)) for b, i in pairs)
        if all(part.start < part.stop for part in common):
            target = tuple(
                slice(c.start - i.start, c.stop - i.start)
                for c, i in zip(common, inside, strict=True)
            )
            found[target] = last[common]
    return found


def _channel(
    planned: PlannedChannel,
    shared: SharedRichardsonLucy,
    image: np.ndarray,
    made: DeconvolutionPlan,
) -> RestoredChannel:
    """A channel with what its record says."""
    curve = shared.curve()
    note = {
        "psf": dict(planned.psf),
        "background": planned.background,
        "offset": made.offset,
        "saturation": planned.saturation,
        **({"gain": planned.gain} if made.consensus else {}),
        **restoration_note(curve),
        "blocks": len(shared.work.blocks),
    }
    warnings = (*planned.warnings, *restoration_warnings(curve))
    return RestoredChannel(planned.name, image, note, warnings)
