"""The networks: a generator of valid convolutions alone, and a discriminator, in Keras 3.

The generator is a U-Net of two levels after the one of transfer_em (2021), but that no convolution
pads and each transposed one covers its input exactly (2 by 2, stride 2). So any side of a multiple
of `STRIDE` gives that side less `2 × HALO`, and what is made of a block is what is made of the
whole there. Nothing is normalised over space, which would make blocks differ.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellmill import extras
from cellmill.models.card import Head, InputChannel, ModelCard, ModelInput, Planes, Tiling
from cellmill.models.savedmodel import write_savedmodel

if TYPE_CHECKING:
    import keras

HALO = 20
"""Pixels at each side that the generator reads and gives nothing for."""

STRIDE = 4
"""Blocks begin at multiples of it, and so are their sides."""

HEAD = "transferred"
Levels = tuple[float, float]
"""Mean and standard deviation of a domain's grey values."""

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
"""What a network computes in, as Keras names it; weights and what it gives are float32."""

DEPTHS = (1, 2)
"""How often a generator may halve the resolution."""

_SLOPE = 0.2


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
    name: str = "generator",
    precision: str = "float32",
) -> Any:
    """An untrained generator, `(N, n, n, 1)` to `(N, n - 40, n - 40, 1)` float32.

    Values in and out are standardised, each by the mean and standard deviation of its domain.

    Args:
        width: channels at full resolution; twice and four times as many at a half and a quarter.
        depth: how often the resolution is halved, one of `DEPTHS`. Less deep, it sees less, and
            gives nothing for as many pixels at each side all the same.
        residual: whether what it makes is added to what it is given; untrained it then gives what
            it is given, which between standardised domains is matching two numbers.
        name: of the model.
        precision: one of `PRECISIONS`.
    """
    keras = extras.load("keras", "style transfer")
    layers, how = keras.layers, {"dtype": precision}

    def convolved(x: Any, channels: int, size: int = 3, stride: int = 1) -> Any:
        x = layers.Conv2D(channels, size, stride, kernel_initializer="he_normal", **how)(x)
        return layers.LeakyReLU(_SLOPE, **how)(x)

    def upsampled(x: Any, channels: int) -> Any:
        x = layers.Conv2DTranspose(channels, 2, 2, kernel_initializer="he_normal", **how)(x)
        return layers.LeakyReLU(_SLOPE, **how)(x)

    given = layers.Input((None, None, 1), name="image", dtype="float32")
    full = convolved(convolved(given, width), width)
    half = convolved(convolved(convolved(full, 2 * width, 2, 2), 2 * width), 2 * width)
    x = half
    if depth == 2:
        low = convolved(convolved(convolved(half, 4 * width, 2, 2), 4 * width), 4 * width)
        inner = layers.Cropping2D(4, **how)(half)
        x = layers.Concatenate(**how)([upsampled(low, 2 * width), inner])
        x = convolved(convolved(x, 2 * width), 2 * width)
    inner = layers.Cropping2D(16 if depth == 2 else 4, **how)(full)
    x = layers.Concatenate(**how)([upsampled(x, width), inner])
    x = convolved(convolved(x, width), width)
    if depth == 1:
        x = layers.Cropping2D(HALO - 8, **how)(x)
    # A residual generator begins as what it is given, which matches mean and deviation.
    last = "zeros" if residual else "glorot_normal"
    x = layers.Conv2D(1, 1, kernel_initializer=last, name="grey", dtype="float32")(x)
    if residual:
        x = layers.Add()([x, layers.Cropping2D(HALO)(given)])
    return keras.Model(given, x, name=name)


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

    The signature takes `image`, `(N, Y, X, 1)` float32 from 0 to 255, standardises it as the source
    domain, and gives `transferred`, grey values of the target domain that are neither clipped nor
    rounded: those of three axes are averaged first.

    Args:
        generator: as `build_generator` makes it.
        folder: the model's folder.
        source: mean and standard deviation of what it is given.
        target: of what it gives.
    """
    tf = extras.load("tensorflow", "style transfer")

    @tf.function(
        input_signature=[tf.TensorSpec((None, None, None, 1), tf.float32, name="image")],
        autograph=False,
    )
    def serve(image: Any) -> dict[str, Any]:
        made = generator((image - source[0]) / source[1], training=False)
        return {HEAD: made * target[1] + target[0]}

    write_savedmodel(folder, serve, generator.weights)


def export_table(table: np.ndarray, folder: Path) -> None:
    """Write a network that gives each grey value another, with a generator's signature and halo.

    Args:
        table: `(256,)` float32.
        folder: the model's folder.
    """
    tf = extras.load("tensorflow", "style transfer")

    @tf.function(
        input_signature=[tf.TensorSpec((None, None, None, 1), tf.float32, name="image")],
        autograph=False,
    )
    def serve(image: Any) -> dict[str, Any]:
        inner = image[:, HALO:-HALO, HALO:-HALO]
        places = tf.cast(tf.clip_by_value(tf.round(inner), 0, len(table) - 1), tf.int32)
        return {HEAD: tf.gather(tf.constant(table, tf.float32), places)}

    write_savedmodel(folder, serve)


def generator_card(
    name: str,
    *,
    planes: Planes = "zyx",
    block: int = 256,
    version: str = "1",
    description: str = "",
    licence: str = "",
    training: dict[str, Any] | None = None,
    accuracy: dict[str, Any] | None = None,
) -> ModelCard:
    """The card of a generator.

    Args:
        name: of the model.
        planes: across which axes of a volume it was trained, and is applied.
        block: side of the blocks that it is applied to if nobody says.
        version: of the model.
        description: for a person.
        licence: of the weights.
        training: what the card is to say of data, losses, curve, and of the domains' levels.
        accuracy: what was measured.
    """
    side = block + 2 * HALO
    grey = InputChannel("grey", "grey values of electron microscopy, 0 to 255")
    return ModelCard(
        name=name,
        version=version,
        input=ModelInput((grey,), tile=(side, side), planes=planes),
        heads=(Head(HEAD, "", "image", margin=HALO),),
        tiling=Tiling("reflect", 0.0, STRIDE),
        postprocessing={},
        default_compartment="",
        description=description,
        licence=licence,
        training=training or {},
        accuracy=accuracy or {},
    )
