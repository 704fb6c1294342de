"""The network: a small U-Net in Keras 3 on TensorFlow.

It has two heads a compartment, or one of classes of pixels. Ronneberger et al. 2015, made cheap for
CPUs: one convolution a block on the way up, most work at half resolution and below, and only a thin
layer at full resolution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cellmill import extras

if TYPE_CHECKING:
    import keras

WIDTHS = (16, 24, 40, 64, 96)
"""Channels at full, 1/2, 1/4, 1/8 and 1/16 resolution."""

GAINS = (1.0, 10.0)
"""The input is seen as `asinh(gx) / asinh(g)` for each of these: what is dim beside what is bright
is told from black, and the brightest do not drown the rest."""

BOTTOM = 1
"""Further blocks at the lowest resolution, which see how large objects are."""

STAR_STRIDE = 2
"""Pixels a value of a star-convex network's heads."""

_STAR_WIDTH, _RAY_UNIT = 96, 8.0
"""Of a star-convex network the channels that its heads read, and pixels that one unit of theirs
is: rays are many pixels long, and weights begin near 0."""

STRIDE = 2 ** (len(WIDTHS) - 1)
"""Sides of an input must be multiples of this."""


def build_network(
    channels: int,
    head_names: Sequence[str],
    widths: tuple[int, ...] = WIDTHS,
    gains: tuple[float, ...] = GAINS,
    bottom: int = BOTTOM,
) -> keras.Model:
    """An untrained network.

    Args:
        channels: of the input, `(N, Y, X, channels)` float32; Y and X are multiples of `STRIDE`.
        head_names: for each compartment that of the inner distance, `(N, Y, X, 1)` in 0…1, and
            that of the pixel classes, `(N, Y, X, 3)` softmax; all float32.
        widths: channels per resolution.
        gains: of the compressed copies of the input; none leaves the input as it is.
        bottom: further blocks at the lowest resolution.

    Returns:
        A Keras model that gives the heads in this order.
    """
    keras = extras.load("keras", "training")
    layers = keras.layers
    image, x = _body(channels, widths, gains, bottom)
    heads = []
    # TensorFlow adds up more than two gradients in the order in which they are ready, so one seed
    # gives one model only if a compartment's are added up apart from another's.
    several = len(head_names) > 2
    for distance, classes in zip(head_names[::2], head_names[1::2], strict=True):
        own = x * 1.0 if several else x
        heads += [
            layers.Conv2D(1, 1, activation="sigmoid", dtype="float32", name=distance)(own),
            layers.Conv2D(3, 1, activation="softmax", dtype="float32", name=classes)(own),
        ]
    return keras.Model(image, heads)


def build_star_network(
    channels: int,
    head_names: Sequence[str],
    rays: int,
    widths: tuple[int, ...] = WIDTHS,
    gains: tuple[float, ...] = GAINS,
    bottom: int = BOTTOM,
) -> keras.Model:
    """An untrained star-convex network, whose heads are at half the input's resolution.

    Args:
        channels: of the input, as `build_network` takes it.
        head_names: for each compartment that of the probability, `(N, Y / 2, X / 2, 1)` in 0…1, and
            that of the distances to the edge in pixels, `(N, Y / 2, X / 2, rays)`; all float32.
        rays: along which distances are given.
        widths: channels per resolution.
        gains: of the compressed copies of the input; none leaves the input as it is.
        bottom: further blocks at the lowest resolution.

    Returns:
        A Keras model that gives the heads in this order.
    """
    keras = extras.load("keras", "training")
    layers = keras.layers
    image, x = _body(channels, widths, gains, bottom, finest=1)
    x = layers.Conv2D(_STAR_WIDTH, 3, padding="same", activation="relu")(x)
    heads = []
    # See `build_network` for why compartments are kept apart.
    several = len(head_names) > 2
    for probability, distances in zip(head_names[::2], head_names[1::2], strict=True):
        own = x * 1.0 if several else x
        lengths = layers.Conv2D(rays, 1, dtype="float32")(own)
        heads += [
            layers.Conv2D(1, 1, activation="sigmoid", dtype="float32", name=probability)(own),
            layers.Rescaling(_RAY_UNIT, dtype="float32", name=distances)(lengths),
        ]
    return keras.Model(image, heads)


def build_class_network(
    channels: int,
    head_name: str,
    classes: int,
    widths: tuple[int, ...] = WIDTHS,
    gains: tuple[float, ...] = GAINS,
    bottom: int = BOTTOM,
) -> keras.Model:
    """An untrained network of classes of pixels.

    Args:
        channels: of the input, as `build_network` takes it.
        head_name: of the head, `(N, Y, X, classes)` softmax, float32.
        classes: how many.
        widths: channels per resolution.
        gains: of the compressed copies of the input; none leaves the input as it is.
        bottom: further blocks at the lowest resolution.

    Returns:
        A Keras model that gives the one head.
    """
    keras = extras.load("keras", "training")
    image, x = _body(channels, widths, gains, bottom)
    head = keras.layers.Conv2D(classes, 1, activation="softmax", dtype="float32", name=head_name)
    return keras.Model(image, head(x))


def receptive_field(widths: Sequence[int] = WIDTHS, bottom: int = BOTTOM) -> int:
    """How many pixels in a row a pixel of the output can depend on, at most.

    Followed from the output to the input through every layer; it differs by where a pixel lies
    within the lowest resolution's.

    Example:
        >>> receptive_field()
        157
    """
    levels = len(widths) - 1
    widest = 0
    for place in range(2**levels):
        low = high = place
        for _ in range(levels):
            # A convolution of 3, and the pixels below that nearest-neighbour growth copied.
            low, high = (low - 1) // 2, (high + 1) // 2
        low, high = low - bottom, high + bottom
        for _ in range(levels):
            # A convolution of 3, then one that takes pixels 2i to 2i + 2.
            low, high = 2 * (low - 1), 2 * (high + 1) + 2
        widest = max(widest, high - low + 3)
    return widest


def _body(
    channels: int,
    widths: Sequence[int],
    gains: Sequence[float],
    bottom: int,
    finest: int = 0,
) -> tuple[Any, Any]:
    """The input, and what the heads are made of: at its resolution, or halved `finest` times."""
    keras = extras.load("keras", "training")
    layers = keras.layers

    def block(x: Any, width: int, stride: int = 1) -> Any:
        x = layers.Conv2D(width, 3, stride, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization(momentum=0.95)(x)
        return layers.ReLU()(x)

    image = layers.Input((None, None, channels), name="image", dtype="float32")
    copies = [keras.ops.arcsinh(image * gain) / math.asinh(gain) for gain in gains]
    x = layers.Concatenate()(copies) if len(copies) > 1 else copies[0] if copies else image
    x = block(x, widths[0])
    skips = [x]
    for width in widths[1:]:
        x = block(block(x, width, stride=2), width)
        skips.append(x)
    for _ in range(bottom):
        x = layers.Add()([x, block(x, widths[-1])])
    for width, skip in reversed([*zip(widths[finest:-1], skips[finest:-1], strict=True)]):
        x = layers.Conv2D(width, 1, use_bias=False)(x)
        x = layers.UpSampling2D(2, interpolation="nearest")(x)
        x = block(layers.Concatenate()([x, skip]), width)
    return image, x
