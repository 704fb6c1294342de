"""What the axes of a stack of planes are: channels, samples, focal planes, time points."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import tifffile

from cellmill.errors import BadInput

#: Which focal plane is meant: its place, -1 for the only one, or all of them, a volume.
FocalPlane = int | Literal["all"]
#: Which time point is meant: its place, -1 for the only one, or each of them.
TimePoint = int | Literal["all"]
#: ImageJ shows at most so many channels of an image.
_CHANNELS_OF_IMAGEJ = 7
#: Samples are listed by name.
_MOST_SAMPLES = 1 << 16


def focal_plane(text: str | int) -> FocalPlane:
    """Read which focal plane a user means: its place, `all`, or nothing for the only one.

    Raises:
        BadInput: it is none of these.

    Example:
        >>> [focal_plane(text) for text in ("", "3", "all", "-1")]
        [-1, 3, 'all', -1]
    """
    return _place(text, "parameter z", "the place of a focal plane, or all")


def time_point(text: str | int) -> TimePoint:
    """Read which time point a user means: its place, `all`, or nothing for the only one.

    Raises:
        BadInput: it is none of these.

    Example:
        >>> [time_point(text) for text in ("", 3, "all")]
        [-1, 3, 'all']
    """
    return _place(text, "parameter t", "the place of a time point, or all")


def _place(text: str | int, what: str, expected: str) -> int | Literal["all"]:
    word = f"{text}".strip().lower()
    if word == "all":
        return "all"
    if word in ("", "-1"):
        return -1
    if not (word.isascii() and word.isdecimal() and len(word) < 10):
        raise BadInput(what, expected=expected, found=word)
    return int(word)


def split_axes(
    axes: str, lengths: Sequence[int], page: tifffile.TiffPage, label: str
) -> tuple[dict[str, int], int]:
    """Return the axes before Y and X with their lengths, and the samples that lie side by side."""
    at = axes.find("YX")
    after = [(a, n) for a, n in zip(axes[at + 2 :], lengths[at + 2 :], strict=True) if n > 1]
    samples = page.shaped[4]
    if (
        at < 0
        or (lengths[at], lengths[at + 1]) != (page.imagelength, page.imagewidth)
        or math.prod(n for _, n in after) != samples
    ):
        raise BadInput(
            label,
            expected="pages of rows and columns (…YX or …YXS)",
            found=f"axes {axes} of {' × '.join(map(str, lengths))}",
        )
    # Two axes of one letter are told apart by their place.
    outer = {f"{a}{i}": int(n) for i, (a, n) in enumerate(zip(axes[:at], lengths, strict=False))}
    return outer, int(samples)


def unnamed_planes(outer: dict[str, int], remarks: list[str]) -> dict[str, int]:
    """Take channels of a file for ImageJ, more than it shows, for pages of which nothing is said.

    So `tifffile.imwrite(path, stack, imagej=True)` writes the planes of a stack. To be asked where
    they have no names, and a volume is wanted.

    Args:
        outer: the axes before Y and X with their lengths, as `split_axes` gives them.
        remarks: to which is added what was done.
    """
    several = {key: n for key, n in outer.items() if n > 1}
    if [key[0] for key in several] != ["C"] or max(several.values()) <= _CHANNELS_OF_IMAGEJ:
        return outer
    (count,) = several.values()
    remarks.append(
        f"{count} channels and no planes, in a file for ImageJ, which shows "
        f"{_CHANNELS_OF_IMAGEJ} channels: taken as planes"
    )
    return {key.replace("C", "Q"): n for key, n in outer.items()}


def axis_roles(outer: Mapping[str, int], z: FocalPlane, t: int, label: str) -> list[str]:
    """Say for each outer axis what it is: C, S, Z or T.

    Pages that no metadata explains are channels, unless Z or T is asked for and there is none.
    """
    known = {key: key[0] for key, n in outer.items() if key[0] in "CSZT"}
    unknown = [key for key, n in outer.items() if key[0] not in "CSZT" and n > 1]
    present = {role for key, role in known.items() if outer[key] > 1}
    wanted = [role for role, asked in (("Z", z == "all" or z >= 0), ("T", t >= 0)) if asked]
    free = [role for role in wanted if role not in present]
    if "C" not in present:
        free.append("C")
    counted = [role for key, role in known.items() if outer[key] > 1]
    if len(unknown) > 1 or (unknown and not free) or len(set(counted)) != len(counted):
        sizes = ", ".join(f"{key[0]} {n}" for key, n in outer.items() if n > 1)
        raise BadInput(label, expected="no axes but channels, Z and T", found=f"axes {sizes}")
    return [known.get(key) or (free[0] if key in unknown else "C") for key in outer]


def pick_planes(length: int, asked: FocalPlane, label: str) -> range:
    """Return the places of the focal planes that are asked for.

    Raises:
        BadInput: see `pick_plane`.
    """
    if asked == "all":
        return range(length)
    place = pick_plane("Z", length, asked, label)
    return range(place, place + 1)


def pick_plane(role: str, length: int, asked: int, label: str) -> int:
    """Return the place along Z or T that is asked for, or the only one.

    Args:
        role: `"Z"` or `"T"`.
        length: how many there are.
        asked: 0-based; -1: the only one.
        label: how messages call the image.

    Raises:
        BadInput: there are several and none is asked for, or there are not so many.
    """
    what = {"Z": "focal planes", "T": "time points"}[role]
    flag = role.lower()
    if asked < 0 and length > 1:
        whole = ", or z=all for the volume" if role == "Z" else ", or t=all for each"
        raise BadInput(
            label, expected=f"{flag}=0…{length - 1} to say which{whole}", found=f"{length} {what}"
        )
    if asked >= length:
        raise BadInput(
            label,
            expected=f"{flag} from 0 to {length - 1}",
            found=f"{flag}={asked}" + (f" of {length} {what}" if length > 1 else ""),
        )
    return max(asked, 0)


def check_channels(shape: tuple[int, int], channels: int, samples: int, label: str) -> None:
    """Refuse more samples than can be listed, and pages that are rows of an image.

    Writers that are given `(Y, X, C)` and take it for a stack make a page of each row, as wide as
    there are channels.

    Raises:
        BadInput: it is so.
    """
    if samples > _MOST_SAMPLES:
        expected = f"at most {_MOST_SAMPLES} samples a pixel"
        raise BadInput(label, expected=expected, found=f"{samples}")
    height, width = shape
    if channels >= 2 * width and height >= 2 * width:
        raise BadInput(
            label,
            expected="channels first, a page each (C, Y, X)",
            found=f"channels last: {channels} pages of {height} × {width} px, which look like the "
            f"rows of an image of {channels} × {height} px with {width} channels",
        )
