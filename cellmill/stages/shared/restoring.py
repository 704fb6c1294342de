"""What stages that deconvolve share: a channel's light, what lies under it, what is written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellmill.arrays.batch import Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.arrays.entries import Container
from cellmill.arrays.windows import Plane, Windowed, WritableWindowed
from cellmill.contract import Record
from cellmill.errors import BadInput
from cellmill.restoration.assessment import photon_gain_of
from cellmill.restoration.background import background_level
from cellmill.restoration.deconvolution import Iteration
from cellmill.stages.shared.psfs import ChosenPsf

#: The greatest stored integer.
_MOST = 65535
#: Of the noise that the model should leave alone: with less it was taken for detail.
_LEAST_NOISE = 0.75
#: With more the model does not explain what was acquired.
_MOST_NOISE = 2.0
#: Part of a change, in the last iteration, above which more iterations would go on changing much.
_STILL_MOVING = 0.02


@dataclass(frozen=True)
class Light:
    """One channel of an image, read by windows, without the camera's offset.

    Args:
        source: the channel.
        offset: what the camera adds without light; below it nothing is.
    """

    source: Windowed
    offset: float

    @property
    def shape(self) -> tuple[int, ...]:
        """Y, X or Z, Y, X."""
        return self.source.shape

    @property
    def dtype(self) -> np.dtype:
        """Of its values: float32 where there is an offset."""
        return np.dtype(np.float32) if self.offset else self.source.dtype

    def __getitem__(self, window: Any, /) -> np.ndarray:
        """Read a window."""
        values = np.asarray(self.source[window])
        if not self.offset:
            return values
        return np.maximum(values.astype(np.float32) - np.float32(self.offset), 0)

    def whole(self) -> np.ndarray:
        """All of it, read into memory."""
        return self[(slice(None),) * len(self.shape)]


@dataclass(frozen=True)
class Levels:
    """What lies under the light, as a stage is told it, for all channels.

    Attributes:
        background: light everywhere, one level or one a channel; None to estimate it.
        offset: what the camera adds.
        saturation: grey level from which on nothing was measured; 0 is the integers' largest.
    """

    background: tuple[float, ...] | None
    offset: float
    saturation: float

    @classmethod
    def of(cls, background: str, offset: float, saturation: float) -> Levels:
        """Read what a user gave.

        Raises:
            BadInput: it is no such level.
        """
        if not 0 <= offset < math.inf:
            raise BadInput("offset", expected="0 or more", found=f"{offset:g}")
        if background.strip() in ("", "auto"):
            return cls(None, offset, saturation)
        try:
            levels = tuple(float(part) for part in background.split(","))
        except ValueError:
            levels = (math.nan,)
        if not all(0 <= level < math.inf for level in levels):
            raise BadInput("background", expected="auto, or numbers from 0", found=repr(background))
        return cls(levels, offset, saturation)

    def light(self, image: Windowed, channel: int) -> Light:
        """One channel of an image `(…, C)` without the offset."""
        return Light(Plane(image, channel), self.offset)

    def background_of(self, light: Windowed, channel: int, channels: int) -> float:
        """The background of a channel, given or estimated.

        Raises:
            BadInput: there are levels for another number of channels.
        """
        if self.background is None:
            return background_level(light)
        if len(self.background) not in (1, channels):
            raise BadInput(
                "background",
                expected=f"one level, or one for each of {channels} channels",
                found=f"{len(self.background)}",
            )
        return self.background[channel if len(self.background) > 1 else 0]

    def limit(self, dtype: np.dtype) -> float | None:
        """From where on the light of an image of a dtype was not measured; None: all was."""
        most = float(np.iinfo(dtype).max) if dtype.kind in "iu" else None
        limit = self.saturation or most
        return None if limit is None else limit - self.offset


def checked_gain(gain: float, asked: bool) -> float:
    """Grey levels a photon, or 0 to estimate them; 1 where no consensus asks for them.

    Raises:
        BadInput: it is neither.
    """
    if not 0 <= gain < math.inf:
        raise BadInput("gain", expected="grey levels a photon, or 0 to estimate", found=f"{gain:g}")
    return gain if asked else 1.0


def gain_of(light: Windowed, psf: ChosenPsf, given: float) -> float:
    """Grey levels a photon, given or estimated.

    Raises:
        BadInput: it cannot be estimated.
    """
    gain = given or photon_gain_of(light, psf.values)
    if math.isnan(gain):
        raise BadInput(
            "gain",
            expected="grey levels a photon, as its noise cannot be told from its detail",
            found="0, to estimate it",
        )
    return gain


@dataclass(frozen=True)
class RestoredChannel:
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


def write_restored(
    out: BatchWriter,
    entry: Entry,
    channels: Sequence[RestoredChannel],
    dtype: str,
    restored: Mapping[str, Any],
    *,
    axes: str,
    record: Record,
    container: Container,
    store: str = "",
) -> dict[str, Any]:
    """Write an image that was restored, channel by channel, plane by plane.

    Args:
        out: the batch of restored images.
        entry: of the image; what its attributes say travels on.
        channels: what was restored.
        dtype: `float32` or `uint16`.
        restored: how, for the manifest.
        axes: of the image, `YXC` or `ZYXC`.
        record: the stage's.
        container: what it lies in.
        store: see `BatchWriter.create`.

    Returns:
        What the record says of the image: a note by channel, and warnings.
    """
    scales = [each.scale if dtype == "uint16" else 1.0 for each in channels]
    of = {each.name: f"channel {each.name}: " if len(channels) > 1 else "" for each in channels}
    warnings = [f"{of[each.name]}{line}" for each in channels for line in each.warnings]
    shape = (*channels[0].image.shape, len(channels))
    about = {"restored": dict(restored), "intensity_scale": scales, "warnings": warnings}
    with (
        record.step("write"),
        out.create(
            entry.name,
            {"image": (shape, dtype, axes)},
            mpp=entry.mpp,
            mpp_source=entry.mpp_source,
            channels=entry.channels,
            attributes={**entry.attributes, **about},
            container=container,
            store=store,
        ) as arrays,
    ):
        for index, (each, scale) in enumerate(zip(channels, scales, strict=True)):
            _write(each.image, arrays["image"], index, scale, dtype)
    return {"channels": {each.name: each.note for each in channels}, "warnings": warnings}


def restoration_note(curve: Sequence[Iteration], left: float = math.nan) -> dict[str, Any]:
    """What the record says of how a deconvolution went.

    Args:
        curve: an entry an iteration.
        left: how much of the noise the model left alone; NaN where that was not found.
    """
    return {
        "divergence": [each.divergence for each in curve],
        "change": [each.change for each in curve],
        "agreed": [each.agreed for each in curve],
        "noise_left": None if math.isnan(left) else left,
    }


def restoration_warnings(curve: Sequence[Iteration], left: float = math.nan) -> tuple[str, ...]:
    """What a user should know of how a deconvolution went; see `restoration_note`."""
    found = []
    if left < _LEAST_NOISE:
        found.append(
            f"of the noise only {left:.0%} was left alone, so noise was taken for detail: fewer "
            "iterations, or more total_variation, would keep grains away"
        )
    if curve and curve[-1].change > _STILL_MOVING:
        found.append(
            f"the last iteration still changed {curve[-1].change:.1%} of the light: more would "
            "go on sharpening"
        )
    elif left > _MOST_NOISE:
        found.append(
            f"what is left unexplained is {left:.2g} times the noise: the PSF, the offset or the "
            "background may be another than the microscope's, or total_variation too much"
        )
    return tuple(found)


def _write(
    image: np.ndarray, out: WritableWindowed, channel: int, scale: float, dtype: str
) -> None:
    """Write a channel plane by plane."""
    planes = image if image.ndim == 3 else image[None]
    for z, plane in enumerate(planes):
        values = plane
        if dtype == "uint16":
            values = np.clip(np.rint(plane / np.float32(scale)), 0, _MOST)
        whole = (slice(None), slice(None), channel)
        place = (z, *whole) if image.ndim == 3 else whole
        out[place] = values
