"""Label images made of a truth's pixels, whatever kind of truth it is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from skimage.measure import label as label_pieces

from cellmill.arrays.windows import WritableWindowed
from cellmill.errors import BadInput
from cellmill.io.truth.kinds import Facts, Layout, TruthKind
from cellmill.io.truth.pieces import PieceFinder, oddities

#: Pieces of one colour below this many pixels are remains of drawing and scaling, not objects.
SPECK = 30
_LARGEST = np.iinfo(np.int32).max


@dataclass(frozen=True, eq=False)
class Truth:
    """Label images made by others.

    Attributes:
        labels: int32 `(Y, X)`, or `(Y, X, 2)`: whole cells, nuclei; of a volume with Z before.
        kind: what the file is taken for, one of `kinds.KINDS`.
        decision: that in a sentence, with what it rests on.
        remarks: what a user should know: the decision where it had to be guessed, and oddities.
    """

    labels: np.ndarray
    kind: str
    decision: str
    remarks: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """(Y, X)."""
        return self.labels.shape[0], self.labels.shape[1]


def labels_of(
    facts: Facts,
    layout: Layout,
    pixels: np.ndarray,
    visible: np.ndarray | None = None,
    kind: TruthKind = "",
) -> Truth:
    """Make label images of pixels as they were stored.

    Args:
        facts: what the file says of them.
        layout: which of its planes they are, and as what they are looked at.
        pixels: `(Y, X, P)`, those planes; of a volume `(Z, Y, X, P)`.
        visible: `(Y, X)` bool, what alpha does not hide; None without alpha.
        kind: what the user says that they are; empty: what they are taken for.

    Raises:
        BadInput: the values are none of a label image.
    """
    if visible is not None:
        pixels = np.where(visible[..., np.newaxis], pixels, pixels.dtype.type(0))
    if layout.form == "colours":
        labels, found = _from_colours(facts, pixels, kind)
        return Truth(labels, *_told(facts, layout, [found], kind))
    shape = pixels.shape if layout.form == "planes" else pixels.shape[:-1]
    labels = np.empty(shape, np.int32)
    return Truth(labels, *fill_labels(facts, layout, pixels, labels, kind))


def fill_labels(
    facts: Facts,
    layout: Layout,
    pixels: Iterable[np.ndarray],
    out: WritableWindowed,
    kind: TruthKind = "",
) -> tuple[str, str, tuple[str, ...]]:
    """Make label images plane by plane, as `labels_of` does; two planes are held.

    Args:
        facts: what the file says of the pixels.
        layout: which of its planes they are; no colours.
        pixels: `(Y, X, P)` of an image; of a volume such planes, one by one.
        out: `(Y, X)` or `(Y, X, 2)` int32, of a volume with Z before; filled, and read.
        kind: what the user says that they are; empty: what they are taken for.

    Returns:
        What they were taken for, that in a sentence, and what a user should know.

    Raises:
        BadInput: the values are none of a label image.
    """
    kinds: list[TruthKind] = ["", ""] if layout.form == "planes" else [kind]
    return _told(facts, layout, _filled(facts, kinds, pixels, out), kind)


def _filled(
    facts: Facts,
    kinds: Sequence[TruthKind],
    pixels: Iterable[np.ndarray],
    out: WritableWindowed,
) -> list[_Found]:
    """Fill label images with what the planes of a file are taken for, each of a kind."""
    several = len(kinds) > 1
    volume = len(out.shape) - several == 3
    makers = [_LabelMaker(facts, kind, 3 if volume else 2) for kind in kinds]

    def place(z: int, channel: int) -> tuple[int | slice, ...]:
        first, last = (z,) if volume else (), (channel,) if several else ()
        return (*first, slice(None), slice(None), *last)

    for z, plane in enumerate(pixels if volume else [np.asarray(pixels)]):
        for channel, maker in enumerate(makers):
            out[place(z, channel)] = maker.add(plane[..., channel])
    found = []
    for channel, maker in enumerate(makers):
        found.append(maker.finish())
        numbers = found[-1].numbers
        if numbers is None:
            continue
        for z in range(out.shape[0] if volume else 1):
            window = place(z, channel)
            out[window] = maker.numbered(z, np.asarray(out[window]), numbers)
    return found


@dataclass(frozen=True)
class _Found:
    """What one plane of labels was taken for.

    Attributes:
        kind: of truth.
        decision: that in a sentence.
        remarks: what a user should know.
        numbers: of the objects by piece where pieces are objects; None where labels are kept.
    """

    kind: str
    decision: str
    remarks: tuple[str, ...] = ()
    numbers: np.ndarray | None = None


def _told(
    facts: Facts, layout: Layout, parts: Sequence[_Found], kind: str
) -> tuple[str, str, tuple[str, ...]]:
    """What is said of a truth: kind, decision, remarks."""
    found = parts[0]
    if layout.form == "planes":
        remarks = dict.fromkeys(remark for part in parts for remark in part.remarks)
        remarks |= dict.fromkeys(part.decision for part in parts if part.kind != "labels")
        found = _Found("planes", f"planes of labels: {layout.said}", tuple(remarks))
    decision = f"{found.decision} ({facts.said})" if facts.said else found.decision
    guessed = () if kind or found.kind == "labels" else (decision,)
    return found.kind, decision, tuple(dict.fromkeys((*facts.remarks, *guessed, *found.remarks)))


class _LabelMaker:
    """Makes labels of one plane of a file, of labels, of a mask, or of pieces of one value.

    Args:
        facts: what the file says.
        kind: what the user says that it is.
        ndim: 2, or 3 of a volume, which comes plane by plane.
    """

    def __init__(self, facts: Facts, kind: str, ndim: int) -> None:
        self._facts, self._kind = facts, kind
        self._finder = PieceFinder(ndim)
        self._stored = np.dtype(bool)
        self._broken, self._low, self._high = 0, math.inf, -math.inf

    def add(self, plane: np.ndarray) -> np.ndarray:
        """Take the next plane into account; gives it as int32."""
        self._stored = plane.dtype
        if plane.dtype.kind == "f":
            wrong = ~np.isfinite(plane) | (plane != np.round(plane))
            self._broken += int(np.count_nonzero(wrong))
        if self._broken:
            return np.zeros(plane.shape, np.int32)
        self._low = min(self._low, plane.min().item())
        self._high = max(self._high, plane.max().item())
        if self._low < 0 or self._high > _LARGEST:
            return np.zeros(plane.shape, np.int32)
        values = (plane != 0 if self._kind == "mask" else plane).astype(np.int32)
        self._finder.add(values)
        return values

    def numbered(self, z: int, plane: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Give the pieces of a plane, as `add` gave it, the numbers of their objects."""
        return self._finder.numbered(z, plane, numbers)

    def finish(self) -> _Found:
        """What the planes are taken for.

        Raises:
            BadInput: their values are none of a label image.
        """
        facts, low, high = self._facts, self._low, self._high
        if self._broken:
            wrong = f"{self._broken} pixels that are none"
            raise BadInput(facts.label, expected="whole numbers", found=wrong)
        if low < 0 or high > _LARGEST:
            raise BadInput(
                facts.label,
                expected=f"labels from 0 to {_LARGEST}",
                found=f"label {int(low if low < 0 else high)}",
            )
        pieces = self._finder.pieces()
        if self._kind == "mask":
            return _mask(pieces.numbers, "what is not 0")
        if self._kind == "colours":
            found = _specks_left_out(np.append(0, pieces.areas), "value")
            assert found.numbers is not None
            return replace(found, numbers=found.numbers[pieces.numbers])
        count = len(np.unique(pieces.values)) + (not pieces.full)
        if not self._kind and count == 2:
            if pieces.full:
                raise BadInput(
                    facts.label,
                    expected="0 where there is no object (truth_kind=labels: each value is an "
                    "object)",
                    found=f"two values, {int(low)} and {int(high)}",
                )
            # One piece is one object either way; of a bit, or as white, it is more likely a mask.
            if len(pieces) > 1 or high in (255, 65535) or self._stored.kind == "b":
                return _mask(pieces.numbers, f"0 and {int(high)}")
        remarks, count = oddities(pieces, facts.dtype)
        said = f"{count} numbers, an object each" if count else "no object, every pixel is 0"
        return _Found("labels", f"labels: {said}", remarks)


def _mask(numbers: np.ndarray, values: str) -> _Found:
    """Each piece is an object; their numbers, 0 first."""
    said = f"a mask of yes and no ({values}): its {numbers.max(initial=0)} connected pieces are "
    return _Found("mask", f"{said}taken as objects", (), numbers)


def _specks_left_out(areas: np.ndarray, of: str) -> _Found:
    """Each piece is an object but for specks; by their areas, that of what is no piece first."""
    keep = areas >= SPECK
    keep[0] = False
    objects = int(keep.sum())
    said = f"colours: {objects} connected pieces of one {of} are taken as objects, "
    left_out = f"{len(areas) - 1 - objects} below {SPECK} px left out"
    numbers = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
    return _Found("colours", f"{said}{left_out}", (), numbers)


def _from_colours(facts: Facts, pixels: np.ndarray, kind: TruthKind) -> tuple[np.ndarray, _Found]:
    """Make labels of a picture in red, green and blue, `(…, 3)`."""
    red, green, blue = (pixels[..., i] for i in range(3))
    if kind != "colours" and np.array_equal(red, green) and np.array_equal(red, blue):
        labels = np.empty(red.shape, np.int32)
        found = _filled(facts, [kind], pixels[..., :1], labels)[0]
        said = "grey stored as colours: taken as numbers"
        return labels, replace(found, remarks=(said, *found.remarks))
    if kind == "labels":
        found_colours = "red, green and blue that differ"
        raise BadInput(facts.label, expected="one plane of labels", found=found_colours)
    # One number per colour, of 16 bits a primary at most. Black and transparent are background.
    codes = (red.astype(np.int64) << 32) | (green.astype(np.int64) << 16) | blue.astype(np.int64)
    if kind == "mask":
        pieces = label_pieces(codes != 0)
        return pieces.astype(np.int32), _mask(np.arange(pieces.max() + 1), "what is not black")
    pieces = label_pieces(codes, background=0, connectivity=2)
    found = _specks_left_out(np.bincount(pieces.ravel()), "colour")
    assert found.numbers is not None
    return found.numbers[pieces], found
