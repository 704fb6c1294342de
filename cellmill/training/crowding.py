"""Making crowds: objects set beside others so that they touch or overlap a little.

Touching objects are what a segmenter gets wrong and what sparse training images do not show.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

_SQUEEZE = ((0.25, 0.6), (0.6, 1.0))
"""To which part of their breadth and of their length condensed objects shrink, least and most."""

_AWAY = 40.0
"""How far from others, in pixels, condensed objects lie at most."""

_STEP = 2.0
_TRIES = 24
_LEAST_AREA = 30


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
    condensed: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Set copies of a picture's objects beside others of it.

    Args:
        picture: `(Y, X, C)` float32, background about 0.
        labels: `(Y, X)` int32, 0 is background; or `(Y, X, K)`: what further label images have
            within an object of the first (nuclei in whole cells) goes with it.
        random: source of chance.
        most: copies at most.
        overlap: greatest part of a copy that may lie over other objects.
        condensed: part of the copies that are made small, long and bright, as chromatin is in
            mitosis; they may lie alone. 0 where further label images have something within.

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
        away = 0.0
        if condensed and random.random() < condensed:
            donor, away = _condensed(donor, random), random.uniform(0, _AWAY)
        place = _beside(whole[..., 0], donor.mask, random.uniform(0, overlap), random, away)
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
        if inside and mask.sum() >= _LEAST_AREA:
            parts = (labels[grown][..., 1:] > 0) & mask[..., None]
            found.append(_Object(picture[grown], mask, parts))
    return found


def _turned(donor: _Object, random: np.random.Generator) -> _Object:
    turns, mirrored = int(random.integers(4)), random.random() < 0.5
    arrays = [np.rot90(a, turns) for a in (donor.window, donor.mask, donor.parts)]
    return _Object(*(array[::-1] for array in arrays)) if mirrored else _Object(*arrays)


def _condensed(donor: _Object, random: np.random.Generator) -> _Object:
    """The object on less area, its light on it; at any angle."""
    sides = np.array(donor.mask.shape[::-1])
    breadth, length = (random.uniform(*bounds) for bounds in _SQUEEZE)
    angle = random.uniform(0, np.pi)
    axis = np.array([np.cos(angle), np.sin(angle)])
    # Lengthwise along the axis, breadthwise across it.
    shrink = breadth * np.eye(2) + (length - breadth) * np.outer(axis, axis)
    drawn_sides = np.ceil(np.abs(shrink) @ sides).astype(int) + 4
    middle = (sides - 1) / 2
    warp = np.column_stack([shrink, (drawn_sides - 1) / 2 - shrink @ middle])

    def drawn(array: np.ndarray, way: int) -> np.ndarray:
        return cv2.warpAffine(array, warp, tuple(int(n) for n in drawn_sides), flags=way)

    light = cv2.GaussianBlur(donor.window, (0, 0), 0.5 / breadth)
    window = drawn(light, cv2.INTER_LINEAR).reshape(*drawn_sides[::-1], donor.window.shape[2])
    mask = drawn(donor.mask.astype(np.uint8), cv2.INTER_NEAREST) > 0
    if mask.sum() < _LEAST_AREA:
        return donor
    # Out-of-focus light keeps it from being as bright as its area alone would make it.
    brighter = random.uniform(1, 1 / (breadth * length))
    return _Object(window * np.float32(brighter), mask, np.zeros((*mask.shape, 0), bool))


def _beside(
    labels: np.ndarray,
    mask: np.ndarray,
    overlap: float,
    random: np.random.Generator,
    away: float = 0.0,
) -> tuple[int, int] | None:
    """Where the window's corner goes so that the mask just touches a random object, or None.

    It is looked for outwards, from `away` pixels off the object's own place on.
    """
    hosts = np.argwhere(labels > 0)
    start = hosts[int(random.integers(len(hosts)))].astype(float)
    direction = random.uniform(0, 2 * np.pi)
    step = np.array([np.sin(direction), np.cos(direction)]) * _STEP
    start += step * away / _STEP
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
