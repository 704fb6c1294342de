"""Time series as images of a batch: each time point one, named after its series."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cellmill.errors import BadInput
from cellmill.io.images import open_file, open_image_at
from cellmill.io.items import Item, check_distinct
from cellmill.io.tiff.axes import TimePoint

#: Attributes of an image that is a time point: its place, and the name of its series.
T, SERIES = "t", "time_series"


@dataclass(frozen=True)
class Frame:
    """One image to open.

    Attributes:
        item: where it is, and its own name.
        t: its time point, as `open_image_at` takes it.
        series: the name of the series that it is one of; empty where all is one image.
    """

    item: Item
    t: int = -1
    series: str = ""

    @property
    def attributes(self) -> dict[str, Any]:
        """What travels with the image."""
        return {T: self.t, SERIES: self.series} if self.series else {}

    @property
    def of_truth(self) -> int:
        """The time point of its truth: that of a series is one, too."""
        return self.t if self.series else -1


def frames_of(items: Iterable[Item], t: TimePoint, choice: Mapping[str, Any]) -> dict[str, Frame]:
    """Return the images of a batch by name: of series each time point, or the one asked for.

    Args:
        items: the files.
        t: which time point; `"all"`: each, `NAME_t0`, `NAME_t1`, … with as many digits as are
            needed.
        choice: which image and planes of a file, as `open_image_at` takes them.

    Raises:
        BadInput: two have one name.
    """
    if t != "all":
        return {item.name: Frame(item, t) for item in items}
    frames = []
    for item in items:
        count = _time_points(item, choice)
        digits = len(str(count - 1))
        for place in range(count):
            name = f"{item.name}_t{place:0{digits}d}" if count > 1 else item.name
            frames.append(Frame(replace(item, name=name), place, item.name))
    named = {frame.item.name: frame for frame in frames}
    if len(named) < len(frames):
        check_distinct([frame.item for frame in frames])
    return named


def _time_points(item: Item, choice: Mapping[str, Any]) -> int:
    """How many there are; of a file that cannot be read one, which fails when it is opened."""
    try:
        with (
            open_file(item.image) as file,
            open_image_at(item.image, file, **{**choice, "t": 0}) as image,
        ):
            return image.times
    except BadInput:
        return 1
