"""A domain of style transfer: one volume or several, by weight, each within its region.

Planes that the gate learns from and scores come from here: those that it scores lie within boxes
and mask, and show no pixel twice.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cellmill.arrays.indexing import reflected
from cellmill.arrays.windows import Windowed
from cellmill.errors import BadInput
from cellmill.style_transfer.gate import MARGIN, Planes
from cellmill.style_transfer.network import Reach, reach_of
from cellmill.style_transfer.places import NamedVolume
from cellmill.style_transfer.sampling import Box, Source, is_inside, sample_volumes
from cellmill.style_transfer.volumes import Triple, Volume, open_volume

#: Pixels of a side at most of the gate's planes, beyond what networks take of them; how many planes
#: its networks are trained on and how many are scored at most; how many are tried where a mask or
#: overlapping boxes may refuse them.
_BEYOND, _TAUGHT, _SCORED, _TRIED = 48, 24, 32, 4000


@dataclass(frozen=True)
class Labelled:
    """A volume, where it may be read, and where there is in it what the task finds.

    Args:
        source: grey values, their weight and their region.
        truth: `(Z, Y, X)`, non-zero where it is; None if that is not known.
    """

    source: Source
    truth: Windowed | None = None

    @property
    def volume(self) -> Volume:
        """Grey values."""
        return self.source.volume

    @property
    def boxes(self) -> tuple[Box, ...]:
        """Within which it is read: the volume's own if it was given none."""
        return self.source.boxes or ((0, 0, 0, *self.volume.shape),)

    @property
    def extent(self) -> tuple[int, int]:
        """From and up to which section its boxes reach."""
        return min(box[0] for box in self.boxes), max(box[3] for box in self.boxes)

    def between(self, low: int, high: int) -> Labelled:
        """Only what lies in some sections, of which one at least is within a box."""
        parts = [(max(b[0], low), *b[1:3], min(b[3], high), *b[4:]) for b in self.boxes]
        boxes: tuple[Box, ...] = tuple(box for box in parts if box[0] < box[3])
        return replace(self, source=replace(self.source, boxes=boxes))


Labelleds = Sequence[Labelled]


def open_domain(named: Sequence[NamedVolume]) -> list[Labelled]:
    """Open a domain's volumes, their truths and masks.

    Raises:
        BadInput: one is not there, or does not fit its volume.
    """
    return [_opened(each) for each in named]


def split(domain: Labelleds, held_out: float) -> tuple[list[Labelled], list[Labelled]]:
    """What is trained on, and what is not: the last part of each volume's region along z.

    Raises:
        BadInput: the part leaves no section, on either side.
    """
    low, high = [], []
    for each in domain:
        first, last = each.extent
        cut = last - max(2, math.ceil((last - first) * held_out))
        if not 0 < held_out < 1 or cut <= first:
            raise BadInput("held_out", expected="0 to 1, leaving sections", found=f"{held_out:g}")
        low.append(each.between(first, cut))
        high.append(each.between(cut, last))
    return low, high


def halves(domain: Labelleds) -> tuple[list[Labelled], list[Labelled]]:
    """Two parts along z that share no section.

    Raises:
        BadInput: a volume has but one section.
    """
    low, high = [], []
    for each in domain:
        first, last = each.extent
        if last - first < 2:
            found = f"{last - first}"
            raise BadInput("held-out volume", expected="at least 2 sections", found=found)
        cut = (first + last) // 2
        low.append(each.between(first, cut))
        high.append(each.between(cut, last))
    return low, high


def known(domain: Labelleds) -> list[Labelled]:
    """Those of which it is known what the task finds."""
    return [each for each in domain if each.truth is not None]


def taught(domain: Labelleds, seed: int) -> Planes:
    """Planes across z anywhere in a domain, for a task's network to learn from."""
    # Of depth 2 whatever is scored: a task does not depend on the generators.
    side = _side(domain, reach_of(2))
    crops = sample_volumes(
        [each.source for each in domain], (1, side, side), seed=seed, count=_TAUGHT
    )
    return _read([(domain[crop.source], crop.corner) for crop in crops], side)


def scored(domain: Labelleds, seed: int, reach: Reach) -> Planes:
    """Planes across z of which no two score one pixel, spread evenly; of many some, by chance.

    For a generator of volumes they come with the sections that it sees in two passes: those of the
    volume, wherever the domain ends, mirrored where the volume does, as they are when the generator
    is applied.

    Args:
        domain: where from.
        seed: of what is by chance.
        reach: of the generator whose results are scored.

    Raises:
        BadInput: none lies within the masks.
    """
    side = _side(domain, reach)
    scores = side - 2 * (reach.halo + MARGIN)
    grids = [
        (each, _places(box, side, scores, anywhere=each.source.mask is not None))
        for each in domain
        for box in each.boxes
    ]
    ends = list(itertools.accumulate(math.prod(map(len, places)) for _, places in grids))
    plain = len(grids) == len(domain) and all(each.source.mask is None for each in domain)
    tried = min(ends[-1], _SCORED if plain else _TRIED)
    taken: dict[int, tuple[Labelled, Triple]] = {}
    for number in random.Random(seed).sample(range(ends[-1]), tried):
        which = int(np.searchsorted(ends, number, side="right"))
        each, places = grids[which]
        own = number - (ends[which - 1] if which else 0)
        at = np.unravel_index(own, [len(place) for place in places])
        z, y, x = (place[int(n)] for place, n in zip(places, at, strict=True))
        if len(taken) < _SCORED and _is_free(each, (z, y, x), side, scores, taken.values()):
            taken[number] = each, (z, y, x)
    if not taken:
        expected = f"a plane of {side} × {side} within the mask"
        raise BadInput("held-out volume", expected=expected, found=f"none in {tried} places")
    return _read([taken[number] for number in sorted(taken)], side, 2 * reach.halo_z)


def _opened(named: NamedVolume) -> Labelled:
    volume, truth, mask = open_volume(named.place), None, None
    if named.truth:
        truth = open_volume(named.truth, levels=(0, 255)).source
        if tuple(truth.shape) != volume.shape:
            expected, found = f"shape {volume.shape}, as the volume has", f"{tuple(truth.shape)}"
            raise BadInput(f"truth '{named.truth}'", expected=expected, found=found)
    factors: Triple = (1, 1, 1)
    if named.mask:
        mask = open_volume(named.mask, levels=(0, 255))
        factors = _factors(volume, mask)
    source = Source(
        volume,
        named.weight,
        named.boxes,
        mask.source if mask else None,
        factors,
        mask_name=named.mask,
    )
    return Labelled(source, truth)


def _factors(volume: Volume, mask: Volume) -> Triple:
    """How many voxels of a volume one of its mask stands for, an axis each.

    Of several that fit the sides, that of the voxels' sizes where both are known, a power of two,
    or the least.
    """
    found = []
    sizes = (volume.voxel_nm or (0.0,) * 3, mask.voxel_nm or (0.0,) * 3)
    for side, own, fine, coarse in zip(volume.shape, mask.shape, *sizes, strict=True):
        fitting = [f for f in range(1, side + 1) if -(-side // f) == own]
        if not fitting:
            expected = f"sides of {volume.shape}, divided by whole numbers and rounded up"
            raise BadInput(f"mask '{mask.name}'", expected=expected, found=f"{mask.shape}")
        wanted = round(coarse / fine) if fine and coarse else 0
        powers = [f for f in fitting if f & (f - 1) == 0]
        found.append(wanted if wanted in fitting else (powers or fitting)[0])
    z, y, x = found
    return z, y, x


def _places(box: Box, side: int, scores: int, *, anywhere: bool) -> list[Sequence[int]]:
    """Where planes may begin in a box, an axis each: spread evenly, or anywhere that has room."""
    places: list[Sequence[int]] = [range(box[0], box[3])]
    for low, high in zip(box[1:3], box[4:], strict=True):
        room = high - low - side
        if anywhere:
            places.append(range(low, low + max(0, room + 1)))
            continue
        # What is scored are the planes' insides but for what the task's network does not see.
        count = room // scores + 1 if room >= 0 else 0
        places.append(
            [low + (room * n // (count - 1) if count > 1 else room // 2) for n in range(count)]
        )
    return places


def _is_free(
    each: Labelled,
    corner: Triple,
    side: int,
    scores: int,
    taken: Iterable[tuple[Labelled, Triple]],
) -> bool:
    """Whether a plane lies in its mask, and scores no pixel that one before it does."""
    for other, (z, y, x) in taken:
        near = abs(y - corner[1]) < scores and abs(x - corner[2]) < scores
        if near and other is each and z == corner[0]:
            return False
    return is_inside(each.source, corner, (1, side, side))


def _side(domain: Labelleds, reach: Reach) -> int:
    """Of the gate's planes, pixels: what has room in some box of each volume.

    A generator makes something of them twice, for the page, and a task of what is made once.
    """
    rooms = [max(min(box[4] - box[1], box[5] - box[2]) for box in each.boxes) for each in domain]
    least = int(np.argmin(rooms))
    step = math.lcm(reach.stride, reach_of(2).stride)
    taken = 2 * reach.halo + 2 * max(reach.halo, MARGIN)
    side = min(rooms[least], taken + _BEYOND) // step * step
    if side <= taken:
        expected = f"at least {taken + step} voxels along y and x"
        name = domain[least].volume.name
        raise BadInput(f"volume '{name}'", expected=expected, found=f"{rooms[least]}")
    return side


def _read(planes: Sequence[tuple[Labelled, Triple]], side: int, sections: int = 0) -> Planes:
    """Planes between so many sections, with their truth, which is empty where it is not known."""
    grey, truth = [], []
    for each, corner in planes:
        z, y, x = (slice(c, c + n) for c, n in zip(corner, (1, side, side), strict=True))
        found = reflected(np.arange(z.start - sections, z.stop + sections), each.volume.shape[0])
        first, last = int(found.min()), int(found.max())
        slab = each.volume[first : last + 1, y, x][found - first]
        grey.append(slab if sections else slab[0])
        if each.truth is not None:
            truth.append(np.asarray(each.truth[z, y, x])[0] != 0)
    return Planes(np.stack(grey), np.stack(truth) if truth else np.zeros((0, side, side), bool))
