"""Maps as a network gives them, made from real masks: mosaics of any size."""

from __future__ import annotations

import functools

import numpy as np
import tifffile
from scipy import ndimage
from skimage.segmentation import expand_labels

from cellmill.datasets.samples import mnfinder, sample_image
from cellmill.segmentation.stardist.rays import golden_spiral

_BLOCK = 512
#: Nuclei grow by so many pixels into whole cells that touch where they are crowded.
_CYTOPLASM = 8
_NOISE = 0.01


@functools.cache
def real_masks() -> tuple[np.ndarray, ...]:
    """Nuclei of stardist's sample and of mnfinder's training split, at least 512 pixels a side."""
    paths = [sample_image()[1], *(sample.nuclei for sample in mnfinder("training"))]
    masks = [tifffile.imread(path).astype(np.int32) for path in paths]
    return tuple(mask for mask in masks if min(mask.shape) >= _BLOCK)


def mosaic(side: int, seed: int = 0) -> np.ndarray:
    """Whole-cell labels, `(side, side)` int32: blocks of real masks, turned and grown.

    Half of the blocks are stardist's sample, whose nuclei are crowded.
    """
    rng = np.random.default_rng(seed)
    masks = real_masks()
    labels = np.zeros((side, side), np.int32)
    for y in range(0, side, _BLOCK):
        for x in range(0, side, _BLOCK):
            mask = masks[0] if rng.random() < 0.5 else masks[rng.integers(len(masks))]
            top, left = (rng.integers(length - _BLOCK + 1) for length in mask.shape)
            block = mask[top : top + _BLOCK, left : left + _BLOCK]
            block = np.rot90(block, int(rng.integers(4)))
            block = expand_labels(block[:: rng.choice([-1, 1])], _CYTOPLASM)
            place = labels[y : y + _BLOCK, x : x + _BLOCK]
            block = block[: place.shape[0], : place.shape[1]]
            place[:] = np.where(block, block + labels.max(), 0)
    return labels


def network_maps(labels: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Maxima (inner distance) and interior of labels, blurred and with noise; float32, 0 to 1."""
    rng = np.random.default_rng(seed)
    flat = labels.reshape(-1)
    counts = np.maximum(np.bincount(flat), 1)
    squares = np.zeros(labels.shape, np.float32)
    for axis, side in enumerate(labels.shape):
        across = (1,) * (labels.ndim - axis - 1)
        along = np.broadcast_to(
            np.arange(side, dtype=np.float32).reshape(-1, *across), labels.shape
        )
        middle = (np.bincount(flat, along.reshape(-1)) / counts).astype(np.float32)
        squares += (along - middle[labels]) ** 2
    maxima = np.where(labels > 0, 1 / (1 + np.sqrt(squares) / 4), 0).astype(np.float32)
    faces = ndimage.generate_binary_structure(labels.ndim, 1)
    inner = (ndimage.minimum_filter(labels, footprint=faces) == labels) & (labels > 0)
    maps = []
    for image, sigma in ((maxima, 1.0), (inner.astype(np.float32), 0.7)):
        blurred = ndimage.gaussian_filter(image, sigma)
        blurred += rng.normal(0, _NOISE, labels.shape).astype(np.float32)
        maps.append(np.clip(blurred, 0, 1, out=blurred))
    return maps[0], maps[1]


def star_maps(
    labels: np.ndarray, rays: int, anisotropy: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Probability `(Z, Y, X)` and distances along rays `(Z, Y, X, rays)` of a volume's labels.

    The probability is the distance to the object's edge as a part of the object's largest, float32.
    """
    probability: np.ndarray = np.zeros(labels.shape, np.float32)
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        inside = np.pad(labels[box] == label, 1)
        depth = ndimage.distance_transform_edt(inside, sampling=anisotropy)[1:-1, 1:-1, 1:-1]
        probability[box] = np.maximum(probability[box], depth / depth.max())
    places, around, filled = np.argwhere(labels), np.pad(labels, 1), labels > 0
    own, found = labels[filled], np.zeros((*labels.shape, rays), np.float32)
    most = np.array(around.shape) - 1
    for ray, step in enumerate(golden_spiral(rays, anisotropy).vertices):
        length, within = np.zeros(len(places), np.float32), np.ones(len(places), np.bool_)
        while within.any():
            length[within] += 0.5
            reached = np.rint(places + length[:, np.newaxis] * step).astype(int) + 1
            within &= around[tuple(np.clip(reached, 0, most).T)] == own
        found[filled, ray] = length
    return probability, found
