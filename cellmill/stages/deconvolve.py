"""The stage that deconvolves images: what the microscope blurred, made sharp again."""

from __future__ import annotations

import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from cellmill.arrays import resume
from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.arrays.rows import check_memory
from cellmill.arrays.store import remove
from cellmill.arrays.windows import Windowed
from cellmill.compute.devices import Device
from cellmill.contract import (
    Images,
    Input,
    Output,
    PointSpread,
    Progress,
    Record,
    for_each_image,
    stage,
)
from cellmill.errors import BadInput
from cellmill.restoration import regularised_inverse
from cellmill.restoration.assessment import noise_left
from cellmill.restoration.bounded import (
    RichardsonLucySettings,
    deconvolve_bounded,
    plan_memory,
)
from cellmill.restoration.deconvolution import Iteration
from cellmill.stages.shared.psfs import (
    ChosenPsf,
    channel_names,
    pixels_of,
    psf_for,
    voxel_size,
)
from cellmill.stages.shared.restoring import (
    Levels,
    RestoredChannel,
    checked_gain,
    gain_of,
    restoration_note,
    restoration_warnings,
    write_restored,
)
from cellmill.terminal import say

Method = Literal["richardson_lucy", "regularised_inverse"]
#: The method that goes on for a number of iterations.
_ITERATED: Method = "richardson_lucy"


@stage(image="imaging", family="restoration")
def deconvolve(
    images: Input[Images],
    psf: Input[PointSpread],
    restored: Output[Images],
    record: Output[Record],
    on_bad_image: Literal["fail", "skip"] = "fail",
    method: Literal["richardson_lucy", "regularised_inverse"] = "richardson_lucy",
    iterations: int = 50,
    total_variation: float = 0.0,
    accelerate: bool = False,
    consensus: bool = False,
    gain: float = 0.0,
    edges: Literal["valid", "circulant", "same"] = "valid",
    background: str = "auto",
    offset: float = 0.0,
    saturation: float = 0.0,
    penalty: float = 0.01,
    dtype: Literal["float32", "uint16"] = "float32",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    memory_mib: int = 4096,
) -> None:
    """Deconvolve images and volumes, each channel with its point spread function.

    What Richardson-Lucy will take is known before it starts: an image that does not fit is cut
    into blocks, that are the whole but for rounding, and gone on with after a kill.

    Args:
        images: Batch of images, array `image` (Y, X, C) or (Z, Y, X, C), as they were acquired.
        psf: Batch with array `psf`: one for all channels, or one for each, of the images' voxels.
        restored: Batch with array `image` of the same shape, float32 without the background; or
            uint16, attribute `intensity_scale` saying by channel what one is.
        record: What was done: by image and channel the curve, the function, memory, warnings.
        on_bad_image: What to do with an image that cannot be used: fail, or skip it and go on.
        method: richardson_lucy; or regularised_inverse, one pass, for a quick look.
        iterations: Of Richardson-Lucy; more sharpen and, from some on, make noise into grains.
        total_variation: Weight of 5e-4 to 5e-3, which keeps noise from becoming grains; 0 is none.
        accelerate: Extrapolate: about a third of the iterations, and noise as much sooner.
        consensus: Go on only where both halves of the photons, split at random, ask for the same
            change: iterations are then the most, and noise is not made into grains.
        gain: Grey levels a photon, by which consensus knows noise from light; 0 estimates it.
        edges: valid explains light from beyond the edge; circulant takes least memory, for what is
            surrounded by darkness; same is as scikit-image has it.
        background: Light everywhere, part of the model, without the offset: a number, one for each
            channel with commas between, or auto, which takes the darkest of each channel.
        offset: Grey levels that the camera adds, which are no light: taken off first. The noise
            that the model expects is right only without it.
        saturation: Voxels at or above it were not measured; 0 is the largest that integers of the
            image can have.
        penalty: Of regularised_inverse, as a part of the strongest frequency's power.
        dtype: What is written: float32, or uint16 scaled so that the brightest fits.
        device: What richardson_lucy computes on: cuda, a GPU, where torch is installed; or auto,
            a GPU if there is one that holds the whole image, else cpu.
        memory_mib: Memory that richardson_lucy works in, MiB, beyond what the program itself takes.
    """
    check_memory(memory_mib)
    levels = Levels.of(background, offset, saturation)
    gain = checked_gain(gain, consensus)
    settings = RichardsonLucySettings(iterations, edges, total_variation, accelerate, consensus)
    source, functions = Batch.open(images.path), Batch.open(psf.path)
    notes: dict[str, Any] = {}
    with BatchWriter(restored.path, attributes=source.attributes) as out:
        run = _Run(method, settings, penalty, levels, gain, (device, memory_mib), out, record)

        def work(entry: Entry) -> None:
            image = pixels_of(source, entry)
            count = image.shape[-1]
            axes = len(image.shape) - 1
            chosen = [psf_for(functions, entry, c, count, axes) for c in range(count)]
            channels = [
                run.channel(entry, image, c, each, size=voxel_size(entry, axes))
                for c, each in enumerate(chosen)
            ]
            info = entry.arrays["image"]
            notes[entry.name] = write_restored(
                out,
                entry,
                channels,
                dtype,
                {"method": method, **run.settled},
                axes=info.axes,
                record=record,
                container=info.container,
            )
            for line in notes[entry.name]["warnings"]:
                say(f"{entry.name}: warning: {line}", to=sys.stderr)
            remove(out.scratch(entry.name))

        for_each_image(source, work, writers=[out], record=record, on_bad_image=on_bad_image)
    record.note(method=method, restoration=notes)
    restored.metadata["warnings"] = sum(len(each["warnings"]) for each in notes.values())


@dataclass(frozen=True)
class _Run:
    """What is the same for all images of a batch."""

    method: Method
    settings: RichardsonLucySettings
    penalty: float
    levels: Levels
    gain: float
    room: tuple[Device, int]
    out: BatchWriter
    record: Record

    @property
    def settled(self) -> dict[str, Any]:
        """What all channels are restored by, as the manifest says it."""
        return asdict(self.settings) if self.method == _ITERATED else {"penalty": self.penalty}

    def channel(
        self,
        entry: Entry,
        image: Windowed,
        index: int,
        psf: ChosenPsf,
        *,
        size: tuple[float, ...] | None,
    ) -> RestoredChannel:
        """Restore a channel of an image."""
        name = channel_names(entry, image.shape[-1])[index]
        what = f"image '{entry.name}', channel {name}"
        try:
            if self.method == _ITERATED:
                return self._richardson_lucy(entry, image, index, name, psf, size)
            return self._inverse(image, index, name, psf)
        except BadInput as bad:
            raise bad.about(f"{what}, {bad.what}") from None

    def _inverse(self, image: Windowed, index: int, name: str, psf: ChosenPsf) -> RestoredChannel:
        pixels = self.levels.light(image, index).whole()
        level = self.levels.background_of(pixels, index, image.shape[-1])
        with self.record.step("deconvolve"):
            found = regularised_inverse(pixels, psf.values, penalty=self.penalty, background=level)
        note = {"psf": psf.plain(), "background": level, "penalty": self.penalty}
        note["offset"] = self.levels.offset
        return RestoredChannel(name, found, note, psf.warnings)

    def _richardson_lucy(
        self,
        entry: Entry,
        image: Windowed,
        index: int,
        name: str,
        psf: ChosenPsf,
        size: tuple[float, ...] | None,
    ) -> RestoredChannel:
        shape = image.shape[:-1]
        device, memory_mib = self.room
        plan = plan_memory(shape, psf.values.shape, self.settings, memory_mib, device)
        light = self.levels.light(image, index)
        part: Windowed = light if plan.blocks else light.whole()
        with self.record.step("estimate background"):
            level = self.levels.background_of(part, index, image.shape[-1])
            gain = gain_of(part, psf, self.gain)
        limit = self.levels.limit(image.dtype)
        scratch = self.out.scratch(entry.name)
        key = f"{resume.fingerprint()} {entry.name} {index}" if resume.fingerprint() else ""
        label = f"deconvolve {entry.name}" + (f" ({name})" if image.shape[-1] > 1 else "")
        with (
            self.record.step("deconvolve"),
            Progress(label, self.settings.iterations, "iterations") as progress,
        ):

            def step(number: int, iteration: Iteration) -> None:
                progress.advance(number - progress.done)

            found = deconvolve_bounded(
                part,
                psf.values,
                self.settings,
                plan,
                background=level,
                saturation=limit,
                spacing=size,
                gain=gain,
                folder=Path(scratch) / f"channel-{index}",
                key=key,
                progress=step,
            )
        with self.record.step("assess"):
            left = (
                noise_left(found.residual, psf.values) if found.residual is not None else math.nan
            )
        note = {
            "psf": psf.plain(),
            "background": level,
            "offset": self.levels.offset,
            "saturation": limit,
            **({"gain": gain} if self.settings.consensus else {}),
            **restoration_note(found.curve, left),
            "memory": asdict(plan),
        }
        warnings = (*psf.warnings, *restoration_warnings(found.curve, left))
        return RestoredChannel(name, found.image, note, warnings)
