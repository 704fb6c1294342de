"""Label images made of a truth's pixels, whatever kind of truth it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from skimage.measure import label as label_pieces

from cellmill.errors import BadInput
from cellmill.io.truth.kinds import Facts, Layout, TruthKind
from cellmill.io.truth.pieces import oddities

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
    planes = [pixels[..., i] for i in range(pixels.shape[-1])]
    if layout.form == "planes":
        found = _from_planes(facts, layout, planes)
    elif layout.form == "colours":
        found = _from_colours(facts, planes, kind)
    else:
        found = _from_plane(facts, planes[0], kind)
    decision = f"{found.decision} ({facts.said})" if facts.said else found.decision
    guessed = () if kind or found.kind == "labels" else (decision,)
    remarks = dict.fromkeys((*facts.remarks, *guessed, *found.remarks))
    return Truth(found.labels, found.kind, decision, tuple(remarks))


def _from_planes(facts: Facts, layout: Layout, planes: list[np.ndarray]) -> Truth:
    parts = [_from_plane(facts, plane, "") for plane in planes]
    remarks = dict.fromkeys(remark for part in parts for remark in part.remarks)
    remarks |= dict.fromkeys(part.decision for part in parts if part.kind != "labels")
    labels = np.stack([part.labels for part in parts], axis=-1)
    return Truth(labels, "planes", f"planes of labels: {layout.said}", tuple(remarks))


def _from_plane(facts: Facts, plane: np.ndarray, kind: str) -> Truth:
    """Make labels of one plane: of labels, of a mask, or of pieces of one value."""
    numbers = _whole_numbers(facts, plane)
    if kind == "mask":
        return _from_mask(numbers, "what is not 0")
    if kind == "colours":
        return _from_pieces(label_pieces(numbers, background=0), "value")
    low, high = int(numbers.min()), int(numbers.max())
    if not kind and low != high and bool(((numbers == low) | (numbers == high)).all()):
        if low:
            raise BadInput(
                facts.label,
                expected="0 where there is no object (truth_kind=labels: each value is an object)",
                found=f"two values, {low} and {high}",
            )
        mask = _from_mask(numbers, f"0 and {high}")
        # One piece is one object either way; of a bit, or as white, it is more likely a mask.
        if mask.labels.max() > 1 or high in (255, 65535) or numbers.dtype.kind == "b":
            return mask
    labels = numbers.astype(np.int32)
    remarks, count = oddities(labels, facts.dtype)
    said = f"{count} numbers, an object each" if count else "no object, every pixel is 0"
    return Truth(labels, "labels", f"labels: {said}", remarks)


def _whole_numbers(facts: Facts, plane: np.ndarray) -> np.ndarray:
    if plane.dtype.kind == "f":
        wrong = int(np.count_nonzero(~np.isfinite(plane) | (plane != np.round(plane))))
        if wrong:
            found = f"{wrong} pixels that are none"
            raise BadInput(facts.label, expected="whole numbers", found=found)
    low, high = plane.min().item(), plane.max().item()
    if low < 0 or high > _LARGEST:
        raise BadInput(
            facts.label,
            expected=f"labels from 0 to {_LARGEST}",
            found=f"label {int(low if low < 0 else high)}",
        )
    return plane.astype(np.int64) if plane.dtype.kind == "f" else plane


def _from_mask(numbers: np.ndarray, values: str) -> Truth:
    pieces, count = label_pieces(numbers != 0, return_num=True)
    return Truth(
        pieces.astype(np.int32),
        "mask",
        f"a mask of yes and no ({values}): its {count} connected pieces are taken as objects",
    )


def _from_colours(facts: Facts, planes: list[np.ndarray], kind: str) -> Truth:
    """Make labels of a picture in red, green and blue."""
    red, green, blue = planes
    if kind != "colours" and np.array_equal(red, green) and np.array_equal(red, blue):
        found = _from_plane(facts, red, kind)
        said = "grey stored as colours: taken as numbers"
        return Truth(found.labels, found.kind, found.decision, (said, *found.remarks))
    if kind == "labels":
        found_colours = "red, green and blue that differ"
        raise BadInput(facts.label, expected="one plane of labels", found=found_colours)
    # One number per colour, of 16 bits a primary at most. Black and transparent are background.
    codes = (red.astype(np.int64) << 32) | (green.astype(np.int64) << 16) | blue.astype(np.int64)
    if kind == "mask":
        return _from_mask(codes, "what is not black")
    return _from_pieces(label_pieces(codes, background=0, connectivity=2), "colour")


def _from_pieces(pieces: np.ndarray, of: str) -> Truth:
    """Make objects of connected pieces, specks left out."""
    sizes = np.bincount(pieces.ravel())
    keep = sizes >= SPECK
    keep[0] = False
    renumbered = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
    objects = int(keep.sum())
    return Truth(
        renumbered[pieces],
        "colours",
        f"colours: {objects} connected pieces of one {of} are taken as objects, "
        f"{len(sizes) - 1 - objects} below {SPECK} px left out",
    )
