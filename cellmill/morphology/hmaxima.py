"""Maxima that rise a height h above the pass to a higher one, without a reconstruction.

A pixel p of value v belongs to an h-maximum if the reconstruction of the image lowered by h stays
at least h below it. The reconstruction exceeds v - h at p exactly if a way leads from p over pixels
above v - h to one whose lowered value is above v - h too. So one flood from p answers, and ends at
the first such pixel. Pixels with such a neighbour, nearly all, need no flood.

Every comparison is "v - x < h" in the image's own precision, with x a value of the image or of the
lowered image; both are those of scikit-image 0.25.2, so that the answers are its, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from cellmill.arrays.windows import Box, Grid
from cellmill.compute.memory import Scratch
from cellmill.compute.threads import bands, in_threads
from cellmill.errors import BadInput
from cellmill.morphology.hmaxima_kernels import (
    OPEN,
    YES,
    Ground,
    Walks,
    candidates,
    decide,
    extremes_of,
    lay_out,
    nearest_higher,
    walk,
)
from cellmill.morphology.images import checked_image
from cellmill.morphology.reach import Reach, reach_of

#: In memory: tiles that a CPU's caches bear, and a halo that most floods stay in, by the number of
#: axes.
_TILE, _HALO = {2: 512, 3: 96}, {2: 32, 3: 16}
#: Steps that a flood takes before other tiles are asked, and pixels that it may take anyway.
_BUDGET_STEPS, _LEAST_BUDGET, _NO_BUDGET = 1 << 16, 512, 1 << 62


class Heights(NamedTuple):
    """What is compared with what, in the image's precision.

    Attributes:
        h: the least height.
        resolution: relative rounding that lowering allows for.
        lowest: of the image.
        highest: of the lowered image.
    """

    h: np.floating
    resolution: np.floating
    lowest: np.floating
    highest: np.floating


def h_maxima(image: np.ndarray, h: float, footprint: np.ndarray | None = None) -> np.ndarray:
    """Find the maxima that rise at least `h` above the pass to a higher one.

    The pixels where `image` exceeds the morphological reconstruction of `image - h` under `image`
    by at least `h` (Soille, Morphological Image Analysis, 2nd ed., 6.3.4). If `h` is more than the
    image's whole range there are none.

    Args:
        image: `(Y, X)` or `(Z, Y, X)`, real numbers, finite.
        h: the least height, above 0, in the image's units.
        footprint: neighbourhood over which the reconstruction spreads, odd sides; `None` is 3 × 3
            (× 3).

    Returns:
        A bool mask of the image's shape.

    Raises:
        BadInput: the image has other axes or NaN or infinity, `h` is not above 0, or the footprint
            has an even side or other dimensions.

    Example:
        >>> h_maxima(np.array([[0, 5, 0, 4, 3, 4]]), h=2).astype(int).tolist()
        [[0, 1, 0, 1, 0, 1]]
    """
    image = checked_image(image)
    found = np.zeros(image.shape, bool)
    found.reshape(-1)[h_maxima_places(image, h, footprint)] = True
    return found


def h_maxima_places(image: np.ndarray, h: float, footprint: np.ndarray | None = None) -> np.ndarray:
    """Find what `h_maxima` finds, as places in the image laid flat, int64, ascending.

    Args:
        image: as `h_maxima` takes it, but float32 or float64; it is not checked.
        h: the least height.
        footprint: neighbourhood.
    """
    reach = reach_of(footprint, image.ndim)
    heights = heights_of(image, h)
    if heights is None:
        return np.zeros(0, np.int64)
    whole = Box.of([(0, side) for side in image.shape])
    pixels, _ = _pixels_in_window(image, whole, whole, image.shape, reach, heights)
    return np.sort(np.ravel_multi_index(tuple(pixels.T), image.shape))


def maxima_in_window(
    image: np.ndarray,
    window: Box,
    box: Box,
    shape: tuple[int, ...],
    reach: Reach,
    heights: Heights,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the h-maxima in a box as far as a window around it can tell.

    Args:
        image: the pixels of the window.
        window: the box and its halo: at least the footprint's radius, or to the image's edge.
        box: where h-maxima are wanted.
        shape: of the whole image.
        reach: the footprint.
        heights: of the whole image.

    Returns:
        A mask of the box, and the pixels `(n, ndim)` of the whole image that may be h-maxima too:
        nothing in the window speaks against it, but the flood left it.
    """
    pixels, undecided = _pixels_in_window(image, window, box, shape, reach, heights)
    found = np.zeros(box.shape, bool)
    found[tuple((pixels - np.array(box.origin)).T)] = True
    return found, undecided


def _pixels_in_window(
    image: np.ndarray,
    window: Box,
    box: Box,
    shape: tuple[int, ...],
    reach: Reach,
    heights: Heights,
) -> tuple[np.ndarray, np.ndarray]:
    """The same with the h-maxima as pixels `(n, ndim)` of the whole image.

    The box is gone through in tiles that a CPU's cache bears; what these leave open is asked of the
    window.
    """
    ndim = len(shape)
    grid = Grid(box.shape, _TILE[ndim])
    margins = tuple(max(_HALO[ndim], margin) for margin in reach.margins)
    # In images a walk answers most that a flood would take long for.
    walks = ndim == 2
    budget = max(_LEAST_BUDGET, _BUDGET_STEPS // max(len(reach.steps), 1)) if walks else _NO_BUDGET

    def tiled(tile: int) -> tuple[_Window, Box, np.ndarray]:
        part = grid.box(tile).moved(*box.origin)
        outer = _clipped(part.grown(margins, shape), window)
        found = _Window(image[outer.within(window)], reach, heights, _cut(outer, shape), _SCRATCH)
        return found, part, np.array(outer.origin)

    def first(tile: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        found, part, corner = tiled(tile)
        part = part.moved(*-corner)
        places = found.candidates(part.slices)
        answers = found.decide(places, budget)
        highest = places[[np.argmax(found.values[places])]] if len(places) else places
        yes, left_open, top = (
            found.pixels(some) + corner
            for some in (places[answers == YES], places[answers == OPEN], highest)
        )
        return yes, left_open, top

    def again(tile: int) -> tuple[np.ndarray, np.ndarray]:
        found, part, corner = tiled(tile)
        mine = part.holds(*undecided.T)
        places = found.places(undecided[mine] - corner)
        answers = found.decide(places)
        return found.pixels(places[answers == YES]) + corner, undecided[mine][answers == OPEN]

    yes, undecided, tops = _columns(in_threads(first, range(len(grid))))
    corner = np.array(window.origin)
    if walks:
        out = _ruled_out(image, undecided - corner, tops - corner, reach, heights)
        undecided = undecided[~out]
        tiles = np.unique(grid.tiles_at(*(undecided - np.array(box.origin)).T))
        more, undecided = _columns([(yes[:0], undecided[:0]), *in_threads(again, tiles)])
        yes = np.concatenate([yes, more])
    if not len(undecided):
        return yes, undecided
    # Seldom needed and as large as the window: memory that is not kept.
    whole = _Window(image, reach, heights, _cut(window, shape), Scratch())
    answers = whole.decide(whole.places(undecided - corner))
    return np.concatenate([yes, undecided[answers == YES]]), undecided[answers == OPEN]


def _columns(rows: Iterable[tuple[np.ndarray, ...]]) -> list[np.ndarray]:
    return [np.concatenate(column) for column in zip(*rows, strict=True)]


def _ruled_out(
    image: np.ndarray, pixels: np.ndarray, highest: np.ndarray, reach: Reach, heights: Heights
) -> np.ndarray:
    """Those of some pixels that a walk to the nearest higher one of others rules out, bool."""

    def work(pixel: np.ndarray) -> bool:
        goal = nearest_higher(image, pixel, highest)
        if goal < 0:
            return False
        low = walk(image, pixel, highest[goal], reach.walk, heights.h, heights.resolution)
        return bool(image[tuple(pixel)] - low < heights.h)

    return np.array(in_threads(work, pixels), bool)


def _cut(box: Box, shape: tuple[int, ...]) -> tuple[bool, ...]:
    """Whether the image goes on beyond each side of a box."""
    cut: list[bool] = []
    for (start, stop), length in zip(box.edges, shape, strict=True):
        cut += (start > 0, stop < length)
    return tuple(cut)


def _clipped(box: Box, window: Box) -> Box:
    common = box.common(window)
    assert common is not None
    return common


def heights_of(image: np.ndarray, h: float) -> Heights | None:
    """What h-maxima of a whole image depend on; `None` if it can have none.

    Raises:
        BadInput: `h` is not above 0.
    """
    rows = image.reshape(-1, image.shape[-1]) if image.size else image.reshape(0, 0)
    cuts = bands(len(rows)) if image.size else []
    return joined_heights(lambda cut: rows[slice(*cut)], cuts, h, image.dtype)


def joined_heights(
    read: Callable[[Any], np.ndarray],
    parts: Iterable[Any],
    h: float,
    dtype: np.dtype,
    threads: int | None = None,
) -> Heights | None:
    """The same of an image of which `read` gives the parts, so many at once.

    Raises:
        BadInput: `h` is not above 0.
    """
    if not h > 0:
        raise BadInput("height h of a maximum", expected="more than 0", found=f"{h}")
    scalar = dtype.type
    height, resolution = scalar(h), 2 * np.finfo(dtype).resolution

    def extremes_in(part: Any) -> tuple[Any, Any, Any]:
        values = read(part)
        return extremes_of(values.reshape(-1, values.shape[-1]), height, resolution)

    extremes = in_threads(extremes_in, parts, threads)
    if not extremes:
        return None
    lowest, highest, lowered = (
        pick(values)
        for pick, values in zip((min, max, max), zip(*extremes, strict=True), strict=True)
    )
    if height > scalar(highest) - scalar(lowest):
        return None
    return Heights(height, resolution, scalar(lowest), scalar(lowered))


class _Window:
    """A part of an image laid out for the kernels: flat, with a border that no flood enters."""

    def __init__(
        self,
        image: np.ndarray,
        reach: Reach,
        heights: Heights,
        cut: tuple[bool, ...],
        scratch: Scratch,
    ) -> None:
        self.heights, self.reach, self.margins = heights, reach, reach.margins
        self.shape = tuple(
            side + 2 * margin for side, margin in zip(image.shape, self.margins, strict=True)
        )
        self.inner = tuple(
            slice(margin, margin + side)
            for side, margin in zip(image.shape, self.margins, strict=True)
        )
        values, self.owners = scratch.arrays(self.shape, image.dtype, np.dtype(np.int32))
        self.cut = cut
        planes = values.reshape(-1, *values.shape[-2:])
        source = image.reshape(-1, *image.shape[-2:])
        first = self.margins[0] if image.ndim == 3 else 0
        planes[:first] = -np.inf
        planes[first + len(source) :] = -np.inf
        for plane, laid_out in zip(source, planes[first:], strict=False):
            lay_out(plane, *self.margins[-2:], laid_out)
        strides = [math.prod(self.shape[k + 1 :]) for k in range(len(self.shape))]
        self.offsets = (reach.steps * strides).sum(axis=1)
        self.values = values.reshape(-1)

    def candidates(self, core: tuple[slice, ...]) -> np.ndarray:
        """Flat places of the core's pixels that no neighbour rules out."""
        sides = [
            range(*part.indices(s.stop - s.start)) for part, s in zip(core, self.inner, strict=True)
        ]
        starts = np.zeros(1, np.int64)
        for axis, side in enumerate(sides[:-1]):
            rows = np.arange(side.start, side.stop) + self.margins[axis]
            starts = (starts[:, np.newaxis] * self.shape[axis] + rows).reshape(-1)
        starts = starts * self.shape[-1] + sides[-1].start + self.margins[-1]
        heights, reach = self.heights, self.reach
        # Far more than what lowering a value by h and comparing it may round off.
        largest = max(abs(heights.lowest), abs(heights.highest) + 2 * heights.h)
        return candidates(
            self.values,
            starts,
            len(sides[-1]),
            self.offsets,
            reach.near,
            reach.monotone,
            *heights,
            self.values.dtype.type(4 * heights.resolution * (largest + heights.h)),
        )

    def decide(self, places: np.ndarray, budget: int = _NO_BUDGET) -> np.ndarray:
        """`NO`, `YES` or `OPEN` for each of these flat places; see the kernel."""
        answers = np.empty(len(places), np.uint8)
        if not len(places):
            return answers
        self.owners[...] = 0
        for side, is_cut in enumerate(self.cut):
            axis, at_end = divmod(side, 2)
            margin, ring = self.margins[axis], list(self.inner)
            start, stop = ring[axis].start, ring[axis].stop
            ring[axis] = slice(stop - margin, stop) if at_end else slice(start, start + margin)
            if is_cut:
                self.owners[tuple(ring)] = -1
        reach = self.reach
        order = np.argsort(-self.values[places])
        places = places[order]
        ground = Ground(
            self.values,
            self.owners.reshape(-1),
            self.offsets,
            reach.faces,
            reach.monotone,
            reach.symmetric,
        )
        # Walks are for images, not for volumes.
        flat = len(self.shape) == 2
        plane = self.values.reshape(self.shape) if flat else self.values[:0].reshape(0, 1)
        pixels = np.stack(np.divmod(places, self.shape[-1]), axis=-1)
        walks = Walks(plane, pixels, reach.walk)
        answers[order] = decide(ground, walks, self.heights, places, budget)
        return answers

    def pixels(self, places: np.ndarray) -> np.ndarray:
        """Coordinates `(n, ndim)` in the window."""
        return np.stack(np.unravel_index(places, self.shape), axis=-1) - self.margins

    def places(self, pixels: np.ndarray) -> np.ndarray:
        """Flat places of coordinates `(n, ndim)` in the window."""
        return np.ravel_multi_index(tuple((pixels + self.margins).T), self.shape)


_SCRATCH = Scratch()
