"""Random crops of volumes: several volumes by weight, within a region, read ahead by threads.

Crop `i` follows from the seed and `i` alone. So threads, retries and restarts change no crop, and a
training that was killed goes on with the crops that it would have had.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from cellmill.arrays.windows import Windowed
from cellmill.errors import BadInput
from cellmill.style_transfer.defects import Defects
from cellmill.style_transfer.volumes import Triple, Volume

Box = tuple[int, int, int, int, int, int]
"""`z0, y0, x0, z1, y1, x1`, voxels of the volume as it is seen; half-open."""

#: Corners that are tried within a mask before it is said that there is no room.
_TRIALS = 2000
#: Seconds after which a crop that could not be read is asked for again, doubled each time.
_WAIT = 0.2


@dataclass(frozen=True)
class Source:
    """A volume to draw crops from, and where.

    Args:
        volume: as `open_volume` gives it.
        weight: how often it is drawn, against the other volumes' weights.
        boxes: crops lie within one of these; none: anywhere.
        mask: `(Z, Y, X)`, non-zero where crops may lie.
        mask_factors: how many voxels of the volume a voxel of the mask stands for, an axis each;
            the mask's sides are the volume's divided by them and rounded up.
        least_inside: part of a crop that must lie in the mask.
        mask_name: by which a training that goes on knows the mask.

    Raises:
        BadInput: a box is not within the volume, or the mask is not of its shape.
    """

    volume: Volume
    weight: float = 1.0
    boxes: tuple[Box, ...] = ()
    mask: Windowed | None = None
    mask_factors: Triple = (1, 1, 1)
    least_inside: float = 1.0
    mask_name: str = ""

    def __post_init__(self) -> None:
        shape, label = self.volume.shape, f"volume '{self.volume.name}'"
        if not 0 < self.weight < np.inf:
            raise BadInput(f"{label}, weight", expected="above 0", found=f"{self.weight}")
        if not 0 < self.least_inside <= 1:
            raise BadInput("least_inside", expected="0 to 1", found=f"{self.least_inside}")
        for box in self.boxes:
            low, high = box[:3], box[3:]
            if not all(0 <= a < b <= n for a, b, n in zip(low, high, shape, strict=True)):
                raise BadInput(f"{label}, box", expected=f"within {shape}", found=f"{box}")
        if self.mask is not None:
            if min(self.mask_factors) < 1:
                raise BadInput("mask_factors", expected="from 1", found=f"{self.mask_factors}")
            sides = tuple(-(-n // f) for n, f in zip(shape, self.mask_factors, strict=True))
            if tuple(self.mask.shape) != sides:
                found = f"{tuple(self.mask.shape)}"
                raise BadInput(f"mask of {label}", expected=f"shape {sides}", found=found)


@dataclass(frozen=True)
class Crop:
    """A crop of a volume.

    Args:
        values: uint8, of the shape that was asked for.
        source: which of the sources.
        corner: its first voxel, (z, y, x).
    """

    values: np.ndarray
    source: int
    corner: Triple


def sample_volumes(
    sources: Sequence[Source],
    shape: Triple,
    *,
    seed: int = 0,
    start: int = 0,
    count: int | None = None,
    threads: int = 4,
    ahead: int = 16,
    retries: int = 3,
    defects: Defects | None = None,
) -> Iterator[Crop]:
    """Draw crops; the next are read while the last is worked on.

    Args:
        sources: volumes, and where crops may lie in them.
        shape: of a crop, `(z, y, x)`.
        seed: the same gives the same crops.
        start: number of the first crop: a sequence goes on where another ended.
        count: of crops; None never ends.
        threads: that read.
        ahead: crops that are read ahead at most, which is what memory holds of them.
        retries: times that a crop is asked for again where reading fails.
        defects: how crops are bent and spoilt; None leaves them as they are.

    Raises:
        BadInput: no crop of that shape has room, or one cannot be read.
    """
    if not sources:
        raise BadInput("volumes", expected="at least one", found="none")
    for name, number in (("threads", threads), ("ahead", ahead)):
        if number < 1:
            raise BadInput(name, expected="at least 1", found=f"{number}")
    corners = [_ranges(source, shape) for source in sources]
    weights = np.array([source.weight for source in sources], float)
    numbers = itertools.count(start) if count is None else range(start, start + count)

    def read(number: int) -> Crop:
        random = np.random.default_rng([seed, number])
        chosen = int(random.choice(len(sources), p=weights / weights.sum()))
        corner = _corner(sources[chosen], corners[chosen], shape, random)
        window = tuple(slice(c, c + n) for c, n in zip(corner, shape, strict=True))
        for trial in itertools.count():
            try:
                values = sources[chosen].volume[window]
                break
            except (BadInput, OSError):
                if trial >= retries:
                    raise
                time.sleep(_WAIT * 2**trial)
        if defects:
            values = defects.applied(values, np.random.default_rng([seed, number, 1]))
        return Crop(values, chosen, corner)

    return _read_ahead(read, iter(numbers), threads, ahead)


def check_room(sources: Sequence[Source], shape: Triple) -> None:
    """Raise `BadInput` where a volume's boxes have no room for crops of a shape `(z, y, x)`."""
    for source in sources:
        _ranges(source, shape)


def _read_ahead(
    read: Callable[[int], Crop], numbers: Iterator[int], threads: int, ahead: int
) -> Iterator[Crop]:
    coming: deque[Future[Crop]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        while True:
            for number in itertools.islice(numbers, ahead - len(coming)):
                coming.append(pool.submit(read, number))
            if not coming:
                return
            yield coming.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _ranges(source: Source, shape: Triple) -> list[tuple[tuple[int, int], ...]]:
    """Where a crop's corner may be: an axis each from and up to, a box each."""
    found = []
    for box in source.boxes or ((0, 0, 0, *source.volume.shape),):
        ends = [(a, b - n + 1) for a, b, n in zip(box[:3], box[3:], shape, strict=True)]
        if all(a < b for a, b in ends):
            found.append(tuple(ends))
    if not found:
        sides = source.boxes or source.volume.shape
        raise BadInput(
            f"volume '{source.volume.name}'",
            expected=f"room for crops of {shape}",
            found=f"{sides}",
        )
    return found


def _corner(
    source: Source,
    ranges: Sequence[tuple[tuple[int, int], ...]],
    shape: Triple,
    random: np.random.Generator,
) -> Triple:
    """A corner; a box counts by the corners that it has."""
    sizes = np.array([np.prod([float(b - a) for a, b in ends]) for ends in ranges])
    for _ in range(_TRIALS):
        ends = ranges[int(random.choice(len(ranges), p=sizes / sizes.sum()))]
        z, y, x = (int(random.integers(a, b)) for a, b in ends)
        if is_inside(source, (z, y, x), shape):
            return z, y, x
    raise BadInput(
        f"mask of volume '{source.volume.name}'",
        expected=f"room for crops of {shape}",
        found=f"none in {_TRIALS} places",
    )


def is_inside(source: Source, corner: Triple, shape: Triple) -> bool:
    """Whether as much of a crop as has to lies in a source's mask; True where it has none."""
    if source.mask is None:
        return True
    window = tuple(
        slice(c // f, -(-(c + n) // f))
        for c, n, f in zip(corner, shape, source.mask_factors, strict=True)
    )
    inside = np.asarray(source.mask[window]) != 0
    return bool(inside.mean() >= source.least_inside)
