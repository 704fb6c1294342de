"""Objects of known truth for a microscope to look at: spheres, beads, filaments.

Volumes are in voxels of any spacing; sizes are in µm. Every object keeps its number in the truth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cellmill.errors import BadInput

#: Points along an axis of a voxel at which a shape is looked at, for soft edges.
_FINE = 3
_TRIALS = 200


def spheres(
    shape: Sequence[int],
    spacing: Sequence[float],
    *,
    count: int = 30,
    radius_um: tuple[float, float] = (1.5, 3.0),
    gap_um: float = 0.0,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Spheres that do not overlap, each of a brightness of its own.

    Args:
        shape: `(Z, Y, X)`.
        spacing: µm per voxel, an axis each.
        count: how many; fewer where there is no room.
        radius_um: from and to.
        gap_um: at least between two.
        seed: the same gives the same spheres.

    Returns:
        Brightness, float32 from 0 to 1, and int32 labels, both of that shape. A voxel is of the
        sphere that holds its centre.

    Raises:
        BadInput: a size is impossible.
    """
    size, step = _checked(shape, spacing)
    low, high = radius_um
    if not 0 < low <= high or not count >= 0:
        raise BadInput("spheres", expected="radii above 0, a count from 0", found=f"{radius_um}")
    random = np.random.default_rng(seed)
    ends = np.array(size) * step
    centres: list[np.ndarray] = []
    radii: list[float] = []
    for _ in range(count):
        for _ in range(_TRIALS):
            radius = random.uniform(low, high)
            room = np.maximum(ends - 2 * radius, 0)
            centre = radius + random.uniform(size=3) * room
            apart = [
                np.linalg.norm(centre - other) - radius - r
                for other, r in zip(centres, radii, strict=True)
            ]
            if min(apart, default=math.inf) >= gap_um:
                centres.append(centre)
                radii.append(radius)
                break
    light, labels = np.zeros(size, np.float32), np.zeros(size, np.int32)
    for number, (centre, radius) in enumerate(zip(centres, radii, strict=True), start=1):
        brightness = np.float32(random.uniform(0.4, 1.0))
        place, part = _ball(size, step, centre, radius)
        light[place] = np.maximum(light[place], part * brightness)
        inside = labels[place]
        inside[_centre_distance(place, step, centre) <= radius] = number
    return light, labels


def beads(
    shape: Sequence[int], spacing: Sequence[float], *, count: int = 12, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Points, each in one voxel, as far apart as trying finds.

    Returns:
        Brightness, float32 from 0 to 1, `(Z, Y, X)`, and the centres, `(N, 3)` voxels.

    Raises:
        BadInput: a size is impossible.
    """
    size, step = _checked(shape, spacing)
    random = np.random.default_rng(seed)
    places: list[np.ndarray] = []
    for _ in range(count):
        tried = (random.uniform(size=(_TRIALS, 3)) * np.array(size)).astype(np.int64)
        if places:
            distance = np.linalg.norm((tried[:, None] - np.array(places)[None]) * step, axis=-1)
            tried = tried[[int(distance.min(1).argmax())]]
        places.append(tried[0])
    light = np.zeros(size, np.float32)
    for place in places:
        light[tuple(place)] = 1
    return light, np.array(places, np.int64).reshape(-1, 3)


def filaments(
    shape: Sequence[int],
    spacing: Sequence[float],
    *,
    count: int = 8,
    radius_um: float = 0.15,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Bent lines from side to side.

    Returns:
        Brightness, float32 from 0 to 1, the part of a voxel that is filled; and int32 labels, both
        `(Z, Y, X)`; where two cross, the later one's.

    Raises:
        BadInput: a size is impossible.
    """
    size, step = _checked(shape, spacing)
    if not radius_um > 0:
        raise BadInput("radius_um", expected="above 0", found=f"{radius_um:g}")
    random = np.random.default_rng(seed)
    ends = np.array(size) * step
    light, labels = np.zeros(size, np.float32), np.zeros(size, np.int32)
    for number in range(1, count + 1):
        along = np.linspace(0, 1, 4 * max(size))[:, None]
        corners = random.uniform(size=(4, 3))
        corners[0, 1 + number % 2], corners[-1, 1 + number % 2] = 0, 1
        weights = np.hstack([math.comb(3, k) * along**k * (1 - along) ** (3 - k) for k in range(4)])
        for point in weights @ corners * ends:
            place, part = _ball(size, step, point, radius_um)
            light[place] = np.maximum(light[place], part)
            labels[place][part >= 0.5] = number
            # A line may be thinner than a voxel: it is in that of its middle.
            labels[tuple(np.clip((point / step).astype(int), 0, np.array(size) - 1))] = number
    return light / max(float(light.max()), 1e-30), labels


def _checked(shape: Sequence[int], spacing: Sequence[float]) -> tuple[tuple[int, ...], np.ndarray]:
    size, step = tuple(int(side) for side in shape), np.array(spacing, float)
    if len(size) != 3 or min(size) < 1:
        raise BadInput("shape", expected="(Z, Y, X), each above 0", found=f"{tuple(shape)}")
    if step.shape != (3,) or not (np.isfinite(step) & (step > 0)).all():
        raise BadInput("spacing", expected="3 sizes in µm above 0", found=f"{tuple(spacing)}")
    return size, step


def _ball(
    size: tuple[int, ...], step: np.ndarray, centre: np.ndarray, radius: float
) -> tuple[tuple[slice, ...], np.ndarray]:
    """The box around a ball, and which part of each of its voxels lies inside."""
    low = np.clip(np.floor((centre - radius) / step).astype(int), 0, size)
    high = np.clip(np.ceil((centre + radius) / step).astype(int), 0, size)
    place = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    fine = (np.arange(_FINE) + 0.5) / _FINE
    squares = [
        (((np.arange(a, b)[:, None] + fine).ravel() * each) - c) ** 2
        for a, b, each, c in zip(low, high, step, centre, strict=True)
    ]
    inside = (squares[0][:, None, None] + squares[1][:, None] + squares[2] <= radius**2).astype(
        np.float32
    )
    counts = [n // _FINE for n in inside.shape]
    blocks = inside.reshape(counts[0], _FINE, counts[1], _FINE, counts[2], _FINE)
    return place, blocks.mean(axis=(1, 3, 5), dtype=np.float32)


def _centre_distance(place: tuple[slice, ...], step: np.ndarray, centre: np.ndarray) -> np.ndarray:
    squares = [
        ((np.arange(each.start, each.stop) + 0.5) * size - c) ** 2
        for each, size, c in zip(place, step, centre, strict=True)
    ]
    found: np.ndarray = np.sqrt(squares[0][:, None, None] + squares[1][:, None] + squares[2])
    return found
