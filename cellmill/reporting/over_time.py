"""What a run found in time series, time point by time point: as rows, and drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cellmill.labels.kinds import plural, singular
from cellmill.reporting.figures import Axis, Series, points
from cellmill.reporting.image_summary import CompartmentSummary, ImageSummary
from cellmill.reporting.text import channel_title

#: Lines of a figure; more cannot be told apart.
_MOST_LINES = 8


def over_time(images: Sequence[ImageSummary]) -> list[dict[str, Any]]:
    """Return a row a time point and kind of object, series by series in order of time.

    Each has `time_series`, `t`, `image`, `compartment`, `count`, `median_area_px`,
    `median_area_um2` and, by channel, `intensities`: the median over objects of their mean.
    """
    frames = [image for image in images if image.t is not None and not image.error]
    order = {name: k for k, name in enumerate(dict.fromkeys(i.time_series for i in frames))}
    frames.sort(key=lambda image: (order[image.time_series], image.t))
    return [
        {
            "time_series": image.time_series,
            "t": image.t,
            "image": image.name,
            "compartment": compartment,
            "count": found.count,
            "median_area_px": found.median_area_px,
            "median_area_um2": found.median_area_um2,
            "intensities": dict(found.intensities),
        }
        for image in frames
        for compartment, found in image.compartments.items()
    ]


def figures_over_time(images: Sequence[ImageSummary]) -> list[str]:
    """Draw count, median area and median intensity against time, a figure each, as SVG."""
    frames = [image for image in images if image.t is not None and not image.error]
    if not frames:
        return []
    kinds = list(dict.fromkeys(c for image in frames for c in image.compartments))
    channels = list(
        dict.fromkeys(
            name for i in frames for found in i.compartments.values() for name in found.intensities
        )
    )
    drawn = []
    for kind in kinds:
        drawn.append(_figure(frames, kind, plural(kind).capitalize(), lambda f: f.count, "count"))
        known = any(
            i.compartments[kind].median_area_um2 is not None
            for i in frames
            if kind in i.compartments
        )
        key = "median_area_um2" if known else "median_area_px"
        title = f"Median area, {plural(kind)}"
        drawn.append(_figure(frames, kind, title, _reader(key), "µm²" if known else "px"))
        for channel in channels:
            title = f"{channel_title(channel)}, median {singular(kind)}"
            drawn.append(_figure(frames, kind, title, _intensity(channel), "mean intensity"))
    return [each for each in drawn if each]


def _reader(key: str) -> Callable[[CompartmentSummary], float | None]:
    return lambda found: getattr(found, key)


def _intensity(channel: str) -> Callable[[CompartmentSummary], float | None]:
    return lambda found: found.intensities.get(channel)


def _figure(
    frames: Sequence[ImageSummary],
    kind: str,
    title: str,
    value: Callable[[CompartmentSummary], float | None],
    unit: str,
) -> str:
    """One figure with a line a series; empty where there is no value."""
    lines: dict[str, dict[int, float]] = {}
    for image in frames:
        found = image.compartments.get(kind)
        number = None if found is None else value(found)
        if number is not None and image.t is not None:
            lines.setdefault(image.time_series, {})[image.t] = float(number)
    series = [_line(name, places) for name, places in list(lines.items())[:_MOST_LINES]]
    if not series:
        return ""
    return points(title, series, Axis("time point"), Axis(unit, zero=True)).svg()


def _line(name: str, places: Mapping[int, float]) -> Series:
    times = sorted(places)
    return Series(name, [float(t) for t in times], [places[t] for t in times])
