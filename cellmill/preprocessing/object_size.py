"""The diameter of an image's bright objects, estimated from its pixels: no network, no threshold.

A filter that passes details of one size only (a difference of two Gaussians) answers most where
bright objects have that size: to a disc of diameter d at σ = d / 2√2 (Lindeberg, "Feature detection
with automatic scale selection", Int. J. Comput. Vis. 1998). The image is seen through such filters
of growing σ, on a pyramid, and the energy of what is brighter than its surroundings is added up in
blocks. What white noise gives falls as 1 / σ²; it is known from the smallest σ and taken off. The σ
at which most energy is left tells the diameter. Blocks vote nearly alike, however bright their
objects are, so that a piece of dirt does not decide.

What is read is bounded and depends on the image's shape alone: the estimate is the same whatever
the memory, the threads and the shards.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from cellmill.arrays.windows import Box, Windowed
from cellmill.compute.threads import in_threads, threads_within

#: The least σ of the filters, pixels, and how many there are to an octave.
_FINEST = 1.0
_PER_OCTAVE = 3
#: A filter is the difference of Gaussians of σ / _STEP and σ · _STEP: neighbours share one.
_STEP = 2 ** (1 / (2 * _PER_OCTAVE))
#: A plane of the pyramid has at least so many pixels a side, so that its filters fit into it.
_LEAST_SIDE = 12
#: Blocks along each side of a window.
_BLOCKS = 8
#: Energies are divided by this power of σ. At 0 large objects count by their area, and clumps and
#: an uneven background with them; at 2 an object counts once, and so does each grain in it.
_TILT = 0.75
#: Diameter by σ of the greatest energy; 2√2 for one disc at a tilt of 0. The median over mnfinder's
#: training images at five zooms.
_DIAMETER_PER_SIGMA = 3.8
#: A block's vote grows with this power of its energy; 1 would let the brightest object decide.
_VOTE_POWER = 0.4
#: A block votes if it has so many times the energy that its noise has at the same σ. By chance a
#: block of white noise does so once in thousands: so many of all must vote.
_ABOVE_NOISE = 30.0
_LEAST_VOTING = 1e-3
#: Noise may be other than white. Blocks with less than so many times the energy of the emptiest
#: tenth do not vote if what they hold is smaller than so many pixels: grain rather than objects.
_ABOVE_EMPTY = 3.0
_EMPTIEST = 10
_GRAIN = 12.0
#: The peak that is taken has so much of the summed curve's greatest value.
_OF_GREATEST = 0.5
#: A block agrees whose own estimate differs from the whole's at most so many times.
_AGREES = 1.5
#: Windows that are read: this side in pixels for images of at most so many, else the next.
_WINDOWS = ((2048, 16), (1024, 64))
#: Held for each pixel of a window: itself, float32, its Gaussians, their difference.
_BYTES_PER_PIXEL = 32


@dataclass(frozen=True)
class DiameterEstimate:
    """What an image's pixels say of its objects' size.

    Args:
        diameter: of a typical object, in pixels of the image, to a tenth; 0 if nothing stands out.
        blocks: parts of the image that were looked at.
        voting: those of them in which something of some size stands out from noise.
        agreeing: those of the voting whose own estimate is within 1.5 times of the whole.
    """

    diameter: float
    blocks: int
    voting: int
    agreeing: int


@dataclass(frozen=True)
class StyleEstimate:
    """What a network's size model found of an image.

    Attributes:
        diameter: of a typical object, in pixels of the image.
        by_style: the same by the network's style alone, with which objects were then looked for.
        objects: that were found so, whose median the diameter is; of none it is the one at which
            the network sees the image as it is.
    """

    diameter: float
    by_style: float
    objects: int


def estimate_diameter(
    image: Windowed, channel: int = 0, memory: int = 256 << 20
) -> DiameterEstimate:
    """Estimate the diameter of the bright objects in one channel.

    Args:
        image: `(Y, X, C)`, integer or float; at most 64 Mpx of it are read.
        channel: in which the objects are bright.
        memory: bytes to work in; the estimate does not depend on it.
    """
    boxes = sampled_windows((image.shape[0], image.shape[1]))

    def work(box: Box) -> np.ndarray:
        y, x = box.slices
        return _block_energies(np.asarray(image[y, x, channel]))

    largest = max(math.prod(box.shape) for box in boxes)
    threads = threads_within(memory >> 20, largest * _BYTES_PER_PIXEL)
    found = in_threads(work, boxes, threads)
    scales = max(len(each) for each in found)
    energies = [np.pad(each, ((0, scales - len(each)), (0, 0))) for each in found]
    return _elected(np.concatenate(energies, axis=1))


def sampled_windows(shape: tuple[int, int]) -> list[Box]:
    """The windows of an image that are read: all of it, or if it is large a grid spread over it.

    Args:
        shape: `(Y, X)`.
    """
    for side, most in _WINDOWS:
        rows, columns = (math.ceil(length / side) for length in shape)
        if rows * columns <= most:
            ys, xs = _cuts(shape[0], rows), _cuts(shape[1], columns)
            return [Box(*y, *x) for y, x in itertools.product(ys, xs)]
    return spread_windows(shape, side, most)


def spread_windows(shape: tuple[int, int], side: int, most: int) -> list[Box]:
    """Windows spread over an image, about as far apart down as across, at most so many.

    Args:
        shape: `(Y, X)`.
        side: of a window, pixels.
        most: windows.
    """
    rows, columns = (max(length // side, 1) for length in shape)
    rows = min(max(round(math.sqrt(most * shape[0] / shape[1])), 1), most, rows)
    columns = min(most // rows, columns)
    return [
        Box(y, min(y + side, shape[0]), x, min(x + side, shape[1]))
        for y in _spread(shape[0], side, rows)
        for x in _spread(shape[1], side, columns)
    ]


def _cuts(length: int, count: int) -> list[tuple[int, int]]:
    """An axis cut into so many nearly equal parts."""
    return list(itertools.pairwise([length * k // count for k in range(count + 1)]))


def _spread(length: int, side: int, count: int) -> list[int]:
    """Where windows begin that lie in the middles of so many equal parts of an axis."""
    return [max(int((k + 0.5) * length / count - side / 2), 0) for k in range(count)]


def _block_energies(window: np.ndarray) -> np.ndarray:
    """The energy of what is bright, mean of a block, `(filters, blocks)` float64."""
    # Few ask for an estimate; the import takes longer than most of them.
    import cv2

    low, high = float(window.min()), float(window.max())
    if not math.isfinite(high - low) or high == low:
        return np.zeros((0, _BLOCKS**2))
    plane = ((window - window.dtype.type(low)) / (high - low)).astype(np.float32)
    rows: list[np.ndarray] = []
    while min(plane.shape) >= _LEAST_SIDE:
        narrow = _blurred(plane, _FINEST / _STEP)
        for k in range(_PER_OCTAVE):
            wide = _blurred(plane, _FINEST * _STEP ** (2 * k + 1))
            bright = np.maximum(narrow - wide, 0)
            blocks = cv2.resize(bright * bright, (_BLOCKS, _BLOCKS), interpolation=cv2.INTER_AREA)
            rows.append(blocks.ravel().astype(np.float64) * (high - low) ** 2)
            narrow = wide
        half = (plane.shape[1] // 2, plane.shape[0] // 2)
        plane = cv2.resize(plane, half, interpolation=cv2.INTER_AREA)
    return np.array(rows).reshape(-1, _BLOCKS**2)


def _blurred(plane: np.ndarray, sigma: float) -> np.ndarray:
    import cv2

    return cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)


def _elected(energies: np.ndarray) -> DiameterEstimate:
    """The diameter that the blocks agree on.

    Args:
        energies: `(filters, blocks)`.
    """
    scales, blocks = energies.shape
    nothing = DiameterEstimate(0.0, blocks, 0, 0)
    if scales < 3:
        return nothing
    sigmas = _FINEST * 2 ** (np.arange(scales)[:, np.newaxis] / _PER_OCTAVE)
    noise = energies[:1] * (_FINEST / sigmas) ** 2
    signal = np.maximum(energies - noise, 0)
    votes = (signal > _ABOVE_NOISE * noise).any(axis=0)
    signal /= sigmas**_TILT
    greatest = signal.max(axis=0)
    # Beside an object a block has but its glow, which has no peak.
    own = np.array([_peak(block) for block in signal.T])
    votes &= own >= 0
    filled = votes & (greatest > _ABOVE_EMPTY * np.percentile(greatest, _EMPTIEST))
    empty = votes & ~filled
    if filled.any() and empty.any() and _diameter(np.median(own[empty])) < _GRAIN:
        votes = filled
    summed = (signal[:, votes] * greatest[votes] ** (_VOTE_POWER - 1)).sum(axis=1)
    place = _peak(summed)
    enough = votes.sum() >= _LEAST_VOTING * blocks
    if place < 0 or not enough or summed[round(place)] < _OF_GREATEST * summed.max():
        return nothing
    agree = np.abs(own[votes] - place) <= _PER_OCTAVE * math.log2(_AGREES)
    return DiameterEstimate(round(_diameter(place), 1), blocks, int(votes.sum()), int(agree.sum()))


def _diameter(place: float) -> float:
    """In pixels, of objects that answer most to the filter at a place."""
    return float(_DIAMETER_PER_SIGMA * _FINEST * 2 ** (place / _PER_OCTAVE))


def _peak(curve: np.ndarray) -> float:
    """The place of the highest inner maximum, between samples by a parabola through logarithms."""
    inner = curve[1:-1]
    places = np.flatnonzero((inner >= curve[:-2]) & (inner > curve[2:])) + 1
    if not len(places):
        return -1.0
    at = int(places[np.argmax(curve[places])])
    below, here, above = np.log(np.maximum(curve[at - 1 : at + 2], curve[at] * 1e-9))
    bend = below - 2 * here + above
    return at + (float((below - above) / (2 * bend)) if bend < 0 else 0.0)
