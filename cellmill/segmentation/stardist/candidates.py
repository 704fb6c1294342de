"""Candidates for objects: where a network says that a polygon might be, and how likely it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cellmill.arrays.windows import Box
from cellmill.errors import BadInput
from cellmill.segmentation.interface import Maps
from cellmill.segmentation.stardist.parameters import StarDistParameters

#: Side in pixels of what is read of the maps at once.
_READ_SIDE = 512
#: Shorter rays are lengthened to this, in pixels, as StarDist does.
SHORTEST = np.float32(1e-3)


@dataclass(frozen=True)
class Candidates:
    """Candidates, the most likely first; of equal ones the first in raster order.

    Attributes:
        y: `(N,)` int64, rows of the centres in pixels.
        x: `(N,)` int64, columns.
        score: `(N,)` float32, probabilities.
        rays: `(N, R)` float32, distances to the edge in pixels, at angles `2πk / R` from the
            direction of growing `x` towards that of growing `y`.
    """

    y: np.ndarray
    x: np.ndarray
    score: np.ndarray
    rays: np.ndarray

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, chosen: np.ndarray) -> Candidates:
        """Some of them, by a mask or by places in ascending order."""
        return Candidates(self.y[chosen], self.x[chosen], self.score[chosen], self.rays[chosen])

    @property
    def places(self) -> tuple[np.ndarray, ...]:
        """`(N,)` each: y, x."""
        return self.y, self.x

    @property
    def nbytes(self) -> int:
        """What the arrays take."""
        return self.y.nbytes + self.x.nbytes + self.score.nbytes + self.rays.nbytes

    @property
    def longest(self) -> float:
        """The longest ray, pixels; 0 without candidates."""
        return float(self.rays.max(initial=0))


def rank(places: Sequence[np.ndarray], score: np.ndarray) -> np.ndarray:
    """The order in which candidates are decided on: by falling score, then raster.

    Args:
        places: `(N,)` each: y, x or z, y, x.
        score: `(N,)`.
    """
    return np.lexsort((*places[::-1], -score))


def joined(parts: Iterable[Candidates], rays: int) -> tuple[Candidates, np.ndarray]:
    """Candidates of several parts in order of rank.

    Args:
        parts: any number.
        rays: how many each has.

    Returns:
        All of them, and for each its place in the parts laid end to end.
    """
    every = [_none(rays), *parts]
    y, x, score = (
        np.concatenate([getattr(part, name) for part in every]) for name in ("y", "x", "score")
    )
    order = rank((y, x), score)
    lengths = np.concatenate([part.rays for part in every])
    return Candidates(y[order], x[order], score[order], lengths[order]), order


def ray_count(maps: Maps) -> int:
    """How many rays the maps of distances have.

    Raises:
        BadInput: there are fewer than three.
    """
    shape = maps["distances"].shape
    if len(shape) < 3 or shape[-1] < 3:
        raise BadInput(
            maps.names["distances"], expected="at least 3 channels, one a ray", found=f"{shape}"
        )
    return int(shape[-1])


def find_candidates(maps: Maps, parameters: StarDistParameters, boxes: Iterable[Box]) -> Candidates:
    """Find the candidates whose centres lie in some boxes of the image, which do not overlap.

    Args:
        maps: of the roles `probability` and `distances`, of one stride.
        parameters: the threshold, and how near the border there is none.
        boxes: in pixels of the image.

    Raises:
        BadInput: a map holds NaN or infinity there, or the maps have different strides.
    """
    stride = strides_of(maps)[0]
    pieces = (piece for box in boxes for piece in _pieces(box, _READ_SIDE))
    found = (_in_box(maps, parameters, piece, stride) for piece in pieces)
    return joined(found, ray_count(maps))[0]


def _in_box(maps: Maps, parameters: StarDistParameters, box: Box, stride: int) -> Candidates:
    values = Box(*(-(-edge // stride) for edge in (box.y0, box.y1, box.x0, box.x1)))
    if min(values.shape) < 1:
        return _none(ray_count(maps))
    probability = np.asarray(maps.read("probability", values), np.float32)
    distances = maps.read("distances", values)
    likely = probability > np.float32(parameters.prob_threshold)
    rows, columns = maps["probability"].shape
    border = parameters.border
    inner = Box(border, rows - border, border, columns - border)
    y, x = np.nonzero(likely)
    inside = inner.holds(y + values.y0, x + values.x0)
    y, x = y[inside], x[inside]
    rays = np.maximum(distances[y, x].astype(np.float32, copy=False), SHORTEST)
    return Candidates((y + values.y0) * stride, (x + values.x0) * stride, probability[y, x], rays)


def strides_of(maps: Maps) -> tuple[int, ...]:
    """The strides of both maps along each axis; those of Y and X are equal.

    Raises:
        BadInput: they have different ones.
    """
    strides = {maps.strides_of(role) for role in ("probability", "distances")}
    if len(strides) != 1:
        raise BadInput(
            f"{maps.names['probability']} and {maps.names['distances']}",
            expected="one stride",
            found=" and ".join(" × ".join(map(str, dict.fromkeys(s))) for s in sorted(strides)),
        )
    return strides.pop()


def _pieces(box: Box, side: int) -> Iterator[Box]:
    for y in range(box.y0, box.y1, side):
        for x in range(box.x0, box.x1, side):
            yield Box(y, min(y + side, box.y1), x, min(x + side, box.x1))


def _none(rays: int) -> Candidates:
    nothing = np.zeros(0, np.int64)
    return Candidates(nothing, nothing, np.zeros(0, np.float32), np.zeros((0, rays), np.float32))
