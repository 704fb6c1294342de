"""Making many pictures of one: geometry, microscope and stain, at random.

Every function takes the random generator, so that a seed fixes the whole run.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_GLOW = 4.0
"""How far outside an object, in pixels, its own light outshines the background."""

_CELL_REACH = (0.3, 2.5)
"""How far cytoplasm reaches beyond its nucleus, least and most, in radii of it."""

_GROUND = 12.0
"""σ in pixels over which the background between objects is taken to be even."""


@dataclass(frozen=True)
class Augmentation:
    """Over which range training pictures vary; the card's claims rest on it.

    Brightness is relative to what normalisation makes 1, the brightest of an image: a field with a
    few very bright objects leaves the others at a few hundredths.

    Args:
        scale: least and greatest zoom, log-uniform.
        gamma: least and greatest exponent of brightness, log-uniform.
        gain: least and greatest factor of brightness, log-uniform.
        offset: greatest shift of black, either way, before the gain.
        noise: least and greatest σ of noise before the gain, log-uniform; of one height everywhere,
            or growing with the root of the light, as photons' does.
        blur: greatest σ of a Gaussian blur, in pixels.
        haze: greatest height of smooth haze (uneven background, out-of-focus light, cytoplasm).
        saturation: least brightness at which a saturated picture is cut off; what is left is
            stretched to 1.
        greys: least number of grey values from black to 1 of a picture of few.
        crowding: part of the crops in which objects are set beside others, touching them.
        object_gain: least and greatest factor of single objects' brightness, log-uniform: dim and
            bright ones lie side by side.
        cytoplasm: part of the crops in which nuclei get cytoplasm that takes the stain too (a
            marker that leaks, autofluorescence); 0 where the cells themselves are the objects.
        cytoplasm_light: least and greatest brightness of it beside its nucleus', log-uniform.
        condensed: part of the objects set beside others that are condensed as in mitosis; 0 where
            cells are the objects.
    """

    scale: tuple[float, float] = (0.5, 2.0)
    gamma: tuple[float, float] = (0.6, 1.7)
    gain: tuple[float, float] = (0.25, 1.6)
    offset: float = 0.08
    noise: tuple[float, float] = (0.003, 0.1)
    blur: float = 2.0
    haze: float = 0.5
    saturation: float = 0.25
    greys: float = 64
    crowding: float = 0.6
    object_gain: tuple[float, float] = (0.15, 4.0)
    cytoplasm: float = 0.5
    cytoplasm_light: tuple[float, float] = (0.03, 0.6)
    condensed: float = 0.3


def random_crop(
    image: np.ndarray,
    label_images: list[np.ndarray],
    size: int,
    random: np.random.Generator,
    ranges: Augmentation,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Cut a square at a random place, angle, zoom and handedness.

    Args:
        image: `(Y, X, C)` float32; beyond its border it is mirrored.
        label_images: `(Y, X)` int32 each, resampled by nearest neighbour.
        size: side of the square in pixels.
        random: source of chance.
        ranges: `scale` is used.

    Returns:
        The image `(size, size, C)` float32 and the label images `(size, size)` int32.
    """
    warp = random_warp(label_images[0], size, random, ranges)
    return warp.picture(image), [warp.labels(each) for each in label_images]


@dataclass(frozen=True)
class Warp:
    """A square of a plane at some place, angle, zoom and handedness.

    Args:
        to_source: affine, `(2, 3)`, from the square's (x, y) to the plane's.
        size: side of the square in pixels.
        scale: zoom.
    """

    to_source: np.ndarray
    size: int
    scale: float

    def picture(self, image: np.ndarray) -> np.ndarray:
        """Of a plane `(Y, X, C)` the square `(size, size, C)`; beyond the border it is mirrored."""
        # Zooming out by linear interpolation alone would alias.
        small = self.scale < 0.8
        source = cv2.GaussianBlur(image, (0, 0), 0.5 / self.scale) if small else image
        found = self._warped(source, cv2.INTER_LINEAR)
        return found.reshape(self.size, self.size, image.shape[2])

    def labels(self, labels: np.ndarray) -> np.ndarray:
        """Of a label image `(Y, X)` the square, int32, by nearest neighbour."""
        found = self._warped(_as_cv(labels), cv2.INTER_NEAREST)
        whole: np.ndarray = np.rint(found).astype(np.int32)
        return whole

    def _warped(self, array: np.ndarray, interpolation: int) -> np.ndarray:
        return cv2.warpAffine(
            array,
            self.to_source,
            (self.size, self.size),
            flags=interpolation | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )


def random_warp(
    labels: np.ndarray, size: int, random: np.random.Generator, ranges: Augmentation
) -> Warp:
    """Draw a square of a plane, rather where objects are.

    Args:
        labels: `(Y, X)` integer, 0 is background.
        size: side of the square in pixels.
        random: source of chance.
        ranges: `scale` is used.
    """
    scale = _log_uniform(random, ranges.scale)
    angle = random.uniform(0, 2 * np.pi) if random.random() < 0.5 else 0.0
    angle += random.integers(4) * np.pi / 2
    flip = -1.0 if random.random() < 0.5 else 1.0
    centre = _crowded_centre(labels, size / scale, random)
    c, s = np.cos(angle) / scale, np.sin(angle) / scale
    to_source = np.array([[c * flip, -s, 0.0], [s * flip, c, 0.0]])
    to_source[:, 2] = np.array(centre[::-1]) - to_source[:, :2] @ np.full(2, (size - 1) / 2)
    return Warp(to_source, size, scale)


def vary_objects(
    picture: np.ndarray, labels: np.ndarray, random: np.random.Generator, ranges: Augmentation
) -> np.ndarray:
    """Make single objects dimmer or brighter than they are.

    Args:
        picture: `(Y, X, C)` float32, background about 0.
        labels: `(Y, X)` int32, 0 is background.
        random: source of chance.
        ranges: `object_gain` is used.

    Returns:
        `(Y, X, C)` float32.
    """
    if not labels.any():
        return picture
    gap, owner, areas = _nearest_object(labels)
    low, high = np.log(ranges.object_gain)
    gains = np.exp(random.uniform(low, high, len(areas))).astype(np.float32)
    # An object's light reaches beyond its outline, and fades.
    reach = np.exp(-((gap / _GLOW) ** 2))[..., None]
    field = 1 + (gains[owner][..., None] - 1) * reach
    ground = _background(picture, gap > 2 * _GLOW)
    return ground + (picture - ground) * cv2.GaussianBlur(field, (0, 0), 0.7)[..., None]


def add_cytoplasm(
    picture: np.ndarray, labels: np.ndarray, random: np.random.Generator, ranges: Augmentation
) -> np.ndarray:
    """Surround some nuclei by cytoplasm: dimmer, of any outline, granular, fading outwards.

    Args:
        picture: `(Y, X, C)` float32, background about 0.
        labels: `(Y, X)` int32 nuclei, 0 is background.
        random: source of chance.
        ranges: `cytoplasm_light` is used.

    Returns:
        `(Y, X, C)` float32.
    """
    if not labels.any():
        return picture
    gap, owner, areas = _nearest_object(labels)
    count = len(areas)
    low, high = _CELL_REACH
    # How far each nucleus' cell reaches, and how bright it is beside the nucleus.
    reach = np.sqrt(areas / np.pi) * np.exp(random.uniform(np.log(low), np.log(high), count))
    share = _log_uniform(random, ranges.cytoplasm_light) * np.exp(random.uniform(-0.5, 0.5, count))
    share *= random.random(count) < random.uniform(0.3, 1)
    outline = _field(random, labels.shape, int(random.integers(5, 25)), 0.3, 1.7)
    part = gap / np.maximum(reach[owner] * outline, 1)
    fading = np.where(part < 1, 1 - random.uniform(0, 0.8) * part, 0).astype(np.float32)
    cell: np.ndarray = cv2.GaussianBlur(fading, (0, 0), random.uniform(0.7, 3))
    noise = random.standard_normal(labels.shape, np.float32)
    grain: np.ndarray = cv2.GaussianBlur(noise, (0, 0), random.uniform(0.8, 4))
    cell *= np.clip(1 + grain * random.uniform(0, 0.6) / max(float(grain.std()), 1e-6), 0, None)
    inside = labels > 0
    # A nucleus keeps its light, or the cytoplasm above and below it adds to it.
    if random.random() < 0.5:
        cell *= 1 - cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 0.8)
    varied = picture.copy()
    for channel in range(picture.shape[2]):
        light = np.bincount(owner[inside], varied[inside, channel]) / areas
        varied[..., channel] += cell * (np.clip(light, 0, None) * share)[owner]
    return varied


def _nearest_object(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How far each pixel is from an object, the place of the nearest one, and all their areas.

    Places count the objects from 0 by their labels, however large those are.
    """
    inside = labels > 0
    gap, nearest = cv2.distanceTransformWithLabels(
        (~inside).astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    _, places = np.unique(labels[inside], return_inverse=True)
    # Labels of the transform number the objects' pixels.
    owner = np.zeros(int(nearest.max()) + 1, np.int32)
    owner[nearest[inside]] = places
    return gap, owner[nearest], np.bincount(places)


def _background(picture: np.ndarray, free: np.ndarray) -> np.ndarray:
    """The light between objects, smooth: the mean of what is near and free of objects, or 0."""
    weights = cv2.GaussianBlur(free.astype(np.float32), (0, 0), _GROUND)[..., None]
    light = cv2.GaussianBlur(picture * free[..., None], (0, 0), _GROUND).reshape(picture.shape)
    return light / np.maximum(weights, 0.02)


def vary_picture(
    picture: np.ndarray, random: np.random.Generator, ranges: Augmentation
) -> np.ndarray:
    """Vary brightness, contrast, haze, sharpness and noise.

    Args:
        picture: `(Y, X, C)` float32, background about 0, bright objects about 1.
        random: source of chance.
        ranges: how far.

    Returns:
        `(Y, X, C)` float32.
    """
    varied = picture.copy()
    for channel in range(picture.shape[2]):
        plane = varied[..., channel]
        if random.random() < 0.7:
            gamma = _log_uniform(random, ranges.gamma)
            plane = np.sign(plane) * np.abs(plane) ** gamma
        if random.random() < 0.5:
            plane = plane * _field(random, plane.shape, 2, 0.6, 1.6)
        if random.random() < 0.4:
            plane = plane + random.uniform(0, ranges.haze) * _haze(random, plane)
        if random.random() < 0.3:
            plane = cv2.GaussianBlur(plane, (0, 0), random.uniform(0.3, ranges.blur))
        if random.random() < 0.2:
            plane = _saturated(plane, random.uniform(ranges.saturation, 1))
        if random.random() < 0.6:
            plane = plane + _noise(random, plane, _log_uniform(random, ranges.noise))
        plane = plane + random.uniform(-ranges.offset, ranges.offset)
        plane = plane * _log_uniform(random, ranges.gain)
        if random.random() < 0.3:
            greys = _log_uniform(random, (ranges.greys, 255))
            plane = np.rint(plane * greys) / greys
        varied[..., channel] = plane
    return varied.astype(np.float32)


def vary_light(volume: np.ndarray, random: np.random.Generator, ranges: Augmentation) -> np.ndarray:
    """Vary brightness, contrast and noise of a volume, alike in all planes.

    Args:
        volume: `(Z, Y, X, C)` float32, background about 0, bright objects about 1.
        random: source of chance.
        ranges: `gamma`, `noise`, `offset` and `gain` are used.

    Returns:
        `(Z, Y, X, C)` float32.
    """
    varied = volume.copy()
    for channel in range(volume.shape[-1]):
        light = varied[..., channel]
        if random.random() < 0.5:
            light = np.sign(light) * np.abs(light) ** _log_uniform(random, ranges.gamma)
        if random.random() < 0.6:
            light = light + _noise(random, light, _log_uniform(random, ranges.noise))
        light = light + random.uniform(-ranges.offset, ranges.offset)
        varied[..., channel] = light * _log_uniform(random, ranges.gain)
    return varied.astype(np.float32)


def _noise(random: np.random.Generator, plane: np.ndarray, sigma: float) -> np.ndarray:
    grain = sigma * random.standard_normal(plane.shape, np.float32)
    return grain * np.sqrt(np.clip(plane, 0.02, None)) if random.random() < 0.5 else grain


def _saturated(plane: np.ndarray, most: float) -> np.ndarray:
    """What a detector makes of a plane whose brightest parts are beyond its range."""
    return np.minimum(plane, most) / most


def _haze(random: np.random.Generator, plane: np.ndarray) -> np.ndarray:
    """A smooth field of 0 to 1: patches of any size, or light spread around what is bright."""
    if random.random() < 0.5:
        return _field(random, plane.shape, int(random.integers(2, 9)), 0.0, 1.0)
    sigma = random.uniform(4, 16)
    glow = cv2.GaussianBlur(np.clip(plane, 0, 1), (0, 0), sigma)
    # Cytoplasm is granular: the glow is broken up by a finer field.
    texture = _field(random, plane.shape, int(random.integers(8, 33)), 0.3, 1.0)
    return glow / max(float(glow.max()), 1e-6) * texture


def _field(
    random: np.random.Generator, shape: tuple[int, ...], nodes: int, low: float, high: float
) -> np.ndarray:
    """Random values on a `nodes`×`nodes` grid, drawn out to `shape` smoothly."""
    grid = random.uniform(low, high, (nodes, nodes)).astype(np.float32)
    field = cv2.resize(grid, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return np.clip(field, low, high)


def _log_uniform(random: np.random.Generator, bounds: tuple[float, float]) -> float:
    return float(np.exp(random.uniform(np.log(bounds[0]), np.log(bounds[1]))))


def _crowded_centre(labels: np.ndarray, wanted: float, random: np.random.Generator) -> list[float]:
    """The centre of a square of side `wanted` that, more often than not, has objects in it.

    The most crowded of three random places, one time in four just the first: images are mostly
    background, from which little is learnt.
    """
    # Places are drawn such that the square lies inside where the image is large enough.
    margins = [min(wanted, side) / 2 for side in labels.shape]
    sides = zip(margins, labels.shape, strict=True)
    places = np.column_stack([random.uniform(m, side - m, 3) for m, side in sides])
    half = max(int(wanted / 2), 1)

    def crowd(y: int, x: int) -> int:
        window = labels[max(y - half, 0) : y + half : 4, max(x - half, 0) : x + half : 4]
        return int(np.count_nonzero(window))

    if random.random() < 0.25:
        return [float(v) for v in places[0]]
    return [float(v) for v in places[int(np.argmax([crowd(int(y), int(x)) for y, x in places]))]]


def _as_cv(labels: np.ndarray) -> np.ndarray:
    # OpenCV warps no int32; float64 holds every int32 exactly, and nearest neighbour keeps it.
    return labels.astype(np.float64)
