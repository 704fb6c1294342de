"""The networks: a generator of valid convolutions alone, and a discriminator, in Keras 3.

The generator is a U-Net of as many levels as are asked for, after the one of transfer_em (2021),
but that no convolution pads and each transposed one covers its input exactly (2 by 2, stride 2). So
any side of a multiple of its stride gives that side less two halos (`reach_of`), and what is made
of a block is what is made of the whole there. Nothing is normalised over space, which would make
blocks differ.

A generator of volumes is the same but for the second convolution of each two, which sees the
sections beside its own, too. Along z nothing is halved. It is begun as a generator of planes, whose
kernels lie in the middle sections of its own, so that it makes the same (after Carreira and
Zisserman 2017, who spread them over all).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellmill import extras
from cellmill.models.card import Head, InputChannel, ModelCard, ModelInput, Planes, Tiling
from cellmill.models.savedmodel import write_savedmodel

if TYPE_CHECKING:
    import keras

HEAD = "transferred"
Levels = tuple[float, float]
"""Mean and standard deviation of a domain's grey values."""

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
"""What a network computes in, as Keras names it; weights and what it gives are float32."""

DEPTHS = (1, 2, 3, 4)
"""How often a generator may halve the resolution."""

_SLOPE = 0.2


@dataclass(frozen=True)
class Reach:
    """How far a generator sees, and on which grid it computes.

    Args:
        halo: pixels at each side that it reads and gives nothing for.
        stride: blocks begin at multiples of it, and sides of what it is given are multiples; those
            of what it makes are, too.
        halo_z: of a generator of volumes sections above and below that it reads and gives nothing
            for, on a grid of every section; 0 of planes.
    """

    halo: int
    stride: int
    halo_z: int = 0

    @property
    def halos(self) -> tuple[int, ...]:
        """Along y and x; of a generator of volumes along z before."""
        return (self.halo_z, self.halo, self.halo)[0 if self.halo_z else 1 :]


def reach_of(depth: int, *, volume: bool = False) -> Reach:
    """The reach of a generator that halves the resolution so often, one of `DEPTHS`.

    Args:
        depth: of it.
        volume: whether it sees volumes, not planes.

    Example:
        >>> [(reach.halo, reach.stride) for reach in map(reach_of, DEPTHS)]
        [(8, 2), (20, 4), (48, 8), (96, 16)]
        >>> [reach_of(depth, volume=True).halo_z for depth in DEPTHS]
        [3, 5, 7, 9]
    """
    along_z = _seen_along_z(depth) if volume else 0
    return Reach(_seen(depth) + 2 * _dropped(depth), 2**depth, along_z)


def _seen(depth: int) -> int:
    """Pixels that convolutions take at each side: two of 3 by 3 down each level and up again.

    At the lowest there are two alone: 2 × 2 × (1 + 2 + … + 2**(depth - 1)) + 2 × 2**depth.
    """
    return 6 * 2**depth - 4


def _seen_along_z(depth: int) -> int:
    """The same along z: one of each two convolutions takes a section at each side."""
    return 2 * depth + 1


def _dropped(depth: int) -> int:
    """Pixels that are left out at each side of what is given, and again of what is made.

    A side has to be 4 less than a multiple of 2**depth, so that each level can be halved; from the
    third level on no multiple of the stride is.
    """
    return 2 if depth > 2 else 0


def repeatable(seed: int) -> tuple[Any, Any]:
    """Keras and TensorFlow, so set that a seed gives the same networks and trainings."""
    keras, tf = extras.load("keras", "style transfer"), extras.load("tensorflow", "style transfer")
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    return keras, tf


def build_generator(
    width: int = 8,
    *,
    depth: int = 2,
    residual: bool = True,
    volume: bool = False,
    name: str = "generator",
    precision: str = "float32",
) -> Any:
    """An untrained generator, `(N, n, n, 1)` to `(N, n - 2 halo, n - 2 halo, 1)` float32.

    One of volumes takes `(N, m, n, n, 1)` and gives `m - 2 halo_z` sections; its weights are in the
    order of those of planes. Values in and out are standardised, each by the mean and standard
    deviation of its domain.

    Args:
        width: channels at full resolution; twice as many at each half of it.
        depth: how often the resolution is halved, one of `DEPTHS`; `reach_of` says the halo.
        residual: whether what it makes is added to what it is given; untrained it then gives what
            it is given, which between standardised domains is matching two numbers.
        volume: whether it sees volumes, not planes.
        name: of the model.
        precision: one of `PRECISIONS`.
    """
    keras = extras.load("keras", "style transfer")
    layers, how = keras.layers, {"dtype": precision}
    axes = 3 if volume else 2
    convolution, transposed, cropping = (
        getattr(layers, kind.format(axes))
        for kind in ("Conv{}D", "Conv{}DTranspose", "Cropping{}D")
    )

    def sides(across: int, along: int = 1) -> tuple[int, ...]:
        return (along, across, across)[3 - axes :]

    def convolved(x: Any, channels: int, size: int = 3, stride: int = 1, along: int = 1) -> Any:
        how_far = sides(size, along), sides(stride)
        x = convolution(channels, *how_far, kernel_initializer="he_normal", **how)(x)
        return layers.LeakyReLU(_SLOPE, **how)(x)

    def both(x: Any, channels: int) -> Any:
        """Two convolutions. One alone sees other sections, so that the halo along z stays small."""
        return convolved(convolved(x, channels), channels, along=3)

    def upsampled(x: Any, channels: int) -> Any:
        x = transposed(channels, sides(2), sides(2), kernel_initializer="he_normal", **how)(x)
        return layers.LeakyReLU(_SLOPE, **how)(x)

    def without(x: Any, margin: int, along: int = 0, dtype: str = precision) -> Any:
        edges = sides(margin, along)
        return cropping(edges, dtype=dtype)(x) if any(edges) else x

    given = layers.Input((*[None] * axes, 1), name="image", dtype="float32")
    x = both(without(given, _dropped(depth), dtype="float32"), width)
    levels = [x]
    for level in range(1, depth + 1):
        channels = width * 2**level
        x = both(convolved(x, channels, 2, 2), channels)
        levels.append(x)
    for level in reversed(range(depth)):
        channels, below = width * 2**level, depth - level
        # What lies below this level takes all but its own two convolutions down and two up.
        inner = without(levels[level], _seen(below) - 4, _seen_along_z(below) - 2)
        x = both(layers.Concatenate(**how)([upsampled(x, channels), inner]), channels)
    x = without(x, _dropped(depth))
    # A residual generator begins as what it is given, which matches mean and deviation.
    last = "zeros" if residual else "glorot_normal"
    x = convolution(1, 1, kernel_initializer=last, name="grey", dtype="float32")(x)
    if residual:
        reach = reach_of(depth, volume=volume)
        x = layers.Add()([x, without(given, reach.halo, reach.halo_z, "float32")])
    return keras.Model(given, x, name=name)


def inflated(weights: Sequence[np.ndarray], generator: keras.Model) -> list[np.ndarray]:
    """Weights with which a generator of volumes makes of each plane what one of planes makes of it.

    Args:
        weights: of a generator of planes, or what goes with them one by one.
        generator: of volumes, of the same width, depth and kind.
    """
    found = []
    for flat, like in zip(weights, generator.weights, strict=True):
        deep = np.zeros(tuple(like.shape), flat.dtype)
        # Biases have no sections.
        (deep[deep.shape[0] // 2] if deep.ndim > flat.ndim else deep)[...] = flat
        found.append(deep)
    return found


def build_discriminator(
    width: int = 16,
    *,
    name: str = "discriminator",
    precision: str = "float32",
    channels: int = 1,
) -> Any:
    """An untrained discriminator: `(N, n, n, channels)` to `(N, m, m, 1)` logits, one a patch.

    Args:
        width: channels after the first convolution.
        name: of the model.
        precision: one of `PRECISIONS`.
        channels: that it sees, the plane and what a prior gives.
    """
    keras = extras.load("keras", "style transfer")
    layers, how = keras.layers, {"dtype": precision}
    given = layers.Input((None, None, channels), name="image", dtype="float32")
    x = given
    for features, stride in ((width, 2), (2 * width, 1), (2 * width, 2), (4 * width, 1)):
        x = layers.Conv2D(features, 3, stride, kernel_initializer="he_normal", **how)(x)
        x = layers.LeakyReLU(_SLOPE, **how)(x)
    small = keras.initializers.RandomNormal(stddev=0.02)
    logits = layers.Conv2D(1, 1, kernel_initializer=small, dtype="float32")(x)
    return keras.Model(given, logits, name=name)


def export_generator(generator: keras.Model, folder: Path, source: Levels, target: Levels) -> None:
    """Write a generator as a SavedModel that takes and gives grey values.

    The signature takes `image`, `(N, Y, X, 1)` or of one of volumes `(N, Z, Y, X, 1)`, float32 from
    0 to 255, standardises it as the source domain, and gives `transferred`, grey values of the
    target domain that are neither clipped nor rounded: those of three axes are averaged first.

    Args:
        generator: as `build_generator` makes it.
        folder: the model's folder.
        source: mean and standard deviation of what it is given.
        target: of what it gives.
    """
    tf = extras.load("tensorflow", "style transfer")
    shape = tuple(generator.inputs[0].shape)

    @tf.function(
        input_signature=[tf.TensorSpec(shape, tf.float32, name="image")],
        autograph=False,
    )
    def serve(image: Any) -> dict[str, Any]:
        made = generator((image - source[0]) / source[1], training=False)
        return {HEAD: made * target[1] + target[0]}

    write_savedmodel(folder, serve, generator.weights)


def export_table(table: np.ndarray, folder: Path, reach: Reach) -> None:
    """Write a network that gives each grey value another, with a generator's signature and halo.

    Args:
        table: `(256,)` float32.
        folder: the model's folder.
        reach: of the generator in whose place it stands.
    """
    tf = extras.load("tensorflow", "style transfer")
    kept = slice(reach.halo, -reach.halo)

    @tf.function(
        input_signature=[tf.TensorSpec((None, None, None, 1), tf.float32, name="image")],
        autograph=False,
    )
    def serve(image: Any) -> dict[str, Any]:
        inner = image[:, kept, kept]
        places = tf.cast(tf.clip_by_value(tf.round(inner), 0, len(table) - 1), tf.int32)
        return {HEAD: tf.gather(tf.constant(table, tf.float32), places)}

    write_savedmodel(folder, serve)


def generator_card(
    name: str,
    *,
    reach: Reach,
    planes: Planes = "zyx",
    block: int = 0,
    version: str = "1",
    description: str = "",
    licence: str = "",
    training: dict[str, Any] | None = None,
    accuracy: dict[str, Any] | None = None,
) -> ModelCard:
    """The card of a generator.

    Args:
        name: of the model.
        reach: of the generator.
        planes: across which axes of a volume it was trained, and is applied; of planes alone.
        block: side of the blocks that it is applied to if nobody says; 0 is 256, and 160 of one of
            volumes, which holds all maps of a block at once.
        version: of the model.
        description: for a person.
        licence: of the weights.
        training: what the card is to say of data, losses, curve, and of the domains' levels.
        accuracy: what was measured.
    """
    block = block or (160 if reach.halo_z else 256)
    tile = tuple(block + 2 * halo for halo in reach.halos)
    head, tiling = Head(HEAD, "", "image", margin=reach.halo), Tiling("reflect", 0.0, reach.stride)
    if reach.halo_z:
        head = replace(head, placement="cropped", margin_z=reach.halo_z)
        tiling, planes = replace(tiling, alignment_z=1), ""
    grey = InputChannel("grey", "grey values of electron microscopy, 0 to 255")
    return ModelCard(
        name=name,
        version=version,
        input=ModelInput((grey,), tile=tile, planes=planes),
        heads=(head,),
        tiling=tiling,
        postprocessing={},
        default_compartment="",
        description=description,
        licence=licence,
        training=training or {},
        accuracy=accuracy or {},
    )
