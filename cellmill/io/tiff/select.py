"""Channels by name or number."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Sequence

from cellmill.arrays.channels import BLANK
from cellmill.errors import BadInput


def select_channels(text: str, names: Sequence[str], image: str) -> list[int]:
    """Return the indices of the channels that a user asked for, in the user's order.

    Args:
        text: names or 0-based indices with commas between them: `"DAPI,membrane"`, `"0,2"`;
            `-` is a blank channel. A name that holds a comma stands in double quotes. A number
            that is also the name of another channel is written `index=1` or `name=1`.
            Names are compared without regard to case if that leaves one.
        names: the channels of the image.
        image: how messages call the image.

    Returns:
        An index per channel asked for; `-1` for a blank one.

    Raises:
        BadInput: a channel is not there, or more than one is meant by it; or all are blank.
    """
    try:
        parts = next(csv.reader([text], skipinitialspace=True, strict=True), [])
    except csv.Error as error:
        raise BadInput(
            f"channels {text!r}", expected="names or indices and commas", found=f"{error}"
        ) from error
    chosen = [_index(part.strip(), names, image) for part in parts]
    if not chosen or all(index == BLANK for index in chosen):
        raise BadInput(
            f"channels {text!r} of {image}",
            expected="at least one channel of the image",
            found="none",
        )
    return chosen


def channels_text(channels: str | int | Sequence[str | int] | None) -> str:
    """Return channels as `select_channels` takes them, from what a Python user gives.

    Args:
        channels: one text of all; or one or several names or indices, `-1` for a blank channel; or
            `None` for no choice.

    Example:
        >>> channels_text(["DAPI", 2, "a, b", -1]), channels_text(None)
        ('DAPI,index=2,"a, b",-', '')
    """
    if channels is None or isinstance(channels, str):
        return channels or ""
    several = channels if isinstance(channels, Sequence) else [channels]
    return ",".join(
        _quoted(part) if isinstance(part, str) else "-" if part == BLANK else f"index={part}"
        for part in several
    )


def _quoted(name: str) -> str:
    if not any(character in name for character in ',"\r\n'):
        return name
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def describe(names: Sequence[str], limit: int = 12) -> str:
    """Return the channels in a few words, for messages: `3 channels: 0 'DAPI', 1 'GFP', 2 …`."""
    listed = ", ".join(
        f"{i} '{name}'" if name != str(i) else str(i) for i, name in enumerate(names[:limit])
    )
    more = ", …" if len(names) > limit else ""
    return f"{len(names)} channel{'s' if len(names) != 1 else ''}: {listed}{more}"


def shown_names(given: tuple[str, ...], count: int, samples: int, colour: bool) -> tuple[str, ...]:
    """Return what the samples of an image's channels are called.

    Args:
        given: names of the channels, or of all samples; empty where the file gives none.
        count: of the channels.
        samples: of each.
        colour: whether these are red, green and blue.
    """
    channels = given or tuple(str(i) for i in range(count))
    if samples == 1 or len(channels) == count * samples:
        return channels
    letters = ["RGBA"[s] if colour and s < 4 else str(s) for s in range(samples)]
    if count == 1:
        return tuple(letters)
    return tuple(f"{channel} {letter}" for channel in channels for letter in letters)


def _index(part: str, names: Sequence[str], image: str) -> int:
    if part == "-":
        return BLANK
    if part.startswith("index="):
        return _by_number(part.removeprefix("index="), names, image)
    if part.startswith("name="):
        return _by_name(part.removeprefix("name="), names, image)
    named = [i for i, name in enumerate(names) if _key(name) == _key(part)]
    if _is_index(part):
        if named and int(part) >= len(names):
            return _by_name(part, names, image)
        if named and named != [int(part)]:
            raise BadInput(
                f"channel '{part}' of {image}",
                expected=f"index={part} or name={part}, for both are there",
                found=describe(names),
            )
        return _by_number(part, names, image)
    return _by_name(part, names, image)


def _by_number(part: str, names: Sequence[str], image: str) -> int:
    if not (_is_index(part) and int(part) < len(names)):
        raise BadInput(
            f"channel '{part}' of {image}",
            expected=f"an index from 0 to {len(names) - 1}",
            found=describe(names),
        )
    return int(part)


def _by_name(part: str, names: Sequence[str], image: str) -> int:
    for wanted in (
        [i for i, name in enumerate(names) if name == part],
        [i for i, name in enumerate(names) if _key(name) == _key(part)],
    ):
        if len(wanted) == 1:
            return wanted[0]
        if wanted:
            raise BadInput(
                f"channel '{part}' of {image}",
                expected="a name that one channel has, or an index",
                found=f"channels {', '.join(map(str, wanted))} of that name",
            )
    raise BadInput(
        f"channel '{part}' of {image}",
        expected="the name or index of a channel",
        found=describe(names),
    )


def _is_index(part: str) -> bool:
    return part.isascii() and part.isdecimal() and len(part) < 10


def _key(name: str) -> str:
    return unicodedata.normalize("NFKC", name).strip().casefold()
