"""What a report is about, how good it is, and what a reader should know first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cellmill.arrays.windows import Windowed
from cellmill.labels.kinds import plural
from cellmill.reporting.display import shown_channels
from cellmill.reporting.quality import (
    ChannelQuality,
    ObjectQuality,
    image_quality,
    object_quality,
)
from cellmill.reporting.text import number, percent

SATURATED_WARNING = 0.01
_OUTLIER_WARNING = 0.05


@dataclass(frozen=True)
class TruthSource:
    """Where an image's truth came from, and what it was taken for.

    Attributes:
        source: its path or URI.
        pairing: why it is the truth of this image.
        kind: `labels`, `mask`, `colours` or `planes`; empty where that is not known.
        decision: that in a sentence, with what it rests on.
    """

    source: str
    pairing: str = ""
    kind: str = ""
    decision: str = ""


@dataclass(frozen=True)
class VolumeView:
    """What a page shows of a volume beside its projection.

    Attributes:
        shape: (Z, Y, X).
        mpp: voxel size (z, y, x) in microns, None where unknown.
        centre: z, y, x of the cuts.
        cuts: three of them, a picture as a data URI.
        places: z of the planes that are shown.
        planes: pictures of them, data URIs.
    """

    shape: tuple[int, int, int]
    mpp: tuple[float, ...] | None
    centre: tuple[int, int, int]
    cuts: str
    places: tuple[int, ...]
    planes: tuple[str, ...]


@dataclass(frozen=True)
class Subject:
    """What a report is about.

    Attributes:
        name: the image's name.
        image: `(Y, X, C)`, the original pixels; may be a memory map.
        channel_names: one name for each of C.
        segmentation_channels: indices into C as handed to the model, -1 for a blank one.
        labels: `(Y, X)` label images by compartment.
        measurements: by compartment, columns `(n,)` by name, with `label` and `area_px`;
            of a volume `volume_px`.
        truth: `(Y, X)` label images by compartment; none where there is none.
        scores: by compartment, what `cellmill.metrics.evaluate` says; none without truth.
        mpp: pixel size (y, x) in microns, None where unknown.
        mpp_source: where it came from.
        scale: by how much (y, x) it was enlarged for the network.
        scaled_by: what decided that: `diameter`, `auto`, `mpp` or nothing.
        diameter: of its objects in px, as told, estimated or expected; 0 where unknown.
        source: where the image came from.
        truth_source: where its truth came from; None without truth, or where it is not known.
        model: name and version of the model, empty where unknown.
        methods: by which objects were found from what the network gave; empty where unknown.
        records: the records of the stages, in order.
        remarks: sentences to show beside the warnings.
        volume: what else is shown where the image is the projection of a volume.
        t: its time point, None where it is not one of a series.
        time_series: the name of its series.
    """

    name: str
    image: Windowed
    channel_names: Sequence[str]
    segmentation_channels: Sequence[int]
    labels: Mapping[str, Windowed]
    measurements: Mapping[str, Mapping[str, np.ndarray]]
    truth: Mapping[str, Windowed] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    mpp: tuple[float, ...] | None = None
    mpp_source: str = "unknown"
    scale: tuple[float, ...] = (1.0, 1.0)
    scaled_by: str = ""
    diameter: float = 0.0
    source: str = ""
    truth_source: TruthSource | None = None
    model: str = ""
    methods: Sequence[str] = ()
    records: Sequence[Mapping[str, Any]] = ()
    remarks: Sequence[str] = ()
    volume: VolumeView | None = None
    t: int | None = None
    time_series: str = ""

    @property
    def size_column(self) -> str:
        """The column of measurements that says how many pixels or voxels an object has."""
        return "volume_px" if self.volume else "area_px"


@dataclass(frozen=True)
class Assessment:
    """The quality of a subject: of its channels, by index, and of its objects, by compartment."""

    channels: Mapping[int, ChannelQuality]
    objects: Mapping[str, ObjectQuality]


def assess(subject: Subject) -> Assessment:
    """Measure the quality of a subject's channels, those shown first, and of its objects."""
    height, width, count = subject.image.shape
    first = shown_channels(subject.segmentation_channels, count)
    order = [*first, *(c for c in range(count) if c not in first)]
    return Assessment(
        channels=dict(zip(order, image_quality(subject.image, order), strict=True)),
        objects={
            compartment: object_quality(
                table[subject.size_column], (height, width), subject.mpp, bool(subject.volume)
            )
            for compartment, table in subject.measurements.items()
        },
    )


def warnings_of(subject: Subject, assessment: Assessment) -> list[str]:
    """Return what a reader of the report should know first, a sentence or two each."""
    lines = []
    if subject.mpp is None:
        diameters = [
            f"{number(q.median_diameter_px)} px for {plural(c)}"
            for c, q in assessment.objects.items()
            if q.count
        ]
        found = f" The median diameter found is {' and '.join(diameters)}." if diameters else ""
        if subject.volume:
            lines.append(
                "The voxel size is not known along every axis, so voxels were taken as cubes and "
                f"nothing is given in microns.{found} MPP (within planes) and Z_STEP (between "
                "them) say it."
            )
        elif subject.scaled_by:
            lines.append(f"The pixel size is unknown, so nothing is given in microns.{found}")
        else:
            lines.append(
                "The pixel size is unknown, so the image was segmented at its own scale and "
                f"nothing is given in microns.{found} Cells far from the sizes on the model's card "
                "are not found well: their diameter (DIAMETER, in px or auto) or the pixel size "
                "(MPP) scales the image."
            )
    for index in shown_channels(subject.segmentation_channels, subject.image.shape[2]):
        name = channel_name(subject, index).removeprefix("channel ")
        quality = assessment.channels[index]
        if quality.empty:
            lines.append(f"Channel {name} is empty: every pixel is {number(quality.minimum)}.")
        elif (quality.saturated_fraction or 0) > SATURATED_WARNING:
            lines.append(
                f"Channel {name} is saturated in {percent(quality.saturated_fraction)} of its "
                "pixels: intensities there are lower bounds."
            )
    for compartment, objects in assessment.objects.items():
        name = plural(compartment)
        if not objects.count:
            lines.append(f"No {name} were found.")
        elif objects.outliers > _OUTLIER_WARNING * objects.count:
            lines.append(
                f"{objects.outliers:,} of {objects.count:,} {name} are far larger or smaller than "
                "the rest: look for merged or broken ones."
            )
    return [*lines, *subject.remarks]


def mpp_text(mpp: tuple[float, ...] | None, source: str) -> str:
    """Say a pixel size and where it came from."""
    if mpp is None:
        return "unknown"
    if math.isclose(*mpp, rel_tol=1e-6):
        return f"{number(mpp[1], 4)} µm/px ({source})"
    return f"{number(mpp[1], 4)} × {number(mpp[0], 4)} µm/px, x × y ({source})"


def channel_name(subject: Subject, index: int) -> str:
    """Return a channel's name, or its index where it has none."""
    names = subject.channel_names
    return (names[index] if index < len(names) else "") or f"channel {index}"
