"""A point spread function measured: the mean image of beads that are smaller than it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cellmill.errors import BadInput
from cellmill.restoration.light import bright_centre, checked_light

#: Of the noise's σ, above the background, that a bead must be.
_LEAST_CONTRAST = 8.0


@dataclass(frozen=True)
class Bead:
    """One bead that was found.

    Attributes:
        centre: its centre of mass, pixels, an axis each.
        used: whether it is in the mean.
        why_not: empty where it is.
    """

    centre: tuple[float, ...]
    used: bool
    why_not: str = ""


@dataclass(frozen=True)
class BeadPsf:
    """What was measured.

    Attributes:
        psf: float32, sum 1, the middle is the point.
        beads: all that were found, the brightest first.
    """

    psf: np.ndarray
    beads: tuple[Bead, ...]


def psf_of_beads(
    image: np.ndarray, shape: Sequence[int], *, saturation: float | None = None, most: int = 200
) -> BeadPsf:
    """Measure the point spread function on an image of beads.

    Beads are the brightest places of the smoothed image that stand out of its noise. Those whose
    box leaves the image, holds another bead, or is saturated are left out. The others are shifted
    so that their centres of mass meet, by cubic splines, each is freed of the background around
    it and divided by its sum, and the median of all is taken.

    Args:
        image: `(Y, X)` or `(Z, Y, X)`.
        shape: of the function, odd numbers.
        saturation: voxels at or above it were not measured; None is the largest value that the
            image's integers can have.
        most: beads that are used, the brightest.

    Raises:
        BadInput: the image or the shape is not what it must be, or no bead can be used.
    """
    given = checked_light(image)
    size = tuple(int(side) for side in shape)
    if len(size) != given.ndim or any(side < 3 or side % 2 == 0 for side in size):
        raise BadInput(
            "shape of a PSF", expected=f"{given.ndim} odd numbers from 3", found=f"{tuple(shape)}"
        )
    if saturation is None and np.asarray(image).dtype.kind in "iu":
        saturation = float(np.iinfo(np.asarray(image).dtype).max)
    places = _bright_places(given)
    beads: list[Bead] = []
    boxes: list[np.ndarray] = []
    for place in places:
        why = _why_not(given, place, places, size, saturation)
        centre = tuple(float(p) for p in place)
        if not why and len(boxes) < most:
            centre, box = _centred(given, place, size)
            boxes.append(box)
        elif not why:
            why = f"there are {most} brighter ones"
        beads.append(Bead(centre, not why, why))
    if not boxes:
        seen = "; ".join(sorted({bead.why_not for bead in beads})) or "none at all"
        raise BadInput("beads", expected="some that stand alone and are whole", found=seen)
    psf = np.maximum(np.median(boxes, axis=0), 0)
    return BeadPsf((psf / psf.sum()).astype(np.float32), tuple(beads))


def _bright_places(image: np.ndarray) -> list[np.ndarray]:
    """Local maxima of the smoothed image that stand out, the brightest first."""
    smooth = ndimage.gaussian_filter(image, 1.0)
    floor = float(np.median(smooth))
    noise = 1.4826 * float(np.median(np.abs(smooth - floor)))
    highest = ndimage.maximum_filter(smooth, 3)
    # On a field without noise anything above a hundredth of the contrast stands out.
    least = floor + max(_LEAST_CONTRAST * noise, 0.01 * (float(smooth.max()) - floor))
    found = np.argwhere((smooth == highest) & (smooth > least))
    order = np.argsort(-smooth[tuple(found.T)], kind="stable")
    return list(found[order])


def _why_not(
    image: np.ndarray,
    place: np.ndarray,
    places: Sequence[np.ndarray],
    size: tuple[int, ...],
    saturation: float | None,
) -> str:
    radii = np.array(size) // 2
    # A line of pixels more, for the shift.
    low, high = place - radii - 1, place + radii + 2
    if (low < 0).any() or (high > image.shape).any():
        return "its box leaves the image"
    near = [p for p in places if p is not place and (np.abs(p - place) <= 2 * radii).all()]
    if near:
        return "another is near"
    box = image[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    if saturation is not None and box.max() >= saturation:
        return "it is saturated"
    return ""


def _centred(
    image: np.ndarray, place: np.ndarray, size: tuple[int, ...]
) -> tuple[tuple[float, ...], np.ndarray]:
    """A bead's centre, and its box around it without background, sum 1."""
    radii = np.array(size) // 2
    wide = tuple(slice(p - r - 1, p + r + 2) for p, r in zip(place, radii, strict=True))
    box = image[wide].astype(np.float64)
    rim = np.ones(box.shape, bool)
    rim[(slice(1, -1),) * box.ndim] = False
    box -= np.median(box[rim])
    centre = bright_centre(box)
    shift = (np.array(box.shape) - 1) / 2 - centre
    moved = ndimage.shift(box, shift, order=3, mode="nearest")[(slice(1, -1),) * box.ndim]
    total = moved.sum()
    if not total > 0 or not math.isfinite(total):
        total = 1.0
    return tuple(float(c) for c in place - radii - 1 + centre), moved / total
