"""The stage that settles how images are deconvolved by many tasks."""

from __future__ import annotations

from typing import Literal, NamedTuple

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.arrays.files import absolute_place
from cellmill.arrays.resume import fingerprint_of, key_of
from cellmill.arrays.rows import check_memory
from cellmill.arrays.windows import Windowed
from cellmill.contract import (
    Images,
    Input,
    Output,
    PlannedDeconvolution,
    PointSpread,
    Record,
    for_each_image,
    stage,
)
from cellmill.errors import BadInput
from cellmill.restoration.blocks import BlockedRichardsonLucy
from cellmill.restoration.variation import Variation
from cellmill.stages.shared.deconvolution_plan import (
    PLAN,
    DeconvolutionPlan,
    PlannedChannel,
    psf_key,
    shared_deconvolutions,
)
from cellmill.stages.shared.psfs import ChosenPsf, channel_names, pixels_of, psf_for, voxel_size
from cellmill.stages.shared.restoring import Levels, checked_gain, gain_of
from cellmill.typed_json import to_json


class Shards(NamedTuple):
    """Numbers of the tasks, 0 and up: what a loop is given."""

    shards: list


@stage(image="imaging", family="restoration")
def plan_deconvolution(
    images: Input[Images],
    psf: Input[PointSpread],
    plan: Output[PlannedDeconvolution],
    record: Output[Record],
    iterations: int = 50,
    total_variation: float = 0.0,
    accelerate: bool = False,
    consensus: bool = False,
    gain: float = 0.0,
    background: str = "auto",
    offset: float = 0.0,
    saturation: float = 0.0,
    store: str = "",
    most_shards: int = 16,
    memory_mib: int = 1024,
    on_bad_image: Literal["fail", "skip"] = "fail",
) -> Shards:
    """Settle how images larger than memory are deconvolved by many tasks.

    What depends on a whole image is found here, once: background, light, and the function for each
    channel. What earlier tasks of the same plan left is looked after, to be gone on with.

    Args:
        images: Batch of images, array `image` (Y, X, C) or (Z, Y, X, C), as they were acquired.
        psf: Batch with array `psf`: one for all channels, or one for each, of the images' voxels.
        plan: Batch with arrays `psf_<channel>`; its attributes hold each image's plan.
        record: What was done, with times and versions.
        iterations: Of Richardson-Lucy; more sharpen and, from some on, make noise into grains.
        total_variation: Weight of 5e-4 to 5e-3, which keeps noise from becoming grains; 0 is none.
        accelerate: Extrapolate: about a third of the iterations, and noise as much sooner.
        consensus: Go on only where both halves of the photons, split at random, ask for the same
            change: iterations are then the most, and noise is not made into grains.
        gain: Grey levels a photon, by which consensus knows noise from light; 0 estimates it.
        background: Light everywhere, part of the model, without the offset: a number, one for each
            channel with commas between, or auto, which takes the darkest of each channel.
        offset: Grey levels that the camera adds, which are no light: taken off first.
        saturation: Voxels at or above it were not measured; 0 is the largest that integers of the
            image can have.
        store: Folder or URI under which the tasks' blocks go; all must reach it. Empty is beside
            the output `plan`.
        most_shards: At most so many tasks; an image has fewer if it has fewer blocks.
        memory_mib: Memory each task works in, MiB, beyond what the program itself takes.
        on_bad_image: What to do with an image that cannot be used: fail, or skip it and go on.

    Returns:
        shards: Numbers of the tasks, from 0, for a loop over them; as many as the image that is cut
            into most has.
    """
    check_memory(memory_mib)
    if most_shards < 1:
        raise BadInput("most_shards", expected="at least 1", found=f"{most_shards}")
    if iterations < 0:
        raise BadInput("iterations", expected="0 or more", found=f"{iterations}")
    levels = Levels.of(background, offset, saturation)
    gain = checked_gain(gain, consensus)
    source, functions = Batch.open(images.path), Batch.open(psf.path)
    root = absolute_place(store or f"{plan.uri or plan.path}.store")
    with BatchWriter(plan.path, run=source.run) as out:

        def work(entry: Entry) -> None:
            image = pixels_of(source, entry)
            count, axes = image.shape[-1], len(image.shape) - 1
            chosen = [psf_for(functions, entry, c, count, axes) for c in range(count)]
            with record.step("statistics"):
                works = [_opened(image, entry, c, p, levels, gain) for c, p in enumerate(chosen)]
            voxel = voxel_size(entry, axes) or ()
            Variation.of(total_variation, voxel or None, axes)
            about = [entry.arrays["image"].content, iterations, total_variation, voxel, offset]
            settled = [[w.background, w.saturation, w.gain, w.psf.tobytes().hex()] for w in works]
            key = key_of(*about, settled, accelerate, consensus)
            channels = tuple(map(_planned, channel_names(entry, count), chosen, works))
            shards = min(most_shards, max(len(each.blocks) for each in works))
            made = DeconvolutionPlan(
                f"{root}/{entry.name}-{key}",
                fingerprint_of(f"{entry.name} {key}"),
                iterations,
                total_variation,
                accelerate,
                consensus,
                voxel,
                offset,
                shards,
                channels,
            )
            arrays = {psf_key(c): w.psf for c, w in enumerate(works)}
            out.write(
                entry.name,
                arrays,
                axes=dict.fromkeys(arrays, "ZYX"[-axes:]),
                mpp=entry.mpp,
                mpp_source=entry.mpp_source,
                channels=entry.channels,
                attributes={**entry.attributes, PLAN: to_json(made)},
                container="zarr",
                store=made.store,
            )

        for_each_image(source, work, writers=[out], record=record, on_bad_image=on_bad_image)
    planned = Batch.open(plan.path)
    shards = 1
    for entry in planned.entries:
        if entry.ok:
            for each in shared_deconvolutions(planned, entry, source):
                each.room_within(memory_mib)
                with record.step("look after earlier work"):
                    each.prepare()
            shards = max(shards, entry.attributes[PLAN]["shards"])
    record.note(shards=shards, store=root)
    return Shards(list(range(shards)))


def _planned(name: str, psf: ChosenPsf, work: BlockedRichardsonLucy) -> PlannedChannel:
    """What is settled for one channel."""
    measured, first = work.first()
    under = (work.background, work.saturation)
    return PlannedChannel(name, *under, first, measured, work.gain, psf.plain(), psf.warnings)


def _opened(
    image: Windowed, entry: Entry, channel: int, psf: ChosenPsf, levels: Levels, gain: float
) -> BlockedRichardsonLucy:
    """One channel with its background, saturation, gain and function."""
    light, count = levels.light(image, channel), image.shape[-1]
    name = channel_names(entry, count)[channel]
    try:
        under = levels.background_of(light, channel, count)
        return BlockedRichardsonLucy(
            light,
            psf.values,
            under,
            levels.limit(image.dtype),
            gain=gain_of(light, psf, gain),
        )
    except BadInput as bad:
        raise bad.about(f"image '{entry.name}', channel {name}, {bad.what}") from None
