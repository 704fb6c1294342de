"""The stage that opens images by URI and puts the channels that matter into arrays."""

from __future__ import annotations

import glob
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cellmill import uris
from cellmill.arrays.batch import BatchWriter, Entry, check_name
from cellmill.arrays.channels import BLANK
from cellmill.arrays.files import is_bucket_mount
from cellmill.contract import Dataset, Output, Record, for_each_image
from cellmill.errors import BadInput
from cellmill.tiff.layout import TiffImage, open_image
from cellmill.tiff.read import check_complete, is_grey, read_channels
from cellmill.tiff.select import describe, select_channels
from cellmill.truth import Truth, read_truth

#: Left free on the disk that is written to.
_SPARE_BYTES = 1 << 24


@dataclass(frozen=True)
class Item:
    """An image to open: where it is, its truth, its name in the batch, and its bytes' digest."""

    image: str
    truth: str = ""
    name: str = ""
    digest: str = ""
    truth_digest: str = ""


def tiff_to_npz(
    images: Output[Dataset],
    truth: Output[Dataset],
    record: Output[Record],
    items: list,
    channels: str = "",
    measure_channels: str = "",
    mpp: float = 0.0,
    target_mpp: float = 0.0,
    z: int = -1,
    t: int = -1,
    series: int = -1,
    on_bad_image: Literal["fail", "skip"] = "fail",
) -> None:
    """Open TIFF images and put the channels that matter into arrays.

    Only the pages of those channels are read. Reads TIFF, OME-TIFF, BigTIFF, ImageJ and MetaMorph
    files, pyramids, tiles and strips, every common compression; 8- and 16-bit pixels stay as they
    are, others become float32.

    Args:
        images: Batch of images, array `image` (Y, X, C) uint8, uint16 or float32; the channels to
            segment come first.
        truth: Batch of label images, array `labels` (Y, X) or (Y, X, 2: whole cells, nuclei)
            int32; an entry without arrays where an image has no truth.
        record: What was done, with times and versions.
        items: The images: paths or URIs, or objects {"image": URI, "truth": URI or "", "name":
            its name, "digest": "sha256:…" of the image, "truth_digest": of the truth}; only
            "image" is needed. A file whose digest is another is refused.
        channels: Channels to segment, in the model's order, by name or 0-based index, with commas
            between: `DAPI,membrane`, `0,2`; `-` is a blank channel. Empty: the image's only one.
        measure_channels: More channels to carry along for measurement, likewise; `all` for all.
        mpp: Pixel size at full resolution in microns; overrides what the file says. 0: the file's.
        target_mpp: Of a pyramid, read the coarsest level that is not coarser than this many
            microns per pixel. 0: full resolution.
        z: Focal plane to read, 0-based. -1: the only one.
        t: Time point to read, 0-based. -1: the only one.
        series: Image to read of a file that holds several, 0-based. -1: the only one, or the
            largest.
        on_bad_image: What to do with an image that cannot be used: fail, or skip it and go on.
    """
    for name, value in (("mpp", mpp), ("target_mpp", target_mpp)):
        if not (np.isfinite(value) and value >= 0):
            raise BadInput(f"parameter {name}", expected="0 or more microns", found=f"{value}")
    by_name = {item.name: item for item in parse_items(items)}
    remarks: dict[str, list[str]] = {}
    with BatchWriter(images.path) as out, BatchWriter(truth.path) as truth_out:

        def work(entry: Entry) -> None:
            item = by_name[entry.name]
            with record.step("check digest"):
                image_digest = _checked_digest(item.image, item.digest)
                if item.truth:
                    _checked_digest(item.truth, item.truth_digest)
            said = remarks.setdefault(entry.name, [])
            with (
                uris.open_uri(item.image) as file,
                open_image(
                    file,
                    item.image,
                    mpp=mpp,
                    target_mpp=target_mpp,
                    z=z,
                    t=t,
                    series=series,
                ) as image,
            ):
                said += image.remarks
                with record.step("read truth"):
                    said += _write_truth(truth_out, item, image)
                chosen = _segmentation_channels(image, channels, said)
                carried = _carried(image, chosen, measure_channels)
                _check_room(images.path, image, len(carried))
                attributes: dict[str, Any] = {
                    "source": item.image,
                    "digest": image_digest,
                    "segmentation_channels": [
                        BLANK if c == BLANK else carried.index(c) for c in chosen
                    ],
                    "source_channels": carried,
                    "stored_dtype": str(image.stored_dtype),
                    "level": image.level,
                    "level_shapes": [list(shape) for shape in image.level_shapes],
                }
                layout = {"image": ((*image.shape, len(carried)), image.dtype, "YXC")}
                with (
                    record.step("read image"),
                    out.create(
                        entry.name,
                        layout,
                        mpp=image.mpp,
                        mpp_source=image.mpp_source,
                        channels=_distinct_names(image, carried),
                        attributes=attributes,
                    ) as arrays,
                ):
                    pixels = np.zeros(arrays["image"].shape, image.dtype)
                    read_channels(image, carried, pixels)
                    arrays["image"][...] = pixels
            for line in said:
                print(f"{entry.name}: {line}", file=sys.stderr)

        entries = [Entry(name, attributes={"source": i.image}) for name, i in by_name.items()]
        for_each_image(
            entries, work, writers=[out, truth_out], record=record, on_bad_image=on_bad_image
        )
    record.note(remarks={name: lines for name, lines in remarks.items() if lines})


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
    if path is not None and (path.is_dir() or (glob.has_magic(uri) and not path.exists())):
        return uris.list_uris(uri)
    return [uri]


def _checked_digest(uri: str, expected: str) -> str:
    """Return the digest of a file's bytes; refuse a file that changed since it was launched.

    A digest of another kind than can be had here (a bucket's, read through a mount) is passed on.
    Without one, a local file's is made; others are not fetched for it.
    """
    kind = expected.split(":", 1)[0]
    is_local = uris.local_path(uri) is not None
    if not expected and not is_local:
        return ""
    if expected and is_local != (kind == "sha256"):
        return expected
    found = uris.digest(uri)
    if found.split(":", 1)[0] == kind and found != expected:
        raise BadInput(f"file '{uri}'", expected=f"the bytes of {expected}", found=found)
    return found


def _segmentation_channels(image: TiffImage, text: str, remarks: list[str]) -> list[int]:
    if text.strip():
        return select_channels(text, image.channels, image.label)
    if len(image.channels) == 1:
        return [0]
    if image.colour and is_grey(image):
        remarks.append("grey stored as red, green and blue: one of them is taken")
        return [0]
    if image.unexplained:
        raise BadInput(
            image.label,
            expected="channels=… to say which page to segment (or z=… or t=…, if they are planes)",
            found=f"{len(image.channels)} pages and no word on what they are",
        )
    what = "a colour image, " if image.colour else ""
    raise BadInput(
        image.label,
        expected="channels=… to say which to segment",
        found=f"{what}{describe(image.channels)}",
    )


def _carried(image: TiffImage, chosen: Sequence[int], measured: str) -> list[int]:
    """Return the channels to store, each once: those to segment, then those to measure."""
    more: Sequence[int] = ()
    if measured.strip().lower() == "all" and "all" not in image.channels:
        more = range(len(image.channels))
    elif measured.strip():
        more = select_channels(measured, image.channels, image.label)
    return [c for c in dict.fromkeys([*chosen, *more]) if c != BLANK]


def _distinct_names(image: TiffImage, carried: Sequence[int]) -> list[str]:
    """Return the channels' names, with the index where two are alike: columns are named so."""
    names = [image.channels[c] for c in carried]
    return [n if names.count(n) == 1 else f"{n} {c}" for n, c in zip(names, carried, strict=True)]


def _check_room(folder: Path, image: TiffImage, channels: int) -> None:
    """Check that the array fits the disk, before a damaged header's size is believed."""
    check_complete(image, range(len(image.channels))[:1])
    needed = image.shape[0] * image.shape[1] * channels * image.dtype.itemsize
    place = Path(tempfile.gettempdir()) if is_bucket_mount(folder) else folder
    free = shutil.disk_usage(place).free - _SPARE_BYTES
    if needed > free:
        raise BadInput(
            f"output '{folder}'",
            expected=f"room for {needed / 1e9:.1f} GB, the pixels of {image.label}",
            found=f"{free / 1e9:.1f} GB free",
        )


def _write_truth(out: BatchWriter, item: Item, image: TiffImage) -> tuple[str, ...]:
    """Write an image's label images, or say that there are none; return what was remarked."""
    if not item.truth:
        with out.create(item.name, {}, attributes={"truth": False}):
            return ()
    with uris.open_uri(item.truth) as file:
        found: Truth = read_truth(file, item.truth)
    if found.shape != image.shape:
        at = f", level {image.level} of the pyramid" if image.level else ""
        raise BadInput(
            f"truth '{item.truth}'",
            expected=f"shape {image.shape}, as {image.label}{at}",
            found=f"shape {found.shape}",
        )
    two = found.labels.ndim == 3
    out.write(
        item.name,
        {"labels": found.labels},
        axes={"labels": "YXC" if two else "YX"},
        mpp=image.mpp,
        mpp_source=image.mpp_source,
        channels=("whole_cell", "nuclear") if two else (),
        attributes={"truth": True, "source": item.truth, "remarks": list(found.remarks)},
    )
    return tuple(f"truth: {remark}" for remark in found.remarks)
