"""A small U-Net that sees volumes, made after the shape of their voxels.

Çiçek et al., "3D U-Net" (MICCAI 2016); kernels that are flat, and no pooling along Z, while planes
lie far apart beside the pixels, as Isensee et al. (Nature Methods 18, 2021) choose them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellmill import extras
from cellmill.training.network import GAINS

if TYPE_CHECKING:
    import keras

_WIDTHS = (12, 24, 40, 56)
"""Channels at full resolution, and after each pooling."""

_FLAT_ABOVE, _POOLED_BELOW = 2.0, 1.5
"""Planes so many pixels apart: kernels are flat beyond the first, Z is pooled below the second."""


@dataclass(frozen=True)
class VolumeShape:
    """How a network of volumes is built, as its card says it.

    Args:
        widths: channels at each resolution.
        kernels: of each resolution, sides along Z, Y and X.
        pools: of each resolution, voxels of the one before along Z, Y and X; (1, 1, 1) first.
        gains: of the compressed copies of the input; see `cellmill.training.network.GAINS`.
    """

    widths: tuple[int, ...]
    kernels: tuple[tuple[int, ...], ...]
    pools: tuple[tuple[int, ...], ...]
    gains: tuple[float, ...] = GAINS

    @classmethod
    def for_voxels(cls, anisotropy: float, widths: Sequence[int] = _WIDTHS) -> VolumeShape:
        """The shape for voxels that are `anisotropy` times as deep as wide.

        Example:
            >>> VolumeShape.for_voxels(4.0).kernels
            ((1, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3))
            >>> VolumeShape.for_voxels(4.0).pools
            ((1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2))
        """
        ratio, kernels, pools = anisotropy, [], []
        for level in range(len(widths)):
            deep = level > 0 and ratio < _POOLED_BELOW
            pools.append((1, 1, 1) if not level else (2 if deep else 1, 2, 2))
            ratio = ratio if not level or deep else ratio / 2
            kernels.append((3 if ratio <= _FLAT_ABOVE else 1, 3, 3))
        return cls(tuple(widths), tuple(kernels), tuple(pools))

    @classmethod
    def from_card(cls, said: dict[str, Any]) -> VolumeShape:
        """What `as_card` said; `KeyError` or `TypeError` if it is not that."""
        return cls(
            tuple(said["widths"]),
            tuple(tuple(each) for each in said["kernels"]),
            tuple(tuple(each) for each in said["pools"]),
            tuple(said["gains"]),
        )

    def as_card(self) -> dict[str, Any]:
        """The shape as JSON values."""
        return {
            "widths": list(self.widths),
            "kernels": [list(each) for each in self.kernels],
            "pools": [list(each) for each in self.pools],
            "gains": list(self.gains),
        }

    @property
    def strides(self) -> tuple[int, ...]:
        """Voxels that the lowest resolution's stand for, along Z, Y and X."""
        return tuple(math.prod(pool[axis] for pool in self.pools) for axis in range(3))

    @property
    def reach(self) -> tuple[int, ...]:
        """Voxels to either side that a voxel of the output depends on at most, by axis."""
        return tuple(self._reach(axis) for axis in range(3))

    def _reach(self, axis: int) -> int:
        halves = [kernel[axis] // 2 for kernel in self.kernels]
        pools = [pool[axis] for pool in self.pools]
        widest = 0
        for place in range(self.strides[axis]):
            low = high = place
            for half, pool in zip(halves, pools[1:], strict=False):
                low, high = (low - half) // pool, (high + half) // pool
            low, high = low - halves[-1], high + halves[-1]
            for half, pool in reversed([*zip(halves[1:], pools[1:], strict=True)]):
                low, high = low - half, high + half
                # Of an even side a kernel of 3 with a stride takes voxels 2i to 2i + 2.
                low = low * pool - (0 if pool > 1 else half)
                high = high * pool + (2 * half if pool > 1 else half)
            low, high = low - halves[0], high + halves[0]
            widest = max(widest, place - low, high - place)
        return widest


def build_volume_network(
    channels: int, head_names: tuple[str, str], shape: VolumeShape
) -> keras.Model:
    """An untrained network of volumes.

    Args:
        channels: of the input, `(N, Z, Y, X, channels)` float32, sides multiples of the strides.
        head_names: of the inner distance, and of the objects' interior; both `(N, Z, Y, X, 1)` in
            0…1, float32.
        shape: of its layers.

    Returns:
        A Keras model that gives the heads in this order.
    """
    keras = extras.load("keras", "training")
    image, x = _body(channels, shape)
    heads = [
        keras.layers.Conv3D(1, 1, activation="sigmoid", dtype="float32", name=name)(x)
        for name in head_names
    ]
    return keras.Model(image, heads)


def build_volume_class_network(
    channels: int, head_name: str, classes: int, shape: VolumeShape
) -> keras.Model:
    """An untrained network of classes of voxels.

    Args:
        channels: of the input, as `build_volume_network` takes it.
        head_name: of the classes, `(N, Z, Y, X, classes)` softmax, float32.
        classes: how many.
        shape: of its layers.

    Returns:
        A Keras model that gives the one head.
    """
    keras = extras.load("keras", "training")
    image, x = _body(channels, shape)
    head = keras.layers.Conv3D(classes, 1, activation="softmax", dtype="float32", name=head_name)(x)
    return keras.Model(image, [head])


def _body(channels: int, shape: VolumeShape) -> tuple[Any, Any]:
    """The input, and what the heads are made of, at its resolution."""
    keras = extras.load("keras", "training")
    layers = keras.layers

    def block(x: Any, level: int, pool: tuple[int, ...] = (1, 1, 1)) -> Any:
        width, kernel = shape.widths[level], shape.kernels[level]
        x = layers.Conv3D(width, kernel, pool, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization(momentum=0.95)(x)
        return layers.ReLU()(x)

    image = layers.Input((None, None, None, channels), name="image", dtype="float32")
    copies = [keras.ops.arcsinh(image * gain) / math.asinh(gain) for gain in shape.gains]
    x = block(layers.Concatenate()(copies), 0)
    skips = [x]
    for level, pool in enumerate(shape.pools[1:], start=1):
        x = block(block(x, level, pool), level)
        skips.append(x)
    x = layers.Add()([x, block(x, len(shape.widths) - 1)])
    for level in reversed(range(len(shape.widths) - 1)):
        x = layers.Conv3D(shape.widths[level], 1, use_bias=False)(x)
        x = layers.UpSampling3D(shape.pools[level + 1])(x)
        x = block(layers.Concatenate()([x, skips[level]]), level)
    return image, x
