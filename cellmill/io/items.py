"""Images as stages are given them: where each is, its truth, its name and its digests."""

from __future__ import annotations

import glob
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cellmill.arrays.entries import check_name
from cellmill.errors import BadInput
from cellmill.io import uris
from cellmill.io.listing import Listed, Listing, fields_of, list_files
from cellmill.io.naming import unique_names
from cellmill.io.pairing import Pairing, looks_like_truth_of, pair
from cellmill.io.suffixes import TRUTH_SUFFIXES, is_zarr

#: How many files a note names.
_SHOWN = 3
#: Characters of a name in a note; names that are longer differ at their end.
_WIDTH = 60
_AS_GIVEN = "as given"


@dataclass(frozen=True)
class Item:
    """An image to open.

    Attributes:
        image: where it is.
        truth: where its truth is; empty for none.
        name: its name in the batch.
        digest: of its bytes.
        truth_digest: of the truth's.
        pairing: why that is its truth.
    """

    image: str
    truth: str = ""
    name: str = ""
    digest: str = ""
    truth_digest: str = ""
    pairing: str = ""


@dataclass(frozen=True)
class Found:
    """The images that paths stand for, and what was decided on the way.

    Attributes:
        items: the images, named, each with its truth; without digests.
        images: what the path of the images stands for.
        truths: what that of the truths stands for; None where there is none.
        pairing: which truth belongs to which image.
    """

    items: tuple[Item, ...]
    images: Listing
    truths: Listing | None
    pairing: Pairing

    def notes(self) -> Iterator[str]:
        """Say in a few lines what was left aside, and which truth was found for which image."""
        for what, listing in (("image", self.images), ("truth", self.truths)):
            if listing is not None and listing.left_aside:
                yield f"note: beside the {what} files, left aside: {listing.others()}"
        if self.pairing.told_apart:
            count = _counted(self.pairing.told_apart, "file")
            yield f"note: {count} of those given as images are truths, and are not segmented"
        for truth, image in looks_like_truth_of(self.pairing.images):
            yield (
                f"note: '{truth.name}' is named like the truth of '{image.name}' and is segmented "
                "as an image; TRUTH=… would make it the truth"
            )
            break
        if self.truths is not None:
            yield from self._pairs()

    def _pairs(self) -> Iterator[str]:
        shown = {
            f.uri: _shown(f)
            for listing in (self.images, self.truths)
            if listing
            for f in listing.files
        }
        by_rule: dict[str, list[Item]] = defaultdict(list)
        for item in self.items:
            by_rule[item.pairing].append(item)
        without = by_rule.pop("", [])
        for rule, items in by_rule.items():
            pairs = [f"{shown[i.image]} ← {shown[i.truth]}" for i in items]
            yield f"truth of {_counted(len(items), 'image')}, by {rule}: {_listed(pairs)}"
        if without:
            names = _listed([shown[item.image] for item in without])
            yield f"truth: none for {_counted(len(without), 'image')}: {names}"
        if self.pairing.unused:
            names = _listed([shown[uri] for uri in self.pairing.unused])
            count = len(self.pairing.unused)
            yield f"truth: {_counted(count, 'file')} of no image, not used: {names}"


def find_items(
    images: str, truth: str = "", *, taken: Collection[str] = (), skip_unreadable: bool = False
) -> Found:
    """Find images, and the truth of each where there is one.

    Args:
        images: a file, a folder, a glob or a prefix; a path or a URI.
        truth: the same, paired by their paths (see `cellmill.io.pairing`); one truth for one image
            whatever its name. Empty for none.
        taken: names that no image may have.
        skip_unreadable: whether a folder that cannot be read counts as an image, which whoever
            opens it skips.

    Raises:
        BadInput: nothing was found, a folder cannot be read, or a truth cannot be assigned.
    """
    listing = list_files(images, unreadable_as_files=skip_unreadable)
    truths = None
    if truth:
        truths = list_files(truth, TRUTH_SUFFIXES, unreadable_as_files=skip_unreadable)
    pairing = pair(listing.files, truths.files if truths else ())
    paths = [file.uri for file in pairing.images]
    items = []
    for uri, name in zip(paths, unique_names(paths, taken), strict=True):
        of_it = pairing.pairs.get(uri)
        items.append(
            Item(uri, of_it.truth, name, pairing=of_it.rule) if of_it else Item(uri, name=name)
        )
    return Found(tuple(items), listing, truths, pairing)


def parse_items(items: Sequence[Any], *, skip_unreadable: bool = False) -> list[Item]:
    """Return the images that a stage is given, each with a name of its own.

    Args:
        items: paths, URIs, folders and globs, or objects as `Item` has fields. An object whose
            image or truth is a folder or a glob stands for as many images as `find_items` finds.
        skip_unreadable: as `find_items`.

    Raises:
        BadInput: there are none; one is of another form; a folder is empty; names are alike; or a
            file is given as an image and as a truth.
    """
    found: list[Item] = []
    for raw in items:
        item = _checked(raw)
        if _stands_for_several(item.image) or _stands_for_several(item.truth):
            if item != Item(item.image, item.truth):
                raise BadInput(
                    f"items, '{item.image}'",
                    expected="no name and no digest for what stands for several images",
                    found=f"{raw!r}"[:200],
                )
            several = find_items(item.image, item.truth, skip_unreadable=skip_unreadable).items
            found += [replace(each, name="") for each in several]
        else:
            found.append(
                item if item.pairing or not item.truth else replace(item, pairing=_AS_GIVEN)
            )
    if not found:
        raise BadInput("items", expected="at least one image", found="none")
    unnamed = [item.image for item in found if not item.name]
    derived = iter(unique_names(unnamed, [item.name for item in found if item.name]))
    named = [replace(item, name=check_name(item.name or next(derived))) for item in found]
    check_distinct(named)
    return named


def _checked(raw: Any) -> Item:
    if isinstance(raw, str):
        return Item(image=raw)
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
    return Item(**raw)


def _stands_for_several(uri: str) -> bool:
    """Whether a path is a folder, a glob or a plate; what lies in a store is not asked for."""
    if not uri:
        return False
    path = uris.local_path(uri)
    if is_zarr(uri) and (path is None or path.exists()):
        return path is not None and bool(fields_of(uri))
    if path is None:
        return uri.endswith("/") or glob.has_magic(uri.split("://", 1)[1])
    return path.is_dir() or (glob.has_magic(uri) and not path.exists() and not path.is_symlink())


def check_distinct(items: Sequence[Item]) -> None:
    """Refuse two images of one name, and a file that is an image and a truth.

    Raises:
        BadInput: there are such.
    """
    seen: dict[str, str] = {}
    for item in items:
        # Two names that differ in case alone are one file on some disks.
        key = item.name.casefold()
        if key in seen:
            raise BadInput(
                f"image name '{item.name}'",
                expected="a name for each image",
                found=f"two: '{seen[key]}' and '{item.image}'",
            )
        seen[key] = item.image
    images = {Listed(item.image).identity for item in items}
    for item in items:
        if item.truth and Listed(item.truth).identity in images:
            raise BadInput(
                f"truth '{item.truth}' of image '{item.image}'",
                expected="a file that is no image",
                found="an image of the same batch" if item.truth != item.image else "the image",
            )


def _shown(file: Listed) -> str:
    text = "/".join((*file.folders, file.name))
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH // 3]}…{text[-_WIDTH * 2 // 3 :]}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"
