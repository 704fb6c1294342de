"""What is kept of each image for a summary of many: small enough for a manifest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from cellmill.reporting.pictures import encode_jpeg, uri_of
from cellmill.reporting.subject import Assessment, Subject, TruthSource, warnings_of
from cellmill.reporting.timing import image_seconds

THUMBNAIL_SIDE = 120
_THUMBNAIL_QUALITY = 72


@dataclass(frozen=True)
class CompartmentSummary:
    """What is kept of one compartment of one image.

    Attributes:
        count: number of objects.
        median_area_px: None where nothing was found.
        median_area_um2: None where the pixel size is unknown, too.
        median_diameter_px: of the circle of the median area.
        per_mm2: None where the pixel size is unknown.
        outliers: objects whose area is an outlier.
        scores: as `cellmill.metrics.evaluate` gives them; empty without truth.
        intensities: of a time point, by channel the median over objects of their mean.
    """

    count: int
    median_area_px: float | None = None
    median_area_um2: float | None = None
    median_diameter_px: float | None = None
    per_mm2: float | None = None
    outliers: int = 0
    scores: Mapping[str, Any] = field(default_factory=dict)
    intensities: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageSummary:
    """What is kept of one image.

    Attributes:
        name: the image's name.
        error: why it was left out, else empty.
        mpp_known: whether its pixel size is known.
        compartments: by compartment.
        seconds: wall seconds of all stages on this image, None where no record says so.
        pixels: of one channel; 0 where not known.
        warnings: what its report warns of.
        thumbnail: a data URI, or empty.
        source: where the image came from, empty where that is not known.
        truth: where its truth came from; None without truth.
        t: its time point, None where it is not one of a series.
        time_series: the name of its series.
    """

    name: str
    error: str = ""
    mpp_known: bool = True
    compartments: Mapping[str, CompartmentSummary] = field(default_factory=dict)
    seconds: float | None = None
    pixels: int = 0
    warnings: tuple[str, ...] = ()
    thumbnail: str = ""
    source: str = ""
    truth: TruthSource | None = None
    t: int | None = None
    time_series: str = ""

    def to_attributes(self) -> dict[str, Any]:
        """Return JSON values that `from_attributes` reads; name and error are the entry's."""
        values = asdict(self)
        return {key: value for key, value in values.items() if key not in ("name", "error")}

    @classmethod
    def from_attributes(cls, name: str, attributes: Mapping[str, Any]) -> ImageSummary:
        """Read what `to_attributes` gave.

        Raises:
            AttributeError, KeyError, TypeError: the values are of another form.
        """
        compartments = {
            key: CompartmentSummary(**values) for key, values in attributes["compartments"].items()
        }
        truth = attributes.get("truth")
        known = {
            **attributes,
            "compartments": compartments,
            "warnings": tuple(attributes["warnings"]),
            "truth": TruthSource(**truth) if truth else None,
        }
        return cls(name, **known)


def summarise_image(subject: Subject, assessment: Assessment, overlay: np.ndarray) -> ImageSummary:
    """Keep the small of an image's report.

    Args:
        subject: what the report is about.
        assessment: its quality.
        overlay: its overlay, uint8 RGB `(Y, X, 3)`, for the thumbnail.
    """
    seconds = image_seconds(subject.records, subject.name)
    pixel = None if subject.mpp is None else subject.mpp[0] * subject.mpp[1]
    compartments = {}
    for compartment, objects in assessment.objects.items():
        # Of volumes there are no areas.
        has_area = objects.count and not subject.volume
        area = objects.median_area_px if has_area else None
        compartments[compartment] = CompartmentSummary(
            count=objects.count,
            median_area_px=area,
            median_area_um2=None if area is None or pixel is None else area * pixel,
            median_diameter_px=objects.median_diameter_px if objects.count else None,
            per_mm2=objects.per_mm2,
            outliers=objects.outliers,
            scores=subject.scores.get(compartment, {}),
            intensities=_intensities(subject, compartment),
        )
    return ImageSummary(
        name=subject.name,
        mpp_known=subject.mpp is not None,
        compartments=compartments,
        seconds=sum(seconds.values()) if seconds else None,
        pixels=math.prod(subject.volume.shape if subject.volume else subject.image.shape[:2]),
        warnings=tuple(warnings_of(subject, assessment)),
        thumbnail=_thumbnail(overlay),
        source=subject.source,
        truth=subject.truth_source,
        t=subject.t,
        time_series=subject.time_series,
    )


def _intensities(subject: Subject, compartment: str) -> dict[str, float]:
    """The median object's mean intensity by channel, of a time point with objects."""
    table = subject.measurements[compartment]
    if subject.t is None or not len(table["label"]):
        return {}
    means = {name: table.get(f"mean_{name}") for name in subject.channel_names}
    return {name: float(np.median(each)) for name, each in means.items() if each is not None}


def _thumbnail(overlay: np.ndarray) -> str:
    picture = Image.fromarray(overlay)
    picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    return uri_of(encode_jpeg(np.asarray(picture), _THUMBNAIL_QUALITY), "jpeg")
