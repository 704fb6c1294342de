"""Maps on which watersheds go different ways: like a network's, tied, flat, tiny, hostile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import ndimage

from cellmill.models.card import ModelCard
from cellmill.segmentation.methods import recipes_of
from cellmill.segmentation.stardist.rays import golden_spiral

SHAPES_2D = ((64, 64), (97, 131), (33, 57), (128, 40))
SHAPES_3D = ((12, 40, 33), (5, 48, 48), (21, 19, 23))


def unit_range(image: np.ndarray) -> np.ndarray:
    """Scale to 0–1, float32."""
    low, high = image.min(), image.max()
    return ((image - low) / max(high - low, 1e-12)).astype(np.float32)


def smooth_noise(seed: int, shape: tuple[int, ...], sigma: float) -> np.ndarray:
    """Draw blurred noise in 0–1: hills of about `2 * sigma` pixels."""
    noise = np.random.default_rng(seed).random(shape)
    return unit_range(ndimage.gaussian_filter(noise, sigma) if sigma else noise)


def quantised(image: np.ndarray, levels: int) -> np.ndarray:
    """Round to so many levels from 0 to 1: plateaus and ties."""
    return (np.round(image * (levels - 1)) / (levels - 1)).astype(np.float32)


def bfloat16(image: np.ndarray) -> np.ndarray:
    """Round float32 to bfloat16's eight bits, ties to even."""
    bits = image.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def permutation(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Draw a map in which no value occurs twice."""
    size = int(np.prod(shape))
    return unit_range(np.random.default_rng(seed).permutation(size).reshape(shape))


def spiral(side: int) -> np.ndarray:
    """Draw a corridor one pixel wide that winds inwards and falls slowly from its outer end."""
    image = np.zeros((side, side), np.float32)
    position, heading = np.array([0, 0]), np.array([0, 1])
    length, value = side - 1, 1.0
    image[0, 0] = value
    # Two legs of each length, then shorter by two: a wall of one pixel stays between the turns.
    for leg in range(side):
        for _ in range(length):
            position = position + heading
            value -= 1e-5
            image[tuple(position)] = value
        heading = np.array([heading[1], -heading[0]])
        length -= 2 if leg % 2 == 0 and leg else 0
        if length <= 0:
            break
    return image


def balls(seed: int, shape: tuple[int, ...], count: int, radius: float) -> np.ndarray:
    """Draw labels of overlapping balls (disks), later ones in front."""
    rng = np.random.default_rng(seed)
    grid = np.indices(shape)
    labels = np.zeros(shape, np.int32)
    for label in range(1, count + 1):
        centre = [rng.uniform(0, side) for side in shape]
        squares = sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True))
        labels[squares < (radius * rng.uniform(0.5, 1.3)) ** 2] = label
    return labels


def inner_distance(labels: np.ndarray) -> np.ndarray:
    """Give 1 at each object's middle falling as 1 / (1 + distance), 0 outside: a maxima head."""
    out = np.zeros(labels.shape, np.float32)
    for label in np.unique(labels[labels > 0]):
        pixels = np.argwhere(labels == label)
        distance = np.sqrt(((pixels - pixels.mean(axis=0)) ** 2).sum(axis=1))
        out[tuple(pixels.T)] = 1 / (1 + distance)
    return out


def edge_distance(labels: np.ndarray) -> np.ndarray:
    """Give each object's distance to its edge over the object's largest: many exact ties."""
    out = np.zeros(labels.shape, np.float32)
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None:
            distance = ndimage.distance_transform_edt(np.pad(labels[box] == label, 1))
            inside = distance[(slice(1, -1),) * labels.ndim]
            out[box] = np.maximum(out[box], (inside / inside.max()).astype(np.float32))
    return out


def ray_distances(labels: np.ndarray, rays: int) -> np.ndarray:
    """Give how far it is from each pixel of an object to its edge along rays, `(…, rays)`."""
    angles = np.arange(rays) * 2 * np.pi / rays
    flat = np.stack([np.sin(angles), np.cos(angles)], axis=1)
    directions = flat if labels.ndim == 2 else golden_spiral(rays).vertices
    out = np.zeros((*labels.shape, rays), np.float32)
    outside = np.pad(labels, 1)
    places = np.nonzero(labels)
    for ray, direction in enumerate(directions):
        length = np.zeros(len(places[0]))
        inside = np.ones(len(places[0]), bool)
        while inside.any():
            length[inside] += 0.5
            reached = tuple(
                np.clip(np.round(at + length * step).astype(int) + 1, 0, side - 1)
                for at, step, side in zip(places, direction, outside.shape, strict=True)
            )
            inside &= outside[reached] == labels[places]
        out[(*places, ray)] = length
    return out


def like_a_network(seed: int, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give (maxima, interior) as a network might from these labels: blurred, with noise."""
    rng = np.random.default_rng(seed)
    maxima = ndimage.gaussian_filter(inner_distance(labels), 1)
    faces = ndimage.generate_binary_structure(labels.ndim, 1)
    eroded = ndimage.minimum_filter(labels, footprint=faces) == labels
    interior = ndimage.gaussian_filter((eroded & (labels > 0)).astype(np.float32), 0.7)
    noise = rng.normal(0, 0.01, (2, *labels.shape)).astype(np.float32)
    return (
        np.clip(maxima + noise[0], 0, 1).astype(np.float32),
        np.clip(interior + noise[1], 0, 1).astype(np.float32),
    )


def card_heads(
    card: ModelCard, shape: tuple[int, int] = (80, 90), seed: int = 1
) -> dict[str, np.ndarray]:
    """Give every head of a card, `(*shape, channels)`; each compartment shows disks of its own."""
    rng = np.random.default_rng(seed)
    heads = {head.name: rng.random((*shape, head.channels), np.float32) for head in card.heads}
    for k, recipe in enumerate(recipes_of(card, card.compartments).values()):
        maxima, interior = like_a_network(seed, balls(seed + k, shape, 20, 8))
        for role, values in (("maxima", maxima), ("interior", interior)):
            source = recipe.sources[role]
            heads[source.head][..., source.channel] = values
    return heads


def watershed_of(maxima_head: str, interior_head: str, **changes: Any) -> dict[str, Any]:
    """Give a card's post-processing by deep watershed for objects of a few pixels and more."""
    return {
        "method": "deep_watershed",
        "maxima_head": maxima_head,
        "interior_head": interior_head,
        "interior_threshold": 0.2,
        "interior_smooth": 2.0,
        "radius": 2,
        "small_objects_threshold": 15,
        "fill_holes_threshold": 15,
        **changes,
    }


def flat_maps() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Give maps without shape: constant, zero, one value far from the rest."""
    for value in (0.0, 0.5, 1.0, -1.0):
        image = np.full((20, 31), value, np.float32)
        yield f"constant {value}", image, image
    blank = np.zeros((90, 140), np.float32)
    lone = blank.copy()
    lone[3, 4] = 1
    yield "one marker, blank interior", lone, blank
    yield "one marker far away", lone, np.full_like(blank, 0.5)
    lone = lone.copy()
    lone[80, 130] = 1
    yield "two far markers, a flat field", lone, np.full_like(blank, 0.5)
    board = np.indices((40, 40)).sum(axis=0) % 2
    yield "chessboard", board.astype(np.float32), board.astype(np.float32)
    rings = (np.hypot(*(np.indices((61, 61)) - 30)) % 8 < 5).astype(np.float32)
    yield "rings", smooth_noise(1, (61, 61), 2), rings


def tiny_maps() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Give maps of a few pixels."""
    for shape in ((1, 1), (1, 7), (7, 1), (2, 3), (3, 3), (5, 4)):
        image = smooth_noise(sum(shape), shape, 0)
        yield f"{shape[0]}×{shape[1]}", image, image


def made_maps() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Give (name, maxima, interior) of every synthetic map, 2-D then 3-D."""
    for i, shape in enumerate(SHAPES_2D):
        for sigma in (0, 1, 2.5, 5):
            one, other = smooth_noise(i, shape, sigma), smooth_noise(i + 50, shape, sigma)
            yield f"noise σ={sigma} {shape}", one, one
            yield f"two noises σ={sigma} {shape}", one, other
    for i, levels in enumerate((2, 4, 20, 1000)):
        for sigma in (0, 2, 4):
            image = quantised(smooth_noise(i + 10, (73, 88), sigma), levels)
            yield f"{levels} levels σ={sigma}", image, image
        other = quantised(smooth_noise(i + 90, (73, 88), 3), levels)
        yield f"{levels} levels, smooth interior", smooth_noise(i, (73, 88), 3), other
    yield "all different", permutation(1, (70, 61)), permutation(2, (70, 61))
    yield "saturated", *(np.minimum(smooth_noise(s, (90, 90), 3), 0.6) / 0.6 for s in (1, 2))
    yield "bfloat16", *(bfloat16(smooth_noise(s, (90, 90), 3)) for s in (3, 4))
    yield "negative", *(smooth_noise(s, (64, 70), 2) * 2 - 1 for s in (5, 6))
    yield "large values", *(smooth_noise(s, (64, 70), 2) * np.float32(1e6) for s in (5, 6))
    yield "float64", *(smooth_noise(s, (64, 70), 2).astype(np.float64) for s in (7, 8))
    yield (
        "last bits",
        *((1 + smooth_noise(s, (50, 50), 2) * 1e-6).astype(np.float32) for s in (1, 2)),
    )
    yield "spiral", spiral(60), spiral(60)
    for seed, count, radius in ((1, 60, 9), (2, 25, 14), (3, 200, 5)):
        labels = balls(seed, (150, 170), count, radius)
        yield f"network-like, radius {radius}", *like_a_network(seed, labels)
        yield f"edge distance, radius {radius}", edge_distance(labels), edge_distance(labels)
        ragged = np.where(np.random.default_rng(seed).random(labels.shape) < 0.06, 0, 1)
        yield f"holes, radius {radius}", inner_distance(labels), edge_distance(labels) * ragged
    yield from flat_maps()
    yield from tiny_maps()
    for i, shape in enumerate(SHAPES_3D):
        one, other = smooth_noise(i, shape, 2), smooth_noise(i + 9, shape, 1)
        yield f"noise {shape}", one, one
        yield f"two noises {shape}", one, other
        yield f"4 levels {shape}", quantised(one, 4), quantised(one, 4)
        labels = balls(i, shape, 20, 6)
        yield f"network-like {shape}", *like_a_network(i, labels)
        yield f"edge distance {shape}", edge_distance(labels), edge_distance(labels)
    yield "constant volume", *(np.full((4, 5, 6), 0.5, np.float32),) * 2
