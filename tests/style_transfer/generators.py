"""Generators that were not trained, with weights that make something of every pixel."""

import numpy as np
import scipy.ndimage

from cellmill.style_transfer.network import (
    build_generator,
    export_generator,
    generator_card,
    reach_of,
)


def random_generator(folder, *, width=4, depth=2, planes="zyx", block=32, seed=0, volume=False):
    """Write a generator and its card; give the card."""
    generator = build_generator(width, depth=depth, residual=False, volume=volume)
    random = np.random.default_rng(seed)
    for weight in generator.weights:
        scale = 0.1 if weight.name == "bias" else 1.2 / np.sqrt(np.prod(weight.shape[:-1]))
        weight.assign(random.normal(0, scale, weight.shape))
    export_generator(generator, folder, (120.0, 40.0), (110.0, 250.0))
    reach = reach_of(depth, volume=volume)
    card = generator_card("random", reach=reach, planes=planes, block=block)
    card.save(folder)
    return card


def tissue(shape, seed=0):
    """Smooth grey values over the whole range."""
    noise = np.random.default_rng(seed).normal(0, 1, shape)
    smooth = scipy.ndimage.gaussian_filter(noise, 1.5)
    return np.clip(128 + smooth / smooth.std() * 50, 0, 255).astype(np.uint8)
