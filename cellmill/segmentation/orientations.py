"""Heads of a volume from a network of planes: of those across one axis, or across all three.

A network that is shown a volume's planes across Z, Y and X knows of the third direction what its
planes across Z do not show. What it gave for the three is put together by the method, which alone
knows what the network's outputs mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from cellmill.arrays.windows import Windowed
from cellmill.errors import BadInput
from cellmill.models.card import ModelCard
from cellmill.preprocessing.resize import ResizedImage
from cellmill.segmentation.interface import Method
from cellmill.segmentation.methods import METHODS, Recipe, find_method

#: Along how many axes a volume is cut into planes.
ORIENTATIONS = (1, 3)


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


def with_depth(volume: np.ndarray, depth: int) -> np.ndarray:
    """A volume `(Z, Y, X, C)` resampled linearly along Z; of fewer planes each is a mean."""
    if depth == len(volume):
        return volume
    made = np.empty((depth, *volume.shape[1:]), volume.dtype)
    for y in range(volume.shape[1]):
        cut = ResizedImage(volume[:, y], (depth, volume.shape[2]), resampling="averaged")
        made[:, y] = np.asarray(cut)
    return made


def heads_of_orientations(
    volume: np.ndarray,
    recipes: Mapping[str, Recipe],
    predict: Callable[[np.ndarray], Mapping[str, Windowed]],
) -> dict[str, np.ndarray]:
    """Show a network a volume's planes across each axis, and put together what it gives.

    Args:
        volume: `(Z, Y, X, C)`, as the network is shown its planes; voxels as deep as wide.
        recipes: how each kind of object is found; see `check_orientations`.
        predict: gives the heads of a plane `(rows, columns, C)`, each of its shape.

    Returns:
        Heads of the volume, `(Z, Y, X, channels)` float32, by name.
    """
    stacks = []
    for axis in range(3):
        planes = [np.ascontiguousarray(each) for each in np.moveaxis(volume, axis, 0)]
        found = [predict(plane) for plane in planes]
        stacks.append({name: np.stack([np.asarray(e[name]) for e in found]) for name in found[0]})
    heads: dict[str, np.ndarray] = {}
    for recipe in recipes.values():
        combine = _combining(recipe.method)
        own = {role: source.head for role, source in recipe.sources.items()}
        across = [{role: stack[head] for role, head in own.items()} for stack in stacks]
        heads |= {own[role]: made for role, made in combine(across).items()}
    return heads


def _combining(method: Method) -> Callable[..., Mapping[str, np.ndarray]]:
    if method.orientations is None:
        raise BadInput("orientations", expected="1", found=f"3 for method '{method.name}'")
    return method.orientations
