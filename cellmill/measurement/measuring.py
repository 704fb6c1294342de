"""Measure the objects of label images on the original pixels, in bands of rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import zip_longest

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cellmill.arrays.rows import RowReader, row_bands
from cellmill.arrays.windows import Windowed
from cellmill.compartments import COMPARTMENTS
from cellmill.compiled import in_threads, thread_count
from cellmill.errors import BadInput
from cellmill.measurement.background import LABEL_BITS, ChannelRings, RingFront, find_rings
from cellmill.measurement.compartments import join_nuclei
from cellmill.measurement.intensities import ChannelSums, Intensities, join_channels
from cellmill.measurement.numbering import number_objects
from cellmill.measurement.regions import Regions, add_regions, sum_regions
from cellmill.measurement.table import build_table, channel_suffixes, describe
from cellmill.metrics.pairs import MEMORY_MIB, LabelPairs, add_pairs, check_labels, pair_part
from cellmill.metrics.runs import parts

BACKGROUND_RING = (2, 8)


def measure_labels(
    labels: Windowed,
    image: Windowed,
    *,
    mpp: tuple[float, float] | None = None,
    channel_names: Sequence[str] = (),
    compartment: str = "whole_cell",
    background_ring: tuple[int, int] = BACKGROUND_RING,
    memory_mib: float = MEMORY_MIB,
) -> pa.Table:
    """Measure every object of one label image: `measure_compartments` with one compartment.

    Example:
        >>> table = measure_labels(np.array([[0, 3, 3]]), np.array([[[9], [4], [6]]]))
        >>> table.select(["label", "area_px", "mean_channel_0", "area_um2"]).to_pylist()
        [{'label': 3, 'area_px': 2, 'mean_channel_0': 5.0, 'area_um2': None}]
    """
    return measure_compartments(
        {compartment: labels},
        image,
        mpp=mpp,
        channel_names=channel_names,
        background_ring=background_ring,
        memory_mib=memory_mib,
    )


def measure_compartments(
    labels: Mapping[str, Windowed],
    image: Windowed,
    *,
    mpp: tuple[float, float] | None = None,
    channel_names: Sequence[str] = (),
    background_ring: tuple[int, int] = BACKGROUND_RING,
    memory_mib: float = MEMORY_MIB,
) -> pa.Table:
    """Measure every object of one or both compartments.

    The table has one row an object, first the whole cells, then the nuclei, each by label. The
    columns are described in `cellmill.measurement.table` and in the schema's own metadata. With
    both compartments nuclei name their cell and cells count their nuclei. Background pixels are
    those in no object of either compartment.

    Args:
        labels: label images `(Y, X)` by compartment: `whole_cell`, `nuclear` or both; any integer
            dtype, labels below 2^40, 0 is background.
        image: the original pixels `(Y, X, C)`, integers or floats.
        mpp: µm per pixel along y and x; None, where it is unknown, leaves µm columns null.
        channel_names: names of the C channels; missing ones are called `channel_0` and so on.
        background_ring: radii in pixels of the ring of local background, see `background`.
        memory_mib: what this may take beside the tables of objects; the results do not depend
            on it.

    Raises:
        BadInput: shapes differ, a dtype is none of these, or a radius is out of range.
    """
    for name, array in labels.items():
        _check(name, array, image)
    check_ring(background_ring)
    if mpp is not None and not (len(mpp) == 2 and min(mpp) > 0):
        raise BadInput("mpp", expected="two sizes above 0, or none", found=f"{mpp}")
    present = [name for name in COMPARTMENTS if name in labels]
    if len(present) != len(labels) or not present:
        raise BadInput(
            "the compartments",
            expected=" or ".join(COMPARTMENTS),
            found=", ".join(labels) or "none",
        )
    suffixes = channel_suffixes(channel_names, image.shape[2])
    shown = [labels[name] for name in present]
    regions, pairs = _sum_regions(shown, memory_mib)
    joined = join_nuclei(pairs) if pairs else None
    intensities, medians = _sum_channels(shown, image, regions, background_ring, memory_mib)
    tables = [
        build_table(
            *each,
            shape=(image.shape[0], image.shape[1]),
            mpp=mpp,
            channels=suffixes,
            joined=joined,
        )
        for each in zip(present, regions, intensities, medians, strict=True)
    ]
    return describe(pa.concat_tables(tables), mpp=mpp, channels=suffixes, ring=background_ring)


def check_ring(radii: tuple[int, int]) -> None:
    """Refuse radii of the background ring that leave no ring, by BadInput."""
    if not 0 <= radii[0] < radii[1] <= 1000:
        raise BadInput(
            "the background ring",
            expected="an inner radius from 0 on and a larger outer one up to 1000 px",
            found=f"{radii[0]} and {radii[1]}",
        )


def _sum_regions(
    labels: Sequence[Windowed], memory_mib: float
) -> tuple[list[Regions], LabelPairs | None]:
    """Sum up the objects of each label image, and where there are two, pair nuclei with cells."""
    itemsizes = sum(each.dtype.itemsize for each in labels)
    bands = row_bands(
        (labels[0].shape[0], labels[0].shape[1]),
        bytes_per_pixel=2 * itemsizes + 16 * len(labels),
        memory_mib=memory_mib,
        halo=2,
    )
    readers = [RowReader(each) for each in labels]
    regions: list[list[Regions]] = [[] for _ in labels]
    pairs: list[LabelPairs] = []
    for band, following in zip_longest(bands, bands[1:]):
        windows = in_threads(lambda reader: reader.read(band, following), readers)  # noqa: B023
        shift = band.window.start
        for window in windows:
            _check_values(window)

        def work(rows: slice) -> tuple[list[Regions], list[LabelPairs]]:
            origin = (shift + rows.start, 0)  # noqa: B023
            shapes = [sum_regions(each, rows, origin=origin) for each in windows]  # noqa: B023
            # Whole cells come first among the compartments; the pairs are of nuclei and cells.
            both = [each[rows] for each in reversed(windows)]  # noqa: B023
            return shapes, [pair_part(both[0], both[1], origin)] if len(both) == 2 else []

        for shapes, paired in in_threads(work, parts(band.inner, labels[0].shape[1], least=8)):
            for table, shape in zip(regions, shapes, strict=True):
                table.append(shape)
            pairs += paired
    return [add_regions(table) for table in regions], add_pairs(pairs) if pairs else None


def _sum_channels(
    labels: Sequence[Windowed],
    image: Windowed,
    regions: Sequence[Regions],
    ring: tuple[int, int],
    memory_mib: float,
) -> tuple[list[Intensities], list[npt.NDArray[np.float64]]]:
    """Sum up the channels over each image's objects, and take the medians of their rings."""
    height, width, n_channels = image.shape
    dtype = np.dtype(np.uint8) if image.dtype == bool else image.dtype.newbyteorder("=")
    side_by_side = min(thread_count(), max(n_channels, 1))
    bands = row_bands(
        (height, width),
        bytes_per_pixel=(
            sum(2 * each.dtype.itemsize + 20 for each in labels)
            + 3 * side_by_side * dtype.itemsize
            + len(labels) * n_channels * dtype.itemsize
        ),
        memory_mib=memory_mib,
        halo=ring[1],
    )
    label_readers = [RowReader(each) for each in labels]
    image_readers = [RowReader(image, channel) for channel in range(n_channels)]
    medians = [np.full((n_channels, len(each.labels)), np.nan) for each in regions]
    fronts = [RingFront(each.boxes[:, 2] + ring[1], dtype) for each in regions]
    rings = [[ChannelRings(row, dtype) for row in each] for each in medians]
    sums = [[ChannelSums(len(each.labels), dtype) for _ in image_readers] for each in regions]
    for band, following in zip_longest(bands, bands[1:]):
        windows = in_threads(lambda reader: reader.read(band, following), label_readers)  # noqa: B023
        shown = [
            number_objects(*each, band.inner) for each in zip(windows, regions, strict=True)
        ]
        free = np.logical_and.reduce([each.ranks[band.inner] == 0 for each in shown])
        last = following is None
        joinings = [
            front.advance(
                find_rings(each.ranks, free, band.inner, each.objects, ring),
                # After the last band no row comes.
                height + ring[1] if last else band.rows.stop,
            )
            for front, each in zip(fronts, shown, strict=True)
        ]
        for first in range(0, n_channels, side_by_side):
            channels = range(first, min(first + side_by_side, n_channels))
            pixels = in_threads(
                lambda c: image_readers[c].read(band, following)[band.inner].reshape(-1).view(dtype),  # noqa: B023
                channels,
            )
            jobs: list[Callable[[], None]] = []
            for c, own in zip(channels, pixels, strict=True):
                for index, each in enumerate(shown):
                    jobs += [
                        partial(sums[index][c].add, own, each.runs_of, each.starts, each.lengths),
                        partial(rings[index][c].add, joinings[index], own),
                    ]
            in_threads(lambda job: job(), jobs)
    intensities = [
        join_channels(each, shapes.areas) for each, shapes in zip(sums, regions, strict=True)
    ]
    return intensities, [each.T for each in medians]


def _check(name: str, labels: Windowed, image: Windowed) -> None:
    check_labels(labels, f"the {name} labels")
    if len(image.shape) != 3 or image.dtype.kind not in "buif":
        raise BadInput(
            "the image to measure",
            expected="an array (Y, X, C) of integers or floats",
            found=f"the shape {image.shape}, {image.dtype}",
        )
    if tuple(labels.shape) != tuple(image.shape[:2]):
        raise BadInput(
            f"the {name} labels",
            expected=f"the image's Y, X {image.shape[:2]}",
            found=f"{labels.shape}",
        )
    if not min(labels.shape):
        raise BadInput("the image to measure", expected="pixels", found=f"shape {image.shape}")


def _check_values(labels: npt.NDArray) -> None:
    low, high = labels.min(), labels.max()
    if low < 0 or high >= 1 << LABEL_BITS:
        raise BadInput(
            "the labels to measure",
            expected=f"values from 0 to 2^{LABEL_BITS}-1",
            found=f"{low if low < 0 else high}",
        )
