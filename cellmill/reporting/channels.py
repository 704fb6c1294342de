"""The channels that were measured and not segmented, as pictures that a page adds to its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cellmill.reporting.display import reduce_channels, reduction, stretch
from cellmill.reporting.pictures import encode_jpeg, uri_of
from cellmill.reporting.subject import Subject, channel_name
from cellmill.reporting.text import channel_title

#: Longest side of a picture, px: an image may have dozens of channels.
SIDE = 1024
#: Channels that are held at once.
_GROUP = 8
_QUALITY = 85
#: By turns; they are added to the image, so each is of pure light.
_COLOURS = ("#00ffff", "#ffff00", "#ff4040", "#4080ff", "#ff9000", "#a0ff60", "#ff60ff", "#ffffff")


@dataclass(frozen=True)
class ChannelPicture:
    """One channel for a page.

    Attributes:
        key: part of its elements' names.
        title: for people.
        colour: in which it is added to the image, as CSS writes it.
        picture: its greys, a data URI.
    """

    key: str
    title: str
    colour: str
    picture: str


def other_channels(subject: Subject, shown: Sequence[int]) -> list[ChannelPicture]:
    """Return the channels of an image that its picture does not show, contrast stretched.

    Args:
        subject: what the report is about.
        shown: indices of the channels that the picture shows.
    """
    others = [c for c in range(subject.image.shape[2]) if c not in shown]
    factor = reduction(subject.image.shape, SIDE)
    found = []
    for first in range(0, len(others), _GROUP):
        some = others[first : first + _GROUP]
        pixels = reduce_channels(subject.image, some, factor)
        for place, channel in enumerate(some):
            grey = stretch(pixels[..., place])
            found.append(
                ChannelPicture(
                    key=f"more-{channel}",
                    title=channel_title(channel_name(subject, channel)),
                    colour=_COLOURS[(first + place) % len(_COLOURS)],
                    picture=uri_of(encode_jpeg(grey, _QUALITY), "jpeg"),
                )
            )
    return found
