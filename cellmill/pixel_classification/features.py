"""What is known of a pixel: filters of its surroundings at several scales.

The features are those of scikit-image's `multiscale_basic_features`, with the Laplacian and the
structure tensor beside them. At each scale σ the image is blurred once, the kernel cut at
`int(4 σ + 0.5)`, and derivatives are differences of the blurred image's neighbours. Beyond its
border the image is mirrored, the border itself not repeated (scipy's mode `mirror`).

A feature of a pixel depends on nothing farther away than `FeatureSet.halo` and is summed in one
order: however an image is cut into windows with that halo, the bits are the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cellmill.arrays.finite import require_finite
from cellmill.arrays.indexing import reflected
from cellmill.compute.threads import in_threads
from cellmill.errors import BadInput
from cellmill.pixel_classification import filters
from cellmill.pixel_classification.feature_set import FeatureSet, plan_of, scales
from cellmill.pixel_classification.filters import REACH
from cellmill.pixel_classification.torch_device import pixels_on

#: Sides of the windows in which an image is worked on, and rows that are held blurred at once.
_WINDOWS: dict[int, tuple[int, ...]] = {2: (512, 512), 3: (32, 64, 128)}
_ROWS = 32


def image_features(image: np.ndarray, wanted: FeatureSet, *, device: str = "cpu") -> np.ndarray:
    """Compute the features of every pixel of an image or a volume.

    Args:
        image: `(Y, X)`, `(Y, X, C)`, `(Z, Y, X)` or `(Z, Y, X, C)`, real numbers; values are taken
            as float32.
        wanted: which features; its number of axes tells channels from planes.
        device: `cpu`; `cuda`, a GPU by torch; or `auto`, a GPU where torch finds one with room.

    Returns:
        `(F, Y, X)` or `(F, Z, Y, X)` float32, in the order of `wanted.names`.

    Raises:
        BadInput: the image has other axes or fewer channels, no numbers, NaN or infinity; or there
            is no such device.
    """
    pixels = with_channels(image, wanted)
    out = np.empty((wanted.count, *pixels.shape[:-1]), np.float32)
    if (on := pixels_on(device, wanted, window_sides(wanted))) is not None:
        for window in windows(pixels.shape[:-1]):
            every = (slice(None), *window)
            out[every] = on.features(extended(pixels, window, wanted), wanted)
        return out

    def work(window: tuple[slice, ...]) -> None:
        def put(at: tuple[slice, ...], rows: np.ndarray) -> None:
            every = (slice(None), *placed(window, at))
            derive(rows, out[every], wanted)

        blurred_rows(extended(pixels, window, wanted), wanted, put)

    in_threads(work, windows(pixels.shape[:-1]))
    return out


def features_at(image: np.ndarray, places: np.ndarray, wanted: FeatureSet) -> np.ndarray:
    """Compute the features of some pixels; windows without any are left out.

    Args:
        image: as `image_features` takes it.
        places: bool, of the image's shape without channels.
        wanted: which features.

    Returns:
        `(n, F)` float32, in raster order of the pixels.

    Raises:
        BadInput: as `image_features`.
    """
    pixels = with_channels(image, wanted)
    every = [window for window in windows(places.shape) if places[window].any()]
    numbers = np.full(places.shape, -1, np.int64)
    numbers[places] = np.arange(np.count_nonzero(places))
    found = np.empty((np.count_nonzero(places), wanted.count), np.float32)

    def work(window: tuple[slice, ...]) -> None:
        def take(at: tuple[slice, ...], rows: np.ndarray) -> None:
            part = placed(window, at)
            chosen = places[part]
            if not chosen.any():
                return
            values = np.empty((wanted.count, *chosen.shape), np.float32)
            derive(rows, values, wanted)
            found[numbers[part][chosen]] = values[:, chosen].T

        blurred_rows(extended(pixels, window, wanted), wanted, take)

    in_threads(work, every)
    return found


def with_channels(image: np.ndarray, wanted: FeatureSet) -> np.ndarray:
    """An image with an axis of channels at its end.

    Raises:
        BadInput: it has other axes or fewer channels than features ask for, is empty, has no real
            numbers, or NaN or infinity.
    """
    pixels = image[..., np.newaxis] if image.ndim == wanted.axes else image
    shown = "(Y, X" if wanted.axes == 2 else "(Z, Y, X"
    fits = pixels.ndim == wanted.axes + 1 and pixels.shape[-1] >= wanted.channels
    if not fits or pixels.dtype.kind not in "fiub" or not pixels.size:
        raise BadInput(
            "image",
            expected=f"real numbers {shown}) or {shown}, C) of {wanted.channels} channel(s)",
            found=f"{image.dtype} {image.shape}",
        )
    require_finite(pixels)
    return pixels


def windows(shape: Sequence[int]) -> list[tuple[slice, ...]]:
    """Cut an image or a volume into the windows in which it is worked on."""
    sides = _WINDOWS[len(shape)]
    starts = [range(0, whole, side) for whole, side in zip(shape, sides, strict=True)]
    return [
        tuple(
            slice(start, min(start + side, whole))
            for start, side, whole in zip(corner, sides, shape, strict=True)
        )
        for corner in itertools.product(*starts)
    ]


def window_sides(wanted: FeatureSet) -> tuple[int, ...]:
    """The sides of a window, at most."""
    return _WINDOWS[wanted.axes]


def extended(image: np.ndarray, window: tuple[slice, ...], wanted: FeatureSet) -> np.ndarray:
    """A window of an image with the halo of its features, mirrored beyond the image's border.

    Returns:
        `(C, …)` float32, contiguous.
    """
    places = []
    for part, far, side in zip(window, wanted.halo, image.shape[:-1], strict=True):
        places.append(reflected(np.arange(part.start - far, part.stop + far), side))
    inner = tuple(slice(each.min(), each.max() + 1) for each in places)
    pixels = np.moveaxis(np.asarray(image[inner], np.float32), -1, 0)
    for axis, each in enumerate(places, 1):
        at = each - each.min()
        if len(at) != pixels.shape[axis] or (np.diff(at) != 1).any():
            pixels = pixels.take(at, axis)
    return np.ascontiguousarray(pixels)


#: Called with where some rows lie in a window, and their blurred images with `REACH` around them:
#: `(J, rows, X)`, of a volume `(J, Z, rows, X)`.
Take = Callable[[tuple[slice, ...], np.ndarray], None]


def blurred_rows(window: np.ndarray, wanted: FeatureSet, take: Take) -> None:
    """Blur a window at every scale, some rows at a time.

    Args:
        window: `(C, …)` float32, as `extended` gives it.
        wanted: which features.
        take: is given the blurred rows; they are overwritten afterwards.
    """
    jobs = list(_blurs(window, wanted))
    high, wide = (
        side - 2 * far for side, far in zip(window.shape[-2:], wanted.halo[-2:], strict=True)
    )
    if wanted.axes == 2:
        rows = np.empty((len(jobs), _ROWS + 2 * REACH, wide + 2 * REACH), np.float32)
        line = np.empty(window.shape[-1], np.float32)
        for y in range(0, high, _ROWS):
            count = min(_ROWS, high - y)
            for job, out in zip(jobs, rows, strict=True):
                job.rows(y, out[: count + 2 * REACH], line)
            take((slice(y, y + count), slice(0, wide)), rows[:, : count + 2 * REACH])
        return
    whole = np.stack([job.planes() for job in jobs])
    take(tuple(slice(0, side - 2 * REACH) for side in whole.shape[1:]), whole)


@dataclass(frozen=True)
class _Blur:
    """One blur of one source.

    Args:
        source: `(Z, Y, X)` float32; an image is one plane.
        weights: along each axis.
        margins: pixels along each axis by which the source is larger than what is wanted, on each
            side.
    """

    source: np.ndarray
    weights: tuple[np.ndarray, ...]
    margins: tuple[int, ...]

    def rows(self, y: int, out: np.ndarray, line: np.ndarray) -> None:
        """Blur rows of an image, from row `y` on, with `REACH` around them."""
        top, left = self.margins
        filters.blur_rows(
            self.source[0], self.weights[-1], left - REACH, top - REACH + y, out, line
        )

    def planes(self, around: int = REACH) -> np.ndarray:
        """Blur all that is wanted of a source, and so much around it: `(Z, Y, X)`."""
        source, axes = self.source, len(self.margins)
        sides = [
            side - 2 * (margin - around)
            for side, margin in zip(source.shape[-axes:], self.margins, strict=True)
        ]
        if axes == 3:
            along = np.empty((sides[0], *source.shape[1:]), np.float32)
            filters.blur_planes(source, self.weights[0], self.margins[0] - around, along)
            source = along
        top, left = self.margins[-2] - around, self.margins[-1] - around
        out = np.empty((len(source), *sides[-2:]), np.float32)
        line = np.empty(source.shape[-1], np.float32)
        for plane, blurred in zip(source, out, strict=True):
            filters.blur_rows(plane, self.weights[-1], left, top, blurred, line)
        return out


def _blurs(window: np.ndarray, wanted: FeatureSet) -> Iterator[_Blur]:
    """The blurs that features are derived from, in the order that `plan_of` counts them in."""
    sources = window[:, np.newaxis] if wanted.axes == 2 else window
    for channel, sigma, tensor in scales(wanted):
        weights = wanted.weights(sigma)
        plain = _Blur(sources[channel], weights, wanted.halo)
        if not tensor:
            yield plain
            continue
        margins = tuple(radius + REACH for radius in wanted.radii(sigma))
        # The derivatives look one pixel farther than their products are wanted.
        blurred = _Blur(
            plain.source,
            weights,
            tuple(far - margin - 1 for far, margin in zip(wanted.halo, margins, strict=True)),
        ).planes(0)
        count = 3 if wanted.axes == 2 else 6
        inner = tuple(side - 2 for side in blurred.shape[-wanted.axes :])
        products = np.empty((count, *((1, *inner) if wanted.axes == 2 else inner)), np.float32)
        filters.gradient_products(blurred, np.float32(1 / wanted.z_spacing), products)
        yield from (_Blur(product, weights, margins) for product in products)


def derive(rows: np.ndarray, out: np.ndarray, wanted: FeatureSet) -> None:
    """Derive all features of blurred rows into `(F, …)`."""
    plan = plan_of(wanted)
    if wanted.axes == 2:
        filters.derive_rows(rows, plan, out)
    else:
        filters.derive_rows_of_volume(rows, plan, np.float32(1 / wanted.z_spacing), out)


def placed(window: tuple[slice, ...], at: tuple[slice, ...]) -> tuple[slice, ...]:
    """Where a part of a window lies in the image."""
    return tuple(
        slice(whole.start + part.start, whole.start + part.stop)
        for whole, part in zip(window, at, strict=True)
    )
