"""What each method is tried on: maps with objects, and parameters that find them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from cellmill.segmentation.cellpose import CellposeParameters, flows_of
from cellmill.segmentation.deep_watershed.parameters import WatershedParameters
from cellmill.segmentation.probability_watershed.parameters import ProbabilityWatershedParameters
from cellmill.segmentation.stardist.parameters import StarDistParameters
from cellmill.segmentation.voronoi_otsu.parameters import VoronoiOtsuParameters
from tests.segmentation import toy
from tests.segmentation.maps import (
    balls,
    edge_distance,
    inner_distance,
    like_a_network,
    quantised,
    ray_distances,
)

#: Side of what a large image repeats.
_BLOCK = 140


@dataclass(frozen=True)
class Example:
    """How a method is tried.

    Attributes:
        maps: gives a map for each role, from a seed and a shape, float32, with several objects
            where the shape has room for them.
        parameters: what finds them, and the same with everything on that there is to be on.
        flat: gives maps without shape of a value and a shape: no object, or one. `None`: that value
            everywhere.
    """

    maps: Callable[[int, tuple[int, ...]], Mapping[str, np.ndarray]]
    parameters: tuple[Any, ...]
    flat: Callable[[float, tuple[int, ...]], Mapping[str, np.ndarray]] | None = None


def _watershed_maps(seed: int, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    maxima, interior = like_a_network(seed, _labels(seed, shape))
    return {"maxima": _repeated(maxima, shape), "interior": _repeated(interior, shape)}


def _toy_maps(seed: int, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    labels = _labels(seed, shape)
    noise = np.random.default_rng(seed).random(labels.shape).astype(np.float32)
    return {"signal": _repeated(inner_distance(labels) + 0.1 * (labels > 0) * noise, shape)}


def _intensity_maps(seed: int, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Uneven balls on a dark field, with noise."""
    labels = _labels(seed, shape)
    rng = np.random.default_rng(seed)
    bright = 0.5 + rng.random(labels.max() + 1)
    image = np.where(labels > 0, bright[labels], 0) + rng.normal(0, 0.1, labels.shape)
    return {"intensity": _repeated(image.astype(np.float32), shape)}


def _stardist_maps(seed: int, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Rays of balls with noise, as likely as they are far from the edge, with ties."""
    # In volumes fewer: polyhedra that touch many others take long to compare.
    labels = _labels(seed, shape, 150 if len(shape) == 2 else 600)
    rng = np.random.default_rng(seed)
    near = quantised(edge_distance(labels) * rng.uniform(0.8, 1, labels.shape), 20)
    count, spread = (8, 0.3) if labels.ndim == 2 else (24, 0.1)
    noise = rng.uniform(1 - spread, 1 + spread, (*labels.shape, 1))
    rays = ray_distances(labels, count) * noise
    return {
        "probability": _repeated(near, shape),
        "distances": _repeated(rays.astype(np.float32), shape),
    }


def _flat_stardist_maps(value: float, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """One probability, and rays that reach over the whole image."""
    return {
        "probability": np.full(shape, value, np.float32),
        "distances": np.full((*shape, 8), 2 * max(shape), np.float32),
    }


def _cellpose_maps(seed: int, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Flows of balls with noise, and a logit that is unsure here and there."""
    labels, rng = _labels(seed, shape), np.random.default_rng(seed)
    own = flows_of(labels) if labels.ndim == 2 else volume_flows(labels)
    noise = rng.normal(0, 1.5, own.shape)
    flows = ndimage.gaussian_filter(5 * own + noise, (*(0.7,) * labels.ndim, 0))
    probability = np.where(labels > 0, 3, -3) + rng.normal(0, 2, labels.shape)
    return {
        "flows": _repeated(flows.astype(np.float32), shape),
        "probability": _repeated(probability.astype(np.float32), shape),
    }


def _flat_cellpose_maps(value: float, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """One current through an image, none in a volume; cells everywhere, or nowhere."""
    flows = np.full((*shape, len(shape)), value if len(shape) == 2 else 0, np.float32)
    return {"flows": flows, "probability": np.full(shape, value, np.float32)}


def volume_flows(labels: np.ndarray) -> np.ndarray:
    """Flows of the objects of a volume, `(Z, Y, X, 3)`: those of its planes in each orientation."""
    flows = np.zeros((*labels.shape, 3))
    for axis, others in enumerate(((1, 2), (0, 2), (0, 1))):
        for plane, shown in zip(
            np.moveaxis(labels, axis, 0), np.moveaxis(flows, axis, 0), strict=True
        ):
            shown[..., list(others)] += flows_of(plane)
    return flows / 2


def _probability_maps(seed: int, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """What a forest says of balls: votes of a few trees, unsure at the edges, with ties."""
    labels, rng = _labels(seed, shape), np.random.default_rng(seed)
    sure = ndimage.gaussian_filter((labels > 0) * (0.6 + 0.4 * inner_distance(labels)), 0.7)
    return {
        "probability": _repeated(
            quantised(np.clip(sure + rng.normal(0, 0.1, labels.shape), 0, 1), 20), shape
        )
    }


def _labels(seed: int, shape: tuple[int, ...], each: int = 150) -> np.ndarray:
    """Balls, as dense as cells, one for so many pixels, of a block that a larger image repeats."""
    block = tuple(min(side, _BLOCK) for side in shape)
    radius = 7 if len(shape) == 2 else 5
    return balls(seed, block, max(int(np.prod(block)) // each, 1), radius)


def _repeated(block: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    for axis, side in enumerate(shape):
        block = block.take(np.arange(side) % block.shape[axis], axis)
    return block


#: A line a method; every method that is registered is here.
EXAMPLES: dict[str, Example] = {
    "deep_watershed": Example(
        _watershed_maps,
        (
            WatershedParameters(radius=2, maxima_threshold=0.05, interior_threshold=0.2),
            WatershedParameters(
                radius=2,
                maxima_threshold=0.1,
                maxima_smooth=0.5,
                interior_threshold=0.3,
                interior_smooth=0.7,
                pixel_expansion=1,
                small_objects_fraction=0.2,
                small_objects_threshold=6,
                fill_holes_threshold=9,
                label_erosion=1,
            ),
            WatershedParameters(
                radius=3,
                maxima_threshold=0.1,
                interior_threshold=0.2,
                maxima_algorithm="peak_local_max",
                exclude_border=2,
            ),
        ),
    ),
    "voronoi_otsu": Example(
        _intensity_maps,
        (
            VoronoiOtsuParameters(spot_sigma=2, outline_sigma=1),
            VoronoiOtsuParameters(
                spot_sigma=1.3,
                outline_sigma=0.7,
                small_objects_threshold=6,
            ),
            VoronoiOtsuParameters(spot_sigma=2, outline_sigma=0.5, rule="clesperanto"),
        ),
    ),
    "stardist": Example(
        _stardist_maps,
        (
            StarDistParameters(prob_threshold=0.6),
            StarDistParameters(prob_threshold=0.7, nms_threshold=0.1, border=0),
        ),
        _flat_stardist_maps,
    ),
    "cellpose": Example(
        _cellpose_maps,
        (
            CellposeParameters(min_size=8),
            CellposeParameters(
                flow_threshold=0.3,
                cellprob_threshold=-1.0,
                niter=37,
                min_size=12,
                max_size_fraction=0.1,
                rule="reference",
                stitch_threshold=0.3,
            ),
        ),
        _flat_cellpose_maps,
    ),
    "probability_watershed": Example(
        _probability_maps,
        (
            ProbabilityWatershedParameters(small_objects_threshold=0),
            ProbabilityWatershedParameters(
                threshold=0.4,
                seed_smooth=0.6,
                distance_height=0.3,
                largest_radius=4,
                small_objects_threshold=6,
                fill_holes_threshold=9,
            ),
            ProbabilityWatershedParameters(
                seeds="probability",
                seed_smooth=0.5,
                probability_height=0.03,
                small_objects_threshold=4,
            ),
        ),
    ),
    "toy": Example(
        _toy_maps,
        (
            toy.ToyParameters(level=0.2),
            toy.ToyParameters(level=0.25, smallest=4, diagonal=True),
        ),
    ),
}
