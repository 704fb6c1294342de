"""The two passes over an image: over its labels alone, then over labels and pixels.

The first finds all objects and their extent; so the second knows the row of every object in the
table, and when the ring of local background around one is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import zip_longest

import numpy as np
import numpy.typing as npt

from cellmill.arrays.rows import Band, RowReader, read_windows, row_bands
from cellmill.arrays.windows import Windowed
from cellmill.compute.threads import in_threads, thread_count
from cellmill.errors import BadInput
from cellmill.labels.grouping import RunningSum
from cellmill.labels.pairs import LabelPairs, add_pairs, pair_rows, table_rows
from cellmill.labels.runs import parts
from cellmill.measurement.background import ChannelRings, RingFront, find_rings
from cellmill.measurement.intensities import ChannelSums, Intensities, join_channels
from cellmill.measurement.numbering import number_objects
from cellmill.measurement.regions import Regions, add_regions, sum_regions

LABEL_BITS = 40


def sum_objects(
    labels: Sequence[Windowed], memory_mib: float, paired: tuple[int, int] | None = None
) -> tuple[list[Regions], LabelPairs | None]:
    """Sum up the objects of each label image; pair those of two.

    Args:
        labels: label images of one shape, `(Y, X)`.
        memory_mib: what this may take beside the tables of objects.
        paired: which of them show whole cells and nuclei; none where there are not both.

    Returns:
        The objects of each, and the overlaps of nuclei (as `truth`) and cells (as `predicted`).

    Raises:
        BadInput: a label is out of range.
    """
    bands = row_bands(
        (labels[0].shape[0], labels[0].shape[1]),
        bytes_per_pixel=sum(2 * each.dtype.itemsize + 16 for each in labels),
        memory_mib=memory_mib,
        halo=2,
    )
    readers = [RowReader(each) for each in labels]
    regions: list[RunningSum[Regions]] = [RunningSum(add_regions, len) for _ in labels]
    pairs = RunningSum(add_pairs, table_rows)

    def work(
        windows: Sequence[npt.NDArray], top: int, rows: slice
    ) -> tuple[list[Regions], LabelPairs | None]:
        shapes = [sum_regions(each, rows, origin=(top + rows.start, 0)) for each in windows]
        if paired is None:
            return shapes, None
        cells, nuclei = (windows[place] for place in paired)
        return shapes, pair_rows(nuclei, cells, (top, 0), rows)

    for band, following in zip_longest(bands, bands[1:]):
        windows = read_windows(readers, band, following)
        for window in windows:
            check_values(window)
        rows = parts(band.inner, labels[0].shape[1], least=8)
        for shapes, pair in in_threads(partial(work, windows, band.window.start), rows):
            for sums, shape in zip(regions, shapes, strict=True):
                sums.add(shape)
            if pair is not None:
                pairs.add(pair)
    return [sums.total() for sums in regions], pairs.total() if paired else None


def sum_channels(
    labels: Sequence[Windowed],
    image: Windowed,
    regions: Sequence[Regions],
    ring: tuple[int, int],
    memory_mib: float,
) -> tuple[list[Intensities], list[npt.NDArray[np.float64]]]:
    """Sum up the channels over the objects, and take the medians of their rings.

    Args:
        labels: label images of one shape, `(Y, X)`.
        image: `(Y, X, C)`.
        regions: the objects of each label image.
        ring: inner and outer radius of the ring of local background, in pixels.
        memory_mib: what this may take beside the tables of objects.

    Returns:
        For each label image its objects' intensities and medians `(N, C)`, NaN without a ring.
    """
    height, width, n_channels = image.shape
    dtype = np.dtype(np.uint8) if image.dtype == bool else image.dtype.newbyteorder("=")
    side_by_side = min(thread_count(), max(n_channels, 1))
    pixel_bytes = (3 * side_by_side + n_channels * len(labels)) * dtype.itemsize
    bands = row_bands(
        (height, width),
        bytes_per_pixel=pixel_bytes + sum(2 * each.dtype.itemsize + 20 for each in labels),
        memory_mib=memory_mib,
        halo=ring[1],
    )
    label_readers = [RowReader(each) for each in labels]
    image_readers = [RowReader(image, channel) for channel in range(n_channels)]
    objects = [_Objects(each, ring, n_channels, dtype) for each in regions]
    for band, following in zip_longest(bands, bands[1:]):
        windows = read_windows(label_readers, band, following)
        for each, window in zip(objects, windows, strict=True):
            each.number(window, band)
        free = np.logical_and.reduce([each.is_free(band) for each in objects])
        for each in objects:
            each.find_rings(free, band, is_last=following is None)
        for first in range(0, n_channels, side_by_side):
            readers = image_readers[first : first + side_by_side]
            jobs: list[Callable[[], None]] = []
            for at, pixels in enumerate(read_windows(readers, band, following), first):
                own = pixels[band.inner].reshape(-1).view(dtype)
                jobs += [job for each in objects for job in each.jobs(at, own)]
            in_threads(lambda job: job(), jobs)
    return [each.intensities() for each in objects], [each.medians.T for each in objects]


class _Objects:
    """What is known of the objects of one label image on the way down the image."""

    def __init__(
        self, regions: Regions, ring: tuple[int, int], n_channels: int, dtype: np.dtype
    ) -> None:
        count = len(regions.labels)
        self.medians = np.full((n_channels, count), np.nan)
        self._regions = regions
        self._ring = ring
        self._front = RingFront(regions.boxes[:, 2] + ring[1], dtype)
        self._rings = [ChannelRings(row, dtype) for row in self.medians]
        self._sums = [ChannelSums(count, dtype) for _ in range(n_channels)]

    def number(self, window: npt.NDArray, band: Band) -> None:
        self._shown = number_objects(window, self._regions, band.inner)

    def is_free(self, band: Band) -> npt.NDArray[np.bool_]:
        return self._shown.ranks[band.inner] == 0

    def find_rings(self, free: npt.NDArray[np.bool_], band: Band, *, is_last: bool) -> None:
        rings = find_rings(self._shown.ranks, free, band.inner, self._shown.objects, self._ring)
        # No row comes after the last: what is beyond the image is out of every ring.
        next_row = band.rows.stop + self._ring[1] if is_last else band.rows.stop
        self._joining = self._front.advance(rings, next_row)

    def jobs(self, channel: int, pixels: npt.NDArray) -> list[Callable[[], None]]:
        shown = self._shown
        return [
            partial(self._sums[channel].add, pixels, shown.runs_of, shown.starts, shown.lengths),
            partial(self._rings[channel].add, self._joining, pixels),
        ]

    def intensities(self) -> Intensities:
        return join_channels(self._sums, self._regions.areas)


def check_values(labels: npt.NDArray) -> None:
    """Refuse labels that are out of range, by BadInput."""
    low, high = labels.min(), labels.max()
    if low < 0 or high >= 1 << LABEL_BITS:
        raise BadInput(
            "the labels to measure",
            expected=f"values from 0 to 2^{LABEL_BITS}-1",
            found=f"{low if low < 0 else high}",
        )
