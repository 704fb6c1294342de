"""What a run works on: images and their truth, named, digested and cut into batches."""

from __future__ import annotations

import itertools
import json
import re
import sys
from collections.abc import Sequence

from cellmill.errors import BadInput
from cellmill.uris import digest, list_uris, local_path, scheme_of, unique_names

#: A batch is one task's argument, and an argument is at most 128 KiB (Linux's MAX_ARG_STRLEN).
BATCH_BYTES = 64 * 1024
#: Vertex AI collects at most 100 artifacts from a loop.
MAX_BATCHES = 64

TRUTH_SUFFIXES = (".tif", ".tiff", ".png", ".npy", ".npz")
_TRUTH_MARK = re.compile(r"[ ._-]*(cp[_-])?(masks?|labels?|truth|gt|ground[_-]?truth|seg)$", re.I)

Item = dict[str, str]


def find_items(images: str, truth: str = "") -> list[Item]:
    """Find the images of a run, and the truth of each where there is one.

    Args:
        images: a file, a folder, a glob or a prefix; a path or a URI.
        truth: the same, matched by name (``a.tif`` with ``a.tif``, ``a_mask.png``, …);
            one truth for one image whatever its name. Empty for none.

    Returns:
        One ``{image, truth, name, digest, truth_digest}`` per image, in the order of their names,
        which are unique.

    Raises:
        BadInput: nothing was found, or no truth belongs to an image.
    """
    uris = _absolute(list_uris(images))
    truths = _absolute(list_uris(truth, TRUTH_SUFFIXES)) if truth else []
    names = unique_names(uris)
    matched = _match(names, truths)
    return [
        {
            "image": uri,
            "truth": matched.get(name, ""),
            "name": name,
            "digest": digest(uri),
            "truth_digest": digest(matched[name]) if name in matched else "",
        }
        for uri, name in zip(uris, names, strict=True)
    ]


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


def _absolute(uris: Sequence[str]) -> list[str]:
    """Paths as every task sees them; a bucket's URI stays one, mounted here or not."""
    paths = [local_path(uri) if scheme_of(uri) in ("", "file") else None for uri in uris]
    return [str(p.absolute()) if p else uri for uri, p in zip(uris, paths, strict=True)]


def _match(names: Sequence[str], truths: Sequence[str]) -> dict[str, str]:
    if len(names) == 1 and len(truths) == 1:
        return {names[0]: truths[0]}
    matched: dict[str, str] = {}
    left: list[str] = []
    for uri, name in zip(truths, unique_names(truths), strict=True):
        found = name if name in names else _TRUTH_MARK.sub("", name)
        if found in matched:
            raise BadInput(f"truth '{uri}'", expected="one truth for each image", found="a second")
        if found in names:
            matched[found] = uri
        else:
            left.append(uri)
    if left and not matched:
        raise BadInput(
            f"truth '{left[0]}'",
            expected=f"the name of an image ({', '.join(list(names)[:3])}, …)",
            found=f"none of {len(left)} that has one",
        )
    if left:
        print(f"note: {len(left)} truth files belong to no image: {left[0]}, …", file=sys.stderr)
    return matched
