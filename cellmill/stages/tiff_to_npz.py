"""The stage that opens images by URI and puts the channels that matter into arrays."""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np

from cellmill.arrays.batch import Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.arrays.channels import BLANK, distinct_names
from cellmill.arrays.entries import Container
from cellmill.arrays.files import is_bucket_mount
from cellmill.arrays.resume import key_of
from cellmill.arrays.rows import check_memory
from cellmill.compute.faults import check_room, fits_disk, shown
from cellmill.contract import GroundTruth, Images, Output, Record, for_each_image, stage
from cellmill.errors import BadInput
from cellmill.io import uris
from cellmill.io.digests import checked_digest, stamp
from cellmill.io.images import channels_to_segment, open_file, open_image_at, read_pixels
from cellmill.io.items import Item, parse_items
from cellmill.io.tiff.axes import focal_plane, time_point
from cellmill.io.tiff.layout import TiffImage
from cellmill.io.tiff.select import select_channels
from cellmill.io.tiff.stored import check_complete
from cellmill.io.truth import TruthKind
from cellmill.stages.shared.conversion import Places, write_truth
from cellmill.stages.shared.time_points import Frame, frames_of
from cellmill.terminal import say

if TYPE_CHECKING:
    from cellmill.io.windowed_image import WindowedImage

#: An image of more pixels, counted over the channels that are kept, goes into a Zarr by itself.
_NPZ_PIXELS = 256 * 10**6
#: What the record says of each truth.
_OF_TRUTH = ("source", "pairing", "kind", "decision")


@stage(image="imaging", family="input")
def tiff_to_npz(
    images: Output[Images],
    truth: Output[GroundTruth],
    record: Output[Record],
    items: list,
    channels: str = "",
    measure_channels: str = "",
    mpp: float = 0.0,
    target_mpp: float = 0.0,
    z: str = "",
    z_step: float = 0.0,
    t: str = "",
    series: int = -1,
    truth_kind: TruthKind = "",
    on_bad_image: Literal["fail", "skip"] = "fail",
    container: Literal["auto", "npz", "zarr"] = "auto",
    store: str = "",
    memory_mib: int = 1024,
) -> None:
    """Open TIFF images and put the channels that matter into arrays.

    Only the pages of those channels are read. Reads TIFF, OME-TIFF, BigTIFF, ImageJ and MetaMorph
    files, pyramids, tiles and strips, every common compression, OME-Zarr 0.4 and 0.5, plates among
    them, and CZI, LIF, ND2, OIB and OIF; 8- and 16-bit pixels stay as they are, others become
    float32. Killed and started again with a Zarr container, it reads only what is missing.

    Args:
        images: Batch of images, array `image` (Y, X, C), or (Z, Y, X, C) of a volume, uint8, uint16
            or float32; the channels to segment come first.
        truth: Batch of label images, array `labels` (Y, X) or (Y, X, 2: whole cells, nuclei)
            int32, with Z before them of a volume; an entry without arrays where an image has no
            truth.
        record: What was done, with times and versions.
        items: The images: paths or URIs, or objects {"image": URI, "truth": URI or "", "name":
            its name, "digest": "sha256:…" of the image, "truth_digest": of the truth, "pairing":
            why that is its truth}; only "image" is needed. Where image and truth are folders or
            globs, their files are paired by their paths. A file whose digest is another is refused;
            a local one without is known by its size and time of change.
        channels: Channels to segment, in the model's order, by name or 0-based index, with commas
            between: `DAPI,membrane`, `0,2`; `-` is a blank channel. Empty: the image's only one.
        measure_channels: More channels to carry along for measurement, likewise; `all` for all.
        mpp: Pixel size at full resolution in microns; overrides what the file says. 0: the file's.
        target_mpp: Of a pyramid, read the coarsest level that is not coarser than this many
            microns per pixel. 0: full resolution.
        z: Focal plane to read, 0-based; `all` for the volume of all of them. Empty: the only one.
        z_step: Distance between focal planes in microns; overrides what the file says. 0: the
            file's.
        t: Time point to read, 0-based; `all` makes each an image of the batch, `NAME_t0` and so
            on, of the truth, which then is a series too, likewise. Empty: the only one.
        series: Image to read of a file that holds several, 0-based. -1: the only one, or the
            largest.
        truth_kind: What truth files are: `labels`, a number an object; `mask`, each connected piece
            an object; `colours`, each piece of one colour, or value; `planes` of labels, of whole
            cells and of nuclei. Empty: decided by what a file says of itself, then by its values.
        on_bad_image: What to do with an image that cannot be used: fail, or skip it and go on.
        container: What arrays are kept in: npz; zarr, OME-Zarr in shards, which tasks can share; or
            auto, zarr for images of more than 256 million pixels, counted over channels.
        store: Folder or URI (gs://, s3://) that Zarr stores go to. Empty: the batch's own folder,
            or in a pipeline beside it, where no launcher copies them.
        memory_mib: Memory to work in, MiB, beyond what the program itself takes.
    """
    check_memory(memory_mib)
    depth = focal_plane(z)
    scale = _checked_microns(mpp=mpp, target_mpp=target_mpp, z_step=z_step)
    choice: dict[str, Any] = {**scale, "z": depth, "series": series}
    found = parse_items(items, skip_unreadable=on_bad_image == "skip")
    frames = frames_of(found, time_point(t), choice)
    digests: dict[str, str] = {}
    store = store or (f"{images.uri}.store" if images.uri else "")
    with BatchWriter(images.path) as out, BatchWriter(truth.path) as truth_out:

        def work(entry: Entry) -> None:
            frame = frames[entry.name]
            item = frame.item
            said: list[str] = []
            with open_file(item.image) as file:
                with record.step("check digest"):
                    image_digest = _digest_of(item, file, said, digests)
                with open_image_at(item.image, file, **choice, t=frame.t) as image:
                    said += image.remarks
                    names = distinct_names(image.channels)
                    chosen = channels_to_segment(image, channels, said, memory_mib)
                    carried = _carried(image, chosen, measure_channels)
                    key = _key(item, image_digest, carried, image.level, depth, frame.t, series)
                    root = f"{store.rstrip('/')}/{entry.name}-{key}" if store else ""
                    kept_in = _container(container, image, carried)
                    places = Places(kept_in, root, image_digest, memory_mib)
                    _check_room(out, entry.name, places, image, len(carried))
                    with record.step("read truth"):
                        said += write_truth(truth_out, frame, image, places, truth_kind)
                    axes = "ZYXC" if image.stack else "YXC"
                    layout = {"image": ((*image.shape, len(carried)), image.dtype, axes)}
                    with (
                        record.step("read image"),
                        out.create(
                            entry.name,
                            layout,
                            mpp=image.mpp,
                            mpp_source=image.mpp_source,
                            channels=[names[channel] for channel in carried],
                            attributes={
                                **_facts(frame, image, chosen, carried),
                                "digest": image_digest,
                                "remarks": said,
                            },
                            container=places.container,
                            store=places.store,
                        ) as arrays,
                        places.ledger(out, entry.name) as ledger,
                    ):
                        read_pixels(
                            image, carried, arrays["image"], memory_mib=memory_mib, ledger=ledger
                        )
            for line in said:
                say(f"{entry.name}: {line}", to=sys.stderr)

        entries = [Entry(n, attributes={"source": f.item.image}) for n, f in frames.items()]
        for_each_image(
            entries, work, writers=[out, truth_out], record=record, on_bad_image=on_bad_image
        )
    _note(record, out, truth_out)


def _checked_microns(**lengths: float) -> dict[str, float]:
    """Return parameters that are lengths; 0 is none."""
    for name, value in lengths.items():
        if not (np.isfinite(value) and value >= 0):
            raise BadInput(f"parameter {name}", expected="0 or more microns", found=f"{value}")
    return lengths


def _digest_of(item: Item, file: IO[bytes] | None, said: list[str], known: dict[str, str]) -> str:
    """The digest of an image, which the time points of a file share: it is read once."""
    if item.image not in known:
        known[item.image] = checked_digest(item.image, item.digest, file, said)
    return known[item.image]


def _facts(
    frame: Frame,
    image: TiffImage | WindowedImage,
    chosen: Sequence[int],
    carried: Sequence[int],
) -> dict[str, Any]:
    """What later stages know of an image: which of its channels and levels are there."""
    return {
        "source": frame.item.image,
        **frame.attributes,
        "segmentation_channels": [BLANK if c == BLANK else carried.index(c) for c in chosen],
        "source_channels": list(carried),
        "stored_dtype": str(image.stored_dtype),
        "level": image.level,
        "level_shapes": [list(shape) for shape in image.level_shapes],
    }


def _note(record: Record, images: BatchWriter, truth: BatchWriter) -> None:
    """Put what was remarked, and what truth was taken for, into the record."""
    remarks = {entry.name: entry.attributes.get("remarks") for entry in images.entries}
    record.note(
        remarks={name: lines for name, lines in remarks.items() if lines},
        truth={
            entry.name: {key: entry.attributes.get(key, "") for key in _OF_TRUTH}
            for entry in truth.entries
            if entry.attributes.get("truth")
        },
    )


def _key(item: Item, digest: str, *chosen: Any) -> str:
    """What an image's store is found by: its bytes and its truth's, and what is read of them."""
    known = [digest if digest and not digest.startswith("stat:") else f"{digest} {item.image}"]
    if item.truth:
        known.append(item.truth_digest or f"{stamp(item.truth)} {item.truth}")
    return key_of(known, *chosen)


def _container(wanted: str, image: TiffImage | WindowedImage, channels: Sequence[int]) -> Container:
    if wanted == "auto":
        pixels = math.prod(image.shape) * len(channels)
        return "zarr" if pixels > _NPZ_PIXELS else "npz"
    return "zarr" if wanted == "zarr" else "npz"


def _carried(image: TiffImage | WindowedImage, chosen: Sequence[int], measured: str) -> list[int]:
    """Return the channels to store, each once: those to segment, then those to measure."""
    more: Sequence[int] = ()
    if measured.strip().lower() == "all" and "all" not in image.channels:
        more = image.available
    elif measured.strip():
        more = select_channels(measured, image.channels, image.label)
    return [c for c in dict.fromkeys([*chosen, *more]) if c != BLANK]


def _check_room(
    out: BatchWriter, name: str, places: Places, image: TiffImage | WindowedImage, channels: int
) -> None:
    """Check that the array fits the disk, before a damaged header's size is believed."""
    if isinstance(image, TiffImage):
        check_complete(image, range(len(image.channels))[:1])
    needed = math.prod(image.shape) * channels * image.dtype.itemsize
    place: Path | None = out.folder
    if places.container == "zarr":
        place = uris.local_path(out.store_uri(name, places.store))
    elif is_bucket_mount(out.folder):
        place = Path(tempfile.gettempdir())
    if place is None:
        return
    # What a killed run left there is part of the array.
    have = sum(p.stat().st_size for p in place.rglob("*") if p.is_file()) if place.suffix else 0
    if not fits_disk(place, needed):
        # Whatever else is on the disk, it is the image that is too large.
        raise BadInput(
            image.label, expected="pixels that fit the disk", found=f"{shown(needed)} of them"
        )
    check_room(place, needed - have, f"the pixels of {image.label}")
