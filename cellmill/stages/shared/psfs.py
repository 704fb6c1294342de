"""Volumes and images by channel, and the point spread function that belongs to each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.windows import Plane, Windowed
from cellmill.errors import BadInput
from cellmill.restoration.psf import PsfFacts, describe_psf
from cellmill.restoration.psf_checks import check_voxel_size, psf_warnings
from cellmill.typed_json import without_nan

#: The attribute of a point spread function that names its channel; without it, it is for all.
CHANNEL = "channel"


@dataclass(frozen=True)
class ChosenPsf:
    """The point spread function for one channel of an image.

    Attributes:
        name: of its entry.
        values: float32, as many axes as the image has without channels.
        facts: what can be read off it; None where the voxel size is unknown.
        warnings: what a user should know of it.
    """

    name: str
    values: np.ndarray
    facts: PsfFacts | None
    warnings: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        facts = without_nan(asdict(self.facts)) if self.facts else {}
        return {"psf": self.name, "shape": [*self.values.shape], **facts}


def pixels_of(batch: Batch, entry: Entry) -> Windowed:
    """The array `image` of an entry, `(Y, X, C)` or `(Z, Y, X, C)`.

    Raises:
        BadInput: it has other axes.
    """
    image = batch.array(entry, "image")
    if entry.arrays["image"].axes not in ("YXC", "ZYXC"):
        raise BadInput(
            f"image '{entry.name}'",
            expected="axes YXC or ZYXC",
            found=f"axes {entry.arrays['image'].axes}, shape {image.shape}",
        )
    return image


def channel_of(image: Windowed, channel: int) -> np.ndarray:
    """One channel of an image, read whole."""
    return np.asarray(Plane(image, channel)[(slice(None),) * (len(image.shape) - 1)])


def channel_names(entry: Entry, count: int) -> list[str]:
    """The channels' names, or their indices."""
    return [*entry.channels] if len(entry.channels) == count else [str(i) for i in range(count)]


def voxel_size(entry: Entry, axes: int) -> tuple[float, ...] | None:
    """µm per voxel, an axis each; None where one is unknown."""
    if entry.mpp is None or len(entry.mpp) < axes:
        return None
    return tuple(entry.mpp[-axes:])


def psf_for(batch: Batch, entry: Entry, channel: int, channels: int, axes: int) -> ChosenPsf:
    """Find the point spread function for a channel of an image.

    It is made for the image's voxels, and for that channel or for all; a volume's serves an image
    by its plane in focus.

    Args:
        batch: of point spread functions.
        entry: of the image.
        channel: its index.
        channels: how many the image has.
        axes: how many the image has without channels.

    Raises:
        BadInput: there is none, or it is for other voxels, axes or channels.
    """
    what = f"image '{entry.name}'"
    functions = [each for each in batch.entries if each.ok and "psf" in each.arrays]
    if not functions:
        raise BadInput(f"batch '{batch.folder}'", expected="arrays 'psf'", found="none")
    size = voxel_size(entry, axes)
    fitting = [each for each in functions if _fits(each, size, what)]
    if not fitting:
        _fits(functions[0], size, what, refuse=True)
    mine = _of_channel(fitting, channel, channel_names(entry, channels), what)
    values = np.asarray(batch.array(mine, "psf")).astype(np.float32)
    if values.ndim < axes:
        raise BadInput(f"PSF for {what}", expected=f"{axes} axes", found=f"shape {values.shape}")
    said = []
    if values.ndim > axes:
        values = values[int(values.reshape(len(values), -1).max(axis=1).argmax())]
        said.append("of the volume's PSF the plane in focus is taken for an image of one plane")
    step = size or voxel_size(mine, axes)
    if size is None or mine.mpp is None:
        said.append("whether the PSF fits the voxels is not known: the size of one is unknown")
    facts = describe_psf(values, step) if step else None
    said += psf_warnings(facts, step) if facts and step else ()
    return ChosenPsf(mine.name, values, facts, tuple(said))


def _fits(psf: Entry, size: Sequence[float] | None, what: str, *, refuse: bool = False) -> bool:
    if size is None or psf.mpp is None:
        return True
    try:
        check_voxel_size(what, size, psf.mpp)
    except BadInput:
        if refuse:
            raise
        return False
    return True


def _of_channel(functions: Sequence[Entry], channel: int, names: Sequence[str], what: str) -> Entry:
    marked = {each.attribute(CHANNEL, int, -1): each for each in functions}
    if -1 not in marked and set(marked) == set(range(len(names))):
        return marked[channel]
    if -1 in marked:
        if len(functions) == len(names):
            return functions[channel]
        if len(functions) == 1:
            return functions[0]
    raise BadInput(
        f"PSFs for {what}",
        expected=f"one, or one for each channel that was read ({', '.join(names)})",
        found=f"{len(functions)}",
    )
