"""Heads of a volume from a network of planes: of those across one axis, or across all three.

A network that is shown a volume's planes across Z, Y and X knows of the third direction what its
planes across Z do not show. What it gave for the three is put together by the method, which alone
knows what the network's outputs mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from cellmill.arrays.finite import require_finite
from cellmill.arrays.indexing import box_of
from cellmill.arrays.windows import Windowed, WritableWindowed
from cellmill.errors import BadInput
from cellmill.models.card import ModelCard
from cellmill.preprocessing.interpolation import averaging_places
from cellmill.preprocessing.resize import ResizedImage
from cellmill.segmentation.interface import Method
from cellmill.segmentation.methods import METHODS, Recipe, find_method

#: Along how many axes a volume is cut into planes.
ORIENTATIONS = (1, 3)
#: What is worked in where nobody says, bytes.
_MEMORY = 1 << 28
#: What putting a voxel together takes: nine values that were given, copies and sums of them.
_BYTES_PER_VOXEL = 120


def check_orientations(
    orientations: int, card: ModelCard, recipes: Mapping[str, Recipe], *, volume: bool = True
) -> None:
    """Refuse three orientations where a network or a method cannot do with them.

    Args:
        orientations: 1 or 3.
        card: of the network.
        recipes: how each kind of object is found.
        volume: whether a volume is segmented.

    Raises:
        BadInput: it is neither, or 3 of an image, the network sees volumes, or a method cannot put
            planes of three orientations together.
    """
    if orientations not in ORIENTATIONS:
        raise BadInput("orientations", expected="1 or 3", found=f"{orientations}")
    if orientations == 1:
        return
    if not volume:
        raise BadInput("orientations", expected='1 without z="all"', found=f"{orientations}")
    if card.input.sees_volumes:
        found = f"{orientations}: model '{card.name}' sees volumes"
        raise BadInput("orientations", expected="1", found=found)
    channels = {head.name: head.channels for head in card.heads}
    for recipe in recipes.values():
        method = recipe.method
        if method.orientations is None:
            able = ", ".join(name for name in METHODS if find_method(name).orientations)
            raise BadInput("orientations", expected=f"1, or a method of {able}", found=method.name)
        for role in method.roles:
            source = recipe.sources[role.name]
            if (source.channel, channels.get(source.head)) != (0, role.channels):
                expected = f"a head of {role.channels} channels for '{role.name}' alone"
                found = f"'{source.head}' from channel {source.channel}"
                raise BadInput("three orientations", expected=expected, found=found)


def depth_for(
    depth: int, scale: float, mpp: tuple[float, ...] | None, anisotropy: float = 0.0
) -> int:
    """How many planes a volume has whose voxels are as deep as its pixels at some scale are wide.

    Args:
        depth: planes that it has.
        scale: by which the sides of its planes are multiplied.
        mpp: µm of a voxel (z, y, x); `None` where unknown.
        anisotropy: how often a pixel's side goes into the distance of planes; 0: as `mpp` says, 1
            where that is unknown.

    Raises:
        BadInput: the anisotropy is negative or not finite.
    """
    if not 0 <= anisotropy < float("inf"):
        expected = "the distance of planes in pixels, or 0 for what the image says"
        raise BadInput("anisotropy", expected=expected, found=f"{anisotropy}")
    known = anisotropy or (2 * mpp[0] / (mpp[1] + mpp[2]) if mpp else 1.0)
    return max(1, int(depth * known * scale))


def with_depth(volume: Windowed, depth: int) -> Windowed:
    """A volume `(Z, Y, X, C)` resampled linearly along Z; of fewer planes each is a mean.

    Windows are resampled when they are read; each has just the voxels of the whole.
    """
    return volume if depth == volume.shape[0] else _Deepened(volume, depth)


class _Deepened:
    """See `with_depth`."""

    def __init__(self, volume: Windowed, depth: int) -> None:
        self._volume, self.dtype = volume, volume.dtype
        self.shape: tuple[int, ...] = (depth, *volume.shape[1:])

    def __getitem__(self, window: Any, /) -> np.ndarray:
        box, rest = box_of(window, self.shape, 3)
        (top, bottom), *sides = box.edges
        made = np.empty((*box.shape, self.shape[3]), self.dtype)
        if made.size:
            deep = self._volume.shape[0]
            first, weights = averaging_places(deep, self.shape[0], top, bottom)
            low, high = int(first[0]), min(int(first[-1]) + weights.shape[1], deep)
            window = (slice(low, high), *(slice(*edges) for edges in sides))
            planes = self._volume[window]
            require_finite(planes, "volume")
            for y in range(made.shape[1]):
                cut = _Cut(planes[:, y], low, deep)
                shape = (self.shape[0], cut.shape[1])
                # Extremes count for nothing here; nothing more is read for them.
                resized = ResizedImage(cut, shape, extremes=(0.0, 0.0), resampling="averaged")
                made[:, y] = resized[top:bottom]
        return made[rest]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:, :, :], dtype)


class _Cut:
    """Rows of a cut `(Z, X, C)` across a volume, of which only some are known."""

    def __init__(self, rows: np.ndarray, first: int, depth: int) -> None:
        self._rows, self._first, self.dtype = rows, first, rows.dtype
        self.shape: tuple[int, ...] = (depth, *rows.shape[1:])

    def __getitem__(self, window: Any, /) -> np.ndarray:
        z, *others = window
        shown = (slice(z.start - self._first, z.stop - self._first), *others)
        return self._rows[shown]


def seen_shapes(
    recipes: Mapping[str, Recipe], shape: tuple[int, ...]
) -> dict[tuple[str, int], tuple[int, ...]]:
    """Shapes of what a network gives of a volume `(Z, Y, X)`, by head and axis.

    Planes lie across the axis, which comes first; then rows, columns and the head's channels.
    """
    found = {}
    for recipe in recipes.values():
        for role in recipe.method.roles:
            for axis in range(3):
                sides = (shape[axis], *shape[:axis], *shape[axis + 1 : 3])
                found[recipe.sources[role.name].head, axis] = (*sides, role.channels)
    return found


def combined_shapes(
    recipes: Mapping[str, Recipe], shape: tuple[int, ...]
) -> dict[str, tuple[int, ...]]:
    """Shapes of a volume's heads `(Z, Y, X, channels)` once orientations are put together."""
    return {
        recipe.sources[role.name].head: (*shape[:3], role.volume_channels or role.channels)
        for recipe in recipes.values()
        for role in recipe.method.roles
    }


def see_orientations(
    volume: Windowed,
    predict: Callable[[np.ndarray], Mapping[str, Windowed]],
    seen: Mapping[tuple[str, int], WritableWindowed],
    memory: int = _MEMORY,
) -> None:
    """Show a network a volume's planes across each axis, and keep what it gives.

    Args:
        volume: `(Z, Y, X, C)`, as the network is shown its planes; voxels as deep as wide.
        predict: gives the heads of a plane `(rows, columns, C)`, each of its shape.
        seen: written to; see `seen_shapes`.
        memory: bytes of planes that are read at once. No result depends on it.
    """
    for axis in range(3):
        count = volume.shape[axis]
        plane = math.prod(volume.shape) // max(count, 1) * volume.dtype.itemsize
        step = max(memory // max(plane, 1), 1)
        for start in range(0, count, step):
            band = volume[(slice(None),) * axis + (slice(start, min(start + step, count)),)]
            for place, each in enumerate(np.moveaxis(band, axis, 0), start):
                found = predict(np.ascontiguousarray(each))
                for (name, across), stack in seen.items():
                    if across == axis:
                        stack[place : place + 1] = np.asarray(found[name])[np.newaxis]


def combine_seen(
    seen: Mapping[tuple[str, int], Windowed],
    recipes: Mapping[str, Recipe],
    heads: Mapping[str, WritableWindowed],
    memory: int = _MEMORY,
) -> None:
    """Put together what a network gave for planes of three orientations, some planes at a time.

    Args:
        seen: by head and axis; see `seen_shapes`.
        recipes: how each kind of object is found; see `check_orientations`.
        heads: written to; see `combined_shapes`.
        memory: bytes that are worked in. No result depends on it.
    """
    for recipe in recipes.values():
        combine = _combining(recipe.method)
        own = {role: source.head for role, source in recipe.sources.items()}
        depth, *sides, _ = heads[next(iter(own.values()))].shape
        step = max(memory // (_BYTES_PER_VOXEL * max(math.prod(sides), 1)), 1)
        for z in range(0, depth, step):
            planes = slice(z, min(z + step, depth))
            windows = (planes,), (slice(None), planes), (slice(None), planes)
            across = [
                {role: np.asarray(seen[head, axis][window]) for role, head in own.items()}
                for axis, window in enumerate(windows)
            ]
            for role, made in combine(across).items():
                heads[own[role]][planes] = made


def heads_of_orientations(
    volume: Windowed,
    recipes: Mapping[str, Recipe],
    predict: Callable[[np.ndarray], Mapping[str, Windowed]],
    create: Callable[[str, tuple[int, ...]], np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Show a network a volume's planes across each axis, and put together what it gives.

    Args:
        volume: `(Z, Y, X, C)`, as the network is shown its planes; voxels as deep as wide.
        recipes: how each kind of object is found; see `check_orientations`.
        predict: gives the heads of a plane `(rows, columns, C)`, each of its shape.
        create: gives an array float32 of a name and shape, to keep what it gives meanwhile; none
            keeps it in memory.

    Returns:
        Heads of the volume, `(Z, Y, X, channels)` float32, by name.
    """
    create = create or (lambda name, shape: np.zeros(shape, np.float32))
    seen = {
        (name, axis): create(f"{name}_across_{'zyx'[axis]}", shape)
        for (name, axis), shape in seen_shapes(recipes, volume.shape).items()
    }
    see_orientations(volume, predict, seen)
    shapes = combined_shapes(recipes, volume.shape)
    heads = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    combine_seen(seen, recipes, heads)
    return heads


def _combining(method: Method) -> Callable[..., Mapping[str, np.ndarray]]:
    if method.orientations is None:
        raise BadInput("orientations", expected="1", found=f"3 for method '{method.name}'")
    return method.orientations
