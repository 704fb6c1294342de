"""Images as stages are given them: where each is, its truth, its name and its digests."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cellmill import uris
from cellmill.arrays.entries import check_name
from cellmill.errors import BadInput


@dataclass(frozen=True)
class Item:
    """An image to open: where it is, its truth, its name in the batch, and its bytes' digest."""

    image: str
    truth: str = ""
    name: str = ""
    digest: str = ""
    truth_digest: str = ""


def parse_items(items: Sequence[Any]) -> list[Item]:
    """Return the images that a stage is given, each with a name of its own.

    Args:
        items: paths, URIs, folders and globs, or objects as ``Item`` has fields.

    Raises:
        BadInput: there are none; one is of another form; a folder is empty; or names are alike.
    """
    found: list[Item] = []
    for raw in items:
        if isinstance(raw, str):
            found += [Item(image=uri) for uri in _expanded(raw)]
            continue
        fields = set(Item.__dataclass_fields__)
        if (
            not isinstance(raw, dict)
            or not raw.get("image")
            or set(raw) - fields
            or not all(isinstance(value, str) for value in raw.values())
        ):
            raise BadInput(
                "items",
                expected=f"paths, or objects with 'image' and of {sorted(fields)}",
                found=f"{raw!r}"[:200],
            )
        found.append(Item(**raw))
    if not found:
        raise BadInput("items", expected="at least one image", found="none")
    derived = uris.unique_names([item.image for item in found])
    named = [
        Item(i.image, i.truth, check_name(i.name or name), i.digest, i.truth_digest)
        for i, name in zip(found, derived, strict=True)
    ]
    seen: dict[str, str] = {}
    for item in named:
        # Two names that differ in case alone are one file on some disks.
        key = item.name.casefold()
        if key in seen:
            raise BadInput(
                f"image name '{item.name}'",
                expected="a name for each image",
                found=f"two: '{seen[key]}' and '{item.image}'",
            )
        seen[key] = item.image
    return named


def _expanded(uri: str) -> list[str]:
    path = uris.local_path(uri)
    if uris.is_zarr(uri):
        return [uri]
    if path is not None and (path.is_dir() or (glob.has_magic(uri) and not path.exists())):
        return uris.list_uris(uri)
    return [uri]
