"""The stage that deconvolves images: what the microscope blurred, made sharp again."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cellmill.arrays import resume
from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.arrays.rows import check_memory
from cellmill.arrays.store import remove
from cellmill.arrays.windows import Windowed, WritableWindowed
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
from cellmill.restoration.background import background_level
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
from cellmill.terminal import say

Method = Literal["richardson_lucy", "regularised_inverse"]
#: The method that goes on for a number of iterations.
_ITERATED: Method = "richardson_lucy"
#: Of the noise that the model should leave alone: with less it was taken for detail.
_LEAST_NOISE = 0.75
#: Part of a change, in the last iteration, above which more iterations would go on changing much.
_STILL_MOVING = 0.02
#: The greatest stored integer.
_MOST = 65535


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
    edges: Literal["valid", "circulant", "same"] = "valid",
    background: str = "auto",
    offset: float = 0.0,
    saturation: float = 0.0,
    penalty: float = 0.01,
    dtype: Literal["float32", "uint16"] = "float32",
    memory_mib: int = 4096,
) -> None:
    """Deconvolve images and volumes, each channel with its point spread function.

    What Richardson-Lucy will take is known before it starts: an image that does not fit is cut
    into blocks, without total variation and acceleration, that are the whole but for rounding, and
    gone on with after a kill.

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
        memory_mib: Memory that richardson_lucy works in, MiB, beyond what the program itself takes.
    """
    check_memory(memory_mib)
    levels = _levels(background)
    if not 0 <= offset < math.inf:
        raise BadInput("offset", expected="0 or more", found=f"{offset:g}")
    settings = RichardsonLucySettings(iterations, edges, total_variation, accelerate)
    source, functions = Batch.open(images.path), Batch.open(psf.path)
    notes: dict[str, Any] = {}
    with BatchWriter(restored.path, attributes=source.attributes) as out:
        run = _Run(method, settings, penalty, levels, offset, saturation, memory_mib, out, record)

        def work(entry: Entry) -> None:
            image = pixels_of(source, entry)
            count = image.shape[-1]
            axes = len(image.shape) - 1
            chosen = [psf_for(functions, entry, c, count, axes) for c in range(count)]
            channels = [
                run.channel(entry, image, c, each, size=voxel_size(entry, axes))
                for c, each in enumerate(chosen)
            ]
            scales = [each.scale if dtype == "uint16" else 1.0 for each in channels]
            said = {each.name: each.note for each in channels}
            warnings = [f"{c.name}: {line}" for c in channels for line in c.warnings]
            about = {
                **entry.attributes,
                "restored": {"method": method, **run.settled},
                "intensity_scale": scales,
                "warnings": warnings,
            }
            with (
                record.step("write"),
                out.create(
                    entry.name,
                    {"image": (image.shape, dtype, entry.arrays["image"].axes)},
                    mpp=entry.mpp,
                    mpp_source=entry.mpp_source,
                    channels=entry.channels,
                    attributes=about,
                    container=entry.arrays["image"].container,
                ) as arrays,
            ):
                for index, (each, scale) in enumerate(zip(channels, scales, strict=True)):
                    _write(each.image, arrays["image"], index, scale, dtype)
            notes[entry.name] = {"channels": said, "warnings": warnings}
            for line in warnings:
                say(f"{entry.name}: warning: {line}", to=sys.stderr)
            remove(out.scratch(entry.name))

        for_each_image(source, work, writers=[out], record=record, on_bad_image=on_bad_image)
    record.note(method=method, restoration=notes)
    restored.metadata["warnings"] = sum(len(each["warnings"]) for each in notes.values())


@dataclass(frozen=True)
class _Channel:
    """A channel that was restored.

    Attributes:
        name: of the channel.
        image: float32, perhaps a view of a file.
        note: for the record.
        warnings: a line each.
    """

    name: str
    image: np.ndarray
    note: dict[str, Any]
    warnings: tuple[str, ...]

    @property
    def scale(self) -> float:
        """What a stored integer of 1 is, so that the brightest is the greatest."""
        brightest = max(float(part.max()) for part in self.image)
        return brightest / _MOST if brightest > 0 else 1.0


@dataclass(frozen=True)
class _Run:
    """What is the same for all images of a batch."""

    method: Method
    settings: RichardsonLucySettings
    penalty: float
    levels: tuple[float, ...] | None
    offset: float
    saturation: float
    memory_mib: int
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
    ) -> _Channel:
        """Restore a channel of an image."""
        name = channel_names(entry, image.shape[-1])[index]
        what = f"image '{entry.name}', channel {name}"
        try:
            if self.method == _ITERATED:
                return self._richardson_lucy(entry, image, index, name, psf, size)
            return self._inverse(image, index, name, psf)
        except BadInput as bad:
            raise bad.about(f"{what}, {bad.what}") from None

    def _inverse(self, image: Windowed, index: int, name: str, psf: ChosenPsf) -> _Channel:
        pixels = np.asarray(_OneChannel(image, index, self.offset))
        level = self._background(pixels, index, image.shape[-1])
        with self.record.step("deconvolve"):
            found = regularised_inverse(pixels, psf.values, penalty=self.penalty, background=level)
        note = {"psf": psf.plain(), "background": level, "penalty": self.penalty}
        note["offset"] = self.offset
        return _Channel(name, found, note, psf.warnings)

    def _richardson_lucy(
        self,
        entry: Entry,
        image: Windowed,
        index: int,
        name: str,
        psf: ChosenPsf,
        size: tuple[float, ...] | None,
    ) -> _Channel:
        shape = image.shape[:-1]
        plan = plan_memory(shape, psf.values.shape, self.settings, self.memory_mib)
        part: Windowed = _OneChannel(image, index, self.offset)
        part = part if plan.blocks else np.asarray(part)
        with self.record.step("estimate background"):
            level = self._background(part, index, image.shape[-1])
        integers = image.dtype.kind in "iu"
        most = float(np.iinfo(image.dtype).max) if integers else None
        limit = self.saturation or most
        limit = None if limit is None else limit - self.offset
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
            "offset": self.offset,
            "saturation": limit,
            "divergence": [each.divergence for each in found.curve],
            "change": [each.change for each in found.curve],
            "noise_left": None if math.isnan(left) else left,
            "memory": asdict(plan),
        }
        return _Channel(name, found.image, note, (*psf.warnings, *_warnings(found.curve, left)))

    def _background(self, part: Windowed, index: int, channels: int) -> float:
        if self.levels is None:
            return background_level(part)
        if len(self.levels) not in (1, channels):
            raise BadInput(
                "background",
                expected=f"one level, or one for each of {channels} channels",
                found=f"{len(self.levels)}",
            )
        return self.levels[index if len(self.levels) > 1 else 0]


class _OneChannel:
    """One channel of an image, read by windows, without the camera's offset."""

    def __init__(self, image: Windowed, index: int, offset: float) -> None:
        self._image, self._index, self._offset = image, index, offset
        self.shape = tuple(image.shape[:-1])
        self.dtype = np.dtype(np.float32) if offset else image.dtype

    def __getitem__(self, window: Any, /) -> np.ndarray:
        parts = window if isinstance(window, tuple) else (window,)
        parts += (slice(None),) * (len(self.shape) - len(parts))
        whole = (*parts, self._index)
        values = np.asarray(self._image[whole])
        if not self._offset:
            return values
        return np.maximum(values.astype(np.float32) - np.float32(self._offset), 0)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[(slice(None),) * len(self.shape)], dtype)


def _warnings(curve: Sequence[Iteration], left: float) -> list[str]:
    found = []
    if left < _LEAST_NOISE:
        found.append(
            f"of the noise only {left:.0%} was left alone, so noise was taken for detail: fewer "
            "iterations, or total_variation, would keep grains away"
        )
    if curve and curve[-1].change > _STILL_MOVING:
        found.append(
            f"the last iteration still changed {curve[-1].change:.1%} of the light: more would "
            "go on sharpening"
        )
    return found


def _write(
    image: np.ndarray, out: WritableWindowed, channel: int, scale: float, dtype: str
) -> None:
    """Write a channel plane by plane."""
    for row in range(image.shape[0]):
        part = image[row]
        if dtype == "uint16":
            part = np.clip(np.rint(part / np.float32(scale)), 0, _MOST)
        out[row, ..., channel] = part


def _levels(text: str) -> tuple[float, ...] | None:
    """The background by channel; None to estimate it."""
    if text.strip() in ("", "auto"):
        return None
    try:
        levels = tuple(float(part) for part in text.split(","))
    except ValueError:
        levels = (math.nan,)
    if not all(0 <= level < math.inf for level in levels):
        raise BadInput("background", expected="auto, or numbers from 0", found=repr(text))
    return levels
