"""What a run works on: images and their truth, named, digested and cut into batches."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from cellmill.errors import BadInput
from cellmill.io.items import find_items as find
from cellmill.io.tiff.axes import focal_plane
from cellmill.io.uris import digest, local_path, scheme_of
from cellmill.terminal import say

#: A batch is one task's argument, and an argument is at most 128 KiB (Linux's MAX_ARG_STRLEN).
BATCH_BYTES = 64 * 1024
#: Vertex AI collects at most 100 artifacts from a loop.
MAX_BATCHES = 64

Item = dict[str, str]


def find_items(
    images: str,
    truth: str = "",
    *,
    taken: Collection[str] = (),
    skip_unreadable: bool = False,
    tell: Callable[[str], None] | None = None,
) -> list[Item]:
    """Find the images of a run, and the truth of each where there is one.

    Args:
        images: a file, a folder, a glob or a prefix; a path or a URI.
        truth: the same, paired by their paths (`cellmill.io.pairing`): `a.tif` with `a.tif`,
            `a_mask.png`, …; one truth for one image whatever its name. Empty for none.
        taken: names that no image may have, those of the run's own files.
        skip_unreadable: whether what cannot be read is passed on, for the stage that opens it to
            skip it.
        tell: is given a few lines: which truth was found for which image, and by what; what is
            left aside. By default they are printed.

    Returns:
        One `{image, truth, name, digest, truth_digest, pairing}` per image, in the order of their
        paths; their names are unique.

    Raises:
        BadInput: nothing was found, or which truth belongs to an image is not certain; something
            cannot be read, unless that is skipped.
    """
    found = find(images, truth, taken=taken, skip_unreadable=skip_unreadable)
    for line in found.notes():
        if tell is None:
            say(line, to=sys.stderr)
        else:
            tell(line)
    return [
        {
            **asdict(item),
            "image": _absolute(item.image),
            "truth": _absolute(item.truth),
            "digest": _digest(item.image, skip_unreadable),
            "truth_digest": _digest(item.truth, skip_unreadable),
        }
        for item in found.items
    ]


def plane_choice(given: Mapping[str, str]) -> dict[str, Any]:
    """Which image, plane and time point of a file the settings choose, for `open_image_at`.

    Args:
        given: settings by name: `series`, `z`, `t`; empty where the user said nothing.

    Raises:
        BadInput: one is no number.
    """
    choice: dict[str, Any] = {"z": focal_plane(given.get("z", ""))}
    for key in ("series", "t"):
        if text := given.get(key, ""):
            try:
                choice[key] = int(text)
            except ValueError:
                raise BadInput(key.upper(), expected="a whole number", found=repr(text)) from None
    return choice


def cut(items: Sequence[Item], workers: int) -> list[list[Item]]:
    """Cut a run's images into batches, as few as keep the workers busy and fit an argument.

    Args:
        items: the images.
        workers: how many batches can be worked on at a time.

    Returns:
        At most 64 batches of neighbours, as even as can be.

    Raises:
        BadInput: there are more images than 64 arguments can name.
    """
    size = len(json.dumps(list(items)).encode())
    count = max(-(-size // BATCH_BYTES), min(workers, len(items)))
    if count > MAX_BATCHES:
        raise BadInput(
            "the list of images",
            expected=f"at most {MAX_BATCHES * BATCH_BYTES >> 20} MiB in all",
            found=f"{len(items)} images, {size >> 20} MiB; run it in parts",
        )
    bounds = [len(items) * i // count for i in range(count + 1)]
    return [list(items[a:b]) for a, b in itertools.pairwise(bounds)]


def _absolute(uri: str) -> str:
    """A path as every task sees it; a bucket's URI stays one, mounted here or not."""
    path = local_path(uri) if uri and scheme_of(uri) in ("", "file") else None
    return str(path.absolute()) if path else uri


def _digest(uri: str, skip_unreadable: bool) -> str:
    """The digest of a file; none of no file, and of one that will be skipped."""
    try:
        return digest(uri) if uri else ""
    except BadInput:
        if not skip_unreadable:
            raise
        return ""
