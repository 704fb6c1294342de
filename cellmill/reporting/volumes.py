"""A volume as a report shows it: seen along Z, cut along its axes, and plane by plane.

The page's viewer shows the brightest voxel along Z and the brightest object, so that its
measurements can be pointed at. Cuts and planes show what lies behind each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cellmill.arrays.windows import Windowed
from cellmill.reporting.cells import with_truth
from cellmill.reporting.display import Shown, compose, reduction, shown_channels
from cellmill.reporting.overlay import draw_outlines
from cellmill.reporting.pictures import encode_jpeg, encode_png, uri_of
from cellmill.reporting.subject import Subject, VolumeView

#: So many planes are shown, evenly taken, each within a side in px.
MOST_PLANES = 32
_SIDE = 480
#: What is smaller is shown enlarged by a whole factor, up to about this side.
_LEAST_SIDE = 440
_GAP, _GREY = 6, 96
_QUALITY = 85


def seen_along_z(subject: Subject) -> Subject:
    """A subject of a volume as one of its projection, with its cuts and planes.

    Args:
        subject: of `(Z, Y, X, C)` and label volumes `(Z, Y, X)`.
    """
    image, mpp = subject.image, subject.mpp
    channels = shown_channels(subject.segmentation_channels, image.shape[-1])
    bright = channels[0] if channels else 0
    tables = {
        kind: with_truth(table, subject.labels[kind], subject.truth[kind])
        if kind in subject.truth
        else table
        for kind, table in subject.measurements.items()
    }
    return replace(
        subject,
        image=project(image),
        labels={k: project_labels(v, image, bright) for k, v in subject.labels.items()},
        truth={k: project_labels(v, image, bright) for k, v in subject.truth.items()},
        measurements=tables,
        mpp=mpp[1:] if mpp else None,
        scale=subject.scale[-2:],
        volume=view_volume(image, subject.labels, channels, mpp),
    )


def project(image: Windowed) -> np.ndarray:
    """The brightest voxel along Z of each channel, `(Y, X, C)`; read plane by plane.

    Args:
        image: `(Z, Y, X, C)`.
    """
    found = np.array(image[0])
    for z in range(1, image.shape[0]):
        np.maximum(found, image[z], out=found)
    return found


def project_labels(labels: Windowed, image: Windowed, channel: int) -> np.ndarray:
    """Of the objects along Z the one that is brightest on average, `(Y, X)`; read plane by plane.

    What lies behind each other is so parted by whole objects. Of the brightest voxel alone noise
    would decide, where two are equally bright.

    Args:
        labels: `(Z, Y, X)`.
        image: `(Z, Y, X, C)`.
        channel: whose brightness counts; of equals the smaller number is seen.
    """
    numbers, means = _mean_brightness(labels, image, channel)
    found = np.zeros_like(np.asarray(labels[0]))
    most = np.full(found.shape, -np.inf)
    for z in range(labels.shape[0]):
        plane = np.asarray(labels[z])
        there = plane > 0
        numbered = plane[there]
        mean = means[np.searchsorted(numbers, numbered)]
        seen, so_far = found[there], most[there]
        better = (mean > so_far) | ((mean == so_far) & (numbered < seen))
        found[there] = np.where(better, numbered, seen)
        most[there] = np.where(better, mean, so_far)
    return found


def _mean_brightness(
    labels: Windowed, image: Windowed, channel: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of all objects, ascending, and the mean of a channel in each."""
    sums: dict[int, float] = defaultdict(float)
    counts: dict[int, int] = defaultdict(int)
    for z in range(labels.shape[0]):
        plane = np.asarray(labels[z])
        there = plane > 0
        numbers, places, voxels = np.unique(plane[there], return_inverse=True, return_counts=True)
        light = np.bincount(places, weights=np.asarray(image[z][..., channel])[there])
        for number, total, count in zip(numbers.tolist(), light, voxels, strict=True):
            sums[number] += total
            counts[number] += count
    numbers = np.array(sorted(sums), np.int64)
    return numbers, np.array([sums[number] / counts[number] for number in numbers.tolist()])


def view_volume(
    image: Windowed,
    labels: Mapping[str, Windowed],
    channels: Sequence[int],
    mpp: tuple[float, ...] | None,
) -> VolumeView:
    """Draw a volume's cuts and planes; what is held does not grow with its depth.

    Args:
        image: `(Z, Y, X, C)`.
        labels: `(Z, Y, X)` by compartment.
        channels: indices into C to show.
        mpp: voxel size (z, y, x) in microns, None where unknown.
    """
    shape = tuple(int(side) for side in image.shape[:3])
    places = np.unique(np.linspace(0, shape[0] - 1, MOST_PLANES).round().astype(int))
    centre = (shape[0] // 2, shape[1] // 2, shape[2] // 2)
    return VolumeView(
        shape=(shape[0], shape[1], shape[2]),
        mpp=mpp,
        centre=centre,
        cuts=uri_of(encode_png(draw_cuts(image, labels, channels, mpp)), "png"),
        places=tuple(int(z) for z in places),
        planes=tuple(
            uri_of(encode_jpeg(picture, _QUALITY), "jpeg")
            for picture in draw_planes(image, labels, channels, places)
        ),
    )


def draw_planes(
    image: Windowed,
    labels: Mapping[str, Windowed],
    channels: Sequence[int],
    places: Sequence[int] | np.ndarray,
) -> list[np.ndarray]:
    """Draw planes of a volume with outlines, all by one contrast, as uint8 RGB."""
    side = slice(None, None, reduction(image.shape[1:3], _SIDE))
    pixels = [np.asarray(image[z])[side, side][..., list(channels)] for z in places]
    height, width = pixels[0].shape[:2]
    times = _times(height, width)
    base = compose(np.concatenate(pixels).astype(np.float32))
    pictures = []
    for row, z in enumerate(places):
        shown = {name: np.asarray(array[z])[side, side] for name, array in labels.items()}
        own = base[row * height : (row + 1) * height]
        pictures.append(_outlined(own, shown, times))
    return pictures


def draw_cuts(
    image: Windowed,
    labels: Mapping[str, Windowed],
    channels: Sequence[int],
    mpp: tuple[float, ...] | None,
) -> np.ndarray:
    """Draw three cuts through the centre with outlines, in proportion, as uint8 RGB.

    The plane is at the top left, the cut along X and Z below it, the one along Y and Z to its
    right. Where the voxel size is unknown voxels are shown as cubes.
    """
    cuts = Cuts.of(image.shape, mpp)
    plane = np.asarray(image[image.shape[0] // 2])
    middle = float(np.median(plane[..., channels[0]])) if channels else 0.0
    pixels = cuts.arranged(image, middle)[..., list(channels)].astype(np.float32)
    shown = {name: cuts.arranged(array, 0).astype(np.int64) for name, array in labels.items()}
    picture = _outlined(compose(pixels), shown, cuts.times)
    cuts.part(picture)
    return picture


@dataclass(frozen=True)
class Cuts:
    """How three cuts through a volume's centre lie in one picture, in proportion.

    Args:
        shape: of the volume, Z, Y and X.
        factor: by how much planes are reduced.
        rows: of each row of the cuts along Z its plane.
    """

    shape: tuple[int, ...]
    factor: int
    rows: np.ndarray

    @classmethod
    def of(cls, shape: Sequence[int], mpp: tuple[float, ...] | None) -> Cuts:
        """Of a volume `(Z, Y, X, …)`, with its voxel size; where that is unknown as of cubes."""
        factor, depth = reduction(shape[1:3], _SIDE), shape[0]
        tall = (mpp[0] / mpp[2] if mpp else 1.0) / factor
        count = max(1, round(depth * tall))
        rows = np.minimum(((np.arange(count) + 0.5) * depth / count).astype(int), depth - 1)
        return cls(tuple(shape[:3]), factor, rows)

    @property
    def times(self) -> int:
        """By how many times the picture is to be enlarged."""
        high, wide = self._sides
        more = _GAP + len(self.rows)
        return _times(high + more, wide + more)

    @property
    def _sides(self) -> tuple[int, int]:
        return -(-self.shape[1] // self.factor), -(-self.shape[2] // self.factor)

    def arranged(self, volume: Windowed, fill: float) -> np.ndarray:
        """Lay the cuts of a volume out, `fill` between them."""
        z, y, x = (side // 2 for side in self.shape)
        step = slice(None, None, self.factor)
        face = np.asarray(volume[z])[step, step]
        # Of a store, what lies around a cut is decoded with it: of one plane at a time.
        places, at = np.unique(self.rows, return_inverse=True)
        below = np.stack([np.asarray(volume[int(z), y])[step] for z in places])[at]
        beside = np.stack([np.asarray(volume[int(z), :, x])[step] for z in places], axis=1)[:, at]
        (high, wide), count = self._sides, len(self.rows)
        canvas = np.full((high + _GAP + count, wide + _GAP + count, *face.shape[2:]), fill)
        canvas[:high, :wide] = face
        canvas[high + _GAP :, :wide] = below
        canvas[:high, wide + _GAP :] = beside
        return canvas

    def part(self, picture: np.ndarray) -> None:
        """Draw what parts the cuts, and where the others lie in the plane, in an enlarged one."""
        high, wide = (side * self.times for side in self._sides)
        gap = _GAP * self.times
        picture[high : high + gap] = _GREY
        picture[:, wide : wide + gap] = _GREY
        picture[high:, wide:] = _GREY
        y, x = (side // 2 // self.factor * self.times for side in self.shape[1:])
        picture[y, :wide:8] = picture[:high:8, x] = 255


def enlarged(array: np.ndarray, times: int) -> np.ndarray:
    """A picture `(Y, X, …)` with each pixel so many times as wide and high."""
    return array.repeat(times, axis=0).repeat(times, axis=1)


def _times(height: int, width: int) -> int:
    """By how many times a small picture is enlarged."""
    return max(1, round(_LEAST_SIDE / max(height, width)))


def _outlined(base: np.ndarray, labels: Mapping[str, np.ndarray], times: int) -> np.ndarray:
    many = {name: enlarged(each, times) for name, each in labels.items()}
    return draw_outlines(Shown(1, enlarged(base, times), many))
