"""A small method of its own: connected pixels above a part of the image's greatest value.

It is what `CONTRIBUTING.md` asks of a method, in one file: it reads the image (or a head, if it is
told), depends on the whole image, and joins objects over the seams of tiles by a table.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cellmill.arrays.store import packed, unpacked
from cellmill.arrays.windows import BOTTOM, RIGHT, Box, Grid, Windowed
from cellmill.arrays.workspace import Workspace, unfinished_tiles
from cellmill.compute.threads import in_threads
from cellmill.labels.cleaned import Cleaned
from cellmill.labels.numbering import canonical_labels, dense_ranks
from cellmill.labels.objects import remove_small_objects
from cellmill.labels.tiles import object_table
from cellmill.segmentation.interface import IMAGE, Maps, Method, Numbering, Role, TiledForm
from cellmill.segmentation.parameters import check_parameters, multiples, parameter


@dataclass(frozen=True)
class ToyParameters:
    """What the toy is told."""

    level: float = parameter(
        0.5, "Part of the greatest value.", above=0, most=1, tried=multiples(0.5, 1, 4)
    )
    smallest: int = parameter(1, "Objects with fewer pixels are dropped.", least=1, most=10_000)
    diagonal: bool = parameter(False, "Whether pixels that share a corner are connected.")

    def __post_init__(self) -> None:
        check_parameters(self)


def _segment(maps: Maps, parameters: ToyParameters, numbering: Numbering) -> np.ndarray:
    signal = _signal(maps, Box(0, maps.shape[0], 0, maps.shape[1]))
    if not signal.size:
        return np.zeros(signal.shape, np.int32)
    mask = (signal > 0) & (signal >= parameters.level * float(signal.max()))
    labels = ndimage.label(mask, _neighbours(parameters))[0]
    return canonical_labels(remove_small_objects(labels, parameters.smallest)).astype(np.int32)


def _signal(maps: Maps, box: Box) -> np.ndarray:
    """The signal at each pixel of a box; of a head of fewer values, that of the value before it."""
    step = maps.strides_of("signal")[0]
    coarse = Box(box.y0 // step, -(-box.y1 // step), box.x0 // step, -(-box.x1 // step))
    values = maps.read("signal", coarse).repeat(step, axis=0).repeat(step, axis=1)
    return values[box.moved(-coarse.y0 * step, -coarse.x0 * step).slices]


def _neighbours(parameters: ToyParameters) -> np.ndarray:
    return ndimage.generate_binary_structure(2, 2 if parameters.diagonal else 1)


class _TiledToy:
    """Objects of each tile by themselves, then joined over the seams."""

    def __init__(
        self, maps: Maps, parameters: ToyParameters, grid: Grid, workspace: Workspace
    ) -> None:
        self._maps, self._parameters, self._grid = maps, parameters, grid
        self._workspace, self._marks = workspace, workspace.marks

    @property
    def _ids(self):
        return self._workspace.array("ids", self._grid.shape, np.int64)

    def prepare(self, threads: int | None = None) -> None:
        """Take the greatest value of the whole image."""
        boxes = [self._grid.box(tile) for tile in range(len(self._grid))]
        found = in_threads(lambda box: _signal(self._maps, box).max(), boxes, threads)
        self._marks.mark("greatest", packed(greatest=np.array(max(found, default=0))))
        assert self._ids.shape == self._grid.shape

    def work(self, tiles: Iterable[int], threads: int | None = None) -> None:
        """Label tiles; an object's id is the place of its first pixel."""
        greatest = unpacked(self._marks.payload("greatest"))["greatest"]

        def one(tile: int) -> None:
            box = self._grid.box(tile)
            signal = _signal(self._maps, box)
            mask = (signal > 0) & (signal >= self._parameters.level * float(greatest))
            parts = ndimage.label(mask, _neighbours(self._parameters))[0]
            places = np.arange(box.y0, box.y1)[:, None] * self._grid.shape[1]
            places = places + np.arange(box.x0, box.x1) + 1
            first = ndimage.minimum(places, parts, np.arange(parts.max() + 1))
            ids = np.where(parts > 0, np.asarray(first, np.int64)[parts], 0)
            self._ids[box.slices] = ids
            self._marks.mark(_mark(tile))

        left = unfinished_tiles(tiles, self._grid, self._ids, self._marks, _mark, threads)
        in_threads(one, left, threads)

    def settle(self, threads: int | None = None) -> dict[str, int]:
        """Join what touches over seams: the smallest id of a joined object is its id."""
        pairs = np.concatenate([self._pairs(tile) for tile in range(len(self._grid))])
        ids, (one, other) = dense_ranks(pairs[:, 0], pairs[:, 1])
        parents = np.arange(len(ids))
        changed = True
        while changed:
            before = parents.copy()
            low = np.minimum(parents[one], parents[other])
            np.minimum.at(parents, one, low)
            np.minimum.at(parents, other, low)
            parents = parents[parents]
            changed = not np.array_equal(before, parents)
        self._marks.mark("joined", packed(ids=ids, roots=ids[parents]))
        return {"tiles": len(self._grid), "joined": len(pairs)}

    def labels(self, threads: int | None = None) -> Windowed:
        """The joined objects, small ones dropped."""
        table = unpacked(self._marks.payload("joined"))
        ids = self._workspace.finished("ids", self._grid.shape, np.int64)
        cleaned = Cleaned(_Joined(ids, table["ids"], table["roots"]))
        objects = object_table(cleaned, self._grid, threads)
        cleaned.dropped = objects.ids[objects.areas < self._parameters.smallest]
        return cleaned

    def _pairs(self, tile: int) -> np.ndarray:
        """Ids `(n, 2)` on both sides of a tile's lower and right seams."""
        box, shape = self._grid.box(tile), self._grid.shape
        found = [np.zeros((0, 2), np.int64)]
        steps = (-1, 0, 1) if self._parameters.diagonal else (0,)
        for side, _ in self._grid.neighbours(tile):
            if side not in (BOTTOM, RIGHT):
                continue
            one, other = (
                np.asarray(self._ids[line.slices]).reshape(-1) for line in _seam(box, side, shape)
            )
            for step in steps:
                left = one[max(-step, 0) : len(one) - max(step, 0)]
                right = other[max(step, 0) : len(other) - max(-step, 0)]
                both = (left > 0) & (right > 0)
                found.append(np.stack([left[both], right[both]], axis=1))
        return np.concatenate(found)


def _mark(tile: int) -> str:
    return f"tile-{tile}"


def _seam(box: Box, side: int, shape: tuple[int, int]) -> tuple[Box, Box]:
    """The lines of pixels on both sides of a seam, a pixel longer at each end."""
    y0, y1 = max(box.y0 - 1, 0), min(box.y1 + 1, shape[0])
    x0, x1 = max(box.x0 - 1, 0), min(box.x1 + 1, shape[1])
    if side == BOTTOM:
        return Box(box.y1 - 1, box.y1, x0, x1), Box(box.y1, box.y1 + 1, x0, x1)
    return Box(y0, y1, box.x1 - 1, box.x1), Box(y0, y1, box.x1, box.x1 + 1)


class _Joined:
    """Ids with those that were joined replaced by their object's."""

    dtype = np.dtype(np.int64)

    def __init__(self, source: Windowed, ids: np.ndarray, roots: np.ndarray) -> None:
        self._source, self._ids, self._roots = source, ids, roots
        self.shape = source.shape

    def __getitem__(self, window):
        found = np.asarray(self._source[window])
        if not len(self._ids):
            return found
        place = np.searchsorted(self._ids, found).clip(max=len(self._ids) - 1)
        return np.where(self._ids[place] == found, self._roots[place], found)


METHOD = Method(
    name="toy",
    summary="Connected pixels above a part of the greatest value.",
    parameters=ToyParameters,
    roles=(Role("signal", "objects brighter than what is around them", head=IMAGE, strided=True),),
    segment=_segment,
    bytes_per_pixel=40,
    tiled=TiledForm(open=_TiledToy, bytes_for=lambda side: side * side * 60),
)
