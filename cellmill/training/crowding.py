"""Making crowds: objects set beside others so that they touch or overlap a little.

Touching objects are what a segmenter gets wrong and what sparse training images do not show.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

_STEP = 2.0
_TRIES = 24


@dataclass(frozen=True)
class _Object:
    """An object cut out of a picture: its window, its mask there, `(y, x)` bool, and its parts.

    Parts are `(y, x, K - 1)` bool: where further label images have something within the object.
    """

    window: np.ndarray
    mask: np.ndarray
    parts: np.ndarray


def crowd(
    picture: np.ndarray,
    labels: np.ndarray,
    random: np.random.Generator,
    *,
    most: int = 8,
    overlap: float = 0.2,
) -> tuple[np.ndarray, np.ndarray]:
    """Set copies of a picture's objects beside others of it.

    Args:
        picture: `(Y, X, C)` float32, background about 0.
        labels: `(Y, X)` int32, 0 is background; or `(Y, X, K)`: what further label images have
            within an object of the first (nuclei in whole cells) goes with it.
        random: source of chance.
        most: copies at most.
        overlap: greatest part of a copy that may lie over other objects.

    Returns:
        A new picture and new labels; overlapping light adds up or the brighter wins.
    """
    whole = labels if labels.ndim == 3 else labels[..., None]
    donors = _whole_objects(picture, whole)
    if not donors:
        return picture, labels
    picture, labels = picture.copy(), whole.copy().reshape(labels.shape)
    whole = labels.reshape(whole.shape)
    following = int(labels.max()) + 1
    for _ in range(int(random.integers(1, most + 1))):
        donor = _turned(donors[int(random.integers(len(donors)))], random)
        place = _beside(whole[..., 0], donor.mask, random.uniform(0, overlap), random)
        if place is not None:
            _paste(picture, whole, donor, place, following, random)
            following += 1
    return picture, labels


def _whole_objects(picture: np.ndarray, labels: np.ndarray, margin: int = 3) -> list[_Object]:
    """The objects that do not touch the border, each with a margin around it."""
    found = []
    whole = labels[..., 0]
    for label, box in enumerate(ndimage.find_objects(whole), start=1):
        if box is None:
            continue
        grown = tuple(slice(s.start - margin, s.stop + margin) for s in box)
        inside = all(s.start >= 0 and s.stop <= n for s, n in zip(grown, whole.shape, strict=True))
        mask = whole[grown] == label if inside else np.zeros((0, 0), bool)
        if inside and mask.sum() >= 30:
            parts = (labels[grown][..., 1:] > 0) & mask[..., None]
            found.append(_Object(picture[grown], mask, parts))
    return found


def _turned(donor: _Object, random: np.random.Generator) -> _Object:
    turns, mirrored = int(random.integers(4)), random.random() < 0.5
    arrays = [np.rot90(a, turns) for a in (donor.window, donor.mask, donor.parts)]
    return _Object(*(array[::-1] for array in arrays)) if mirrored else _Object(*arrays)


def _beside(
    labels: np.ndarray, mask: np.ndarray, overlap: float, random: np.random.Generator
) -> tuple[int, int] | None:
    """Where the window's corner goes so that the mask just touches a random object, or None."""
    hosts = np.argwhere(labels > 0)
    start = hosts[int(random.integers(len(hosts)))].astype(float)
    direction = random.uniform(0, 2 * np.pi)
    step = np.array([np.sin(direction), np.cos(direction)]) * _STEP
    area = int(mask.sum())
    for i in range(_TRIES):
        y, x = np.rint(start + i * step - np.array(mask.shape) / 2).astype(int)
        if y < 0 or x < 0 or y + mask.shape[0] > labels.shape[0]:
            return None
        if x + mask.shape[1] > labels.shape[1]:
            return None
        under = labels[y : y + mask.shape[0], x : x + mask.shape[1]]
        if np.count_nonzero(under[mask]) <= overlap * area:
            return int(y), int(x)
    return None


def _paste(
    picture: np.ndarray,
    labels: np.ndarray,
    donor: _Object,
    place: tuple[int, int],
    label: int,
    random: np.random.Generator,
) -> None:
    window = tuple(slice(p, p + n) for p, n in zip(place, donor.mask.shape, strict=True))
    below, under = picture[window], labels[window]
    soft = cv2.GaussianBlur(donor.mask.astype(np.float32), (0, 0), 0.8)[..., None]
    light = donor.window * soft * np.float32(random.uniform(0.6, 1.4))
    adds = random.random() < 0.5
    picture[window] = below + light if adds else np.maximum(below * (1 - soft), light)
    if not adds:
        picture[window] = np.maximum(picture[window], np.where(under[..., :1] > 0, below, light))
    on_top = donor.mask if random.random() < 0.5 else donor.mask & (under[..., 0] == 0)
    under[on_top, 0] = label
    under[on_top, 1:] = np.where(donor.parts[on_top], label, 0)
