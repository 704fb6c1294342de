"""The stage that opens images by URI and puts the channels that matter into arrays."""

from __future__ import annotations

import contextlib
import hashlib
import math
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np

from cellmill import uris
from cellmill.arrays import resume
from cellmill.arrays.batch import BatchWriter, Container, Entry
from cellmill.arrays.channels import BLANK
from cellmill.arrays.files import is_bucket_mount
from cellmill.contract import Dataset, Output, Record, for_each_image
from cellmill.digests import checked_digest
from cellmill.errors import BadInput
from cellmill.images import open_file, open_image_at, read_pixels
from cellmill.items import Item, parse_items
from cellmill.tiff.layout import TiffImage
from cellmill.tiff.read import is_grey
from cellmill.tiff.select import describe, select_channels
from cellmill.tiff.stored import check_complete
from cellmill.truth import Truth, copy_labels, read_truth

if TYPE_CHECKING:
    from cellmill.zarr_images import ZarrImage

#: Left free on the disk that is written to.
_SPARE_BYTES = 1 << 24
#: An image of more pixels, counted over the channels that are kept, goes into a Zarr by itself.
_NPZ_PIXELS = 256 * 10**6
#: A truth of more pixels is not held whole where there is a Zarr to write it to.
_WHOLE_TRUTH = 1 << 25
_LEAST_MIB = 64
#: Where a store keeps the marks of what is read, until all is.
_LEDGER = ".ledger"
_COMPARTMENTS = ("whole_cell", "nuclear")


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
    container: Literal["auto", "npz", "zarr"] = "auto",
    store: str = "",
    memory_mib: int = 1024,
) -> None:
    """Open TIFF images and put the channels that matter into arrays.

    Only the pages of those channels are read. Reads TIFF, OME-TIFF, BigTIFF, ImageJ and MetaMorph
    files, pyramids, tiles and strips, every common compression, and OME-Zarr 0.5; 8- and 16-bit
    pixels stay as they are, others become float32. Killed and started again with a Zarr container,
    it reads only what is missing.

    Args:
        images: Batch of images, array `image` (Y, X, C) uint8, uint16 or float32; the channels to
            segment come first.
        truth: Batch of label images, array `labels` (Y, X) or (Y, X, 2: whole cells, nuclei)
            int32; an entry without arrays where an image has no truth.
        record: What was done, with times and versions.
        items: The images: paths or URIs, or objects {"image": URI, "truth": URI or "", "name":
            its name, "digest": "sha256:…" of the image, "truth_digest": of the truth}; only
            "image" is needed. A file whose digest is another is refused; a local one without is
            known by its size and time of change.
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
        container: What arrays are kept in: npz; zarr, OME-Zarr in shards, which tasks can share; or
            auto, zarr for images of more than 256 million pixels, counted over channels.
        store: Folder or URI (gs://, s3://) that Zarr stores go to. Empty: the batch's own folder,
            or in a pipeline beside it, where no launcher copies them.
        memory_mib: Memory to work in, MiB, beyond what the program itself takes.
    """
    if memory_mib < _LEAST_MIB:
        raise BadInput(
            "parameter memory_mib", expected=f"at least {_LEAST_MIB}", found=f"{memory_mib}"
        )
    for name, value in (("mpp", mpp), ("target_mpp", target_mpp)):
        if not (np.isfinite(value) and value >= 0):
            raise BadInput(f"parameter {name}", expected="0 or more microns", found=f"{value}")
    by_name = {item.name: item for item in parse_items(items)}
    store = store or (f"{images.uri}.store" if images.uri else "")
    with BatchWriter(images.path) as out, BatchWriter(truth.path) as truth_out:

        def work(entry: Entry) -> None:
            item = by_name[entry.name]
            said: list[str] = []
            choice = {"mpp": mpp, "target_mpp": target_mpp, "z": z, "t": t, "series": series}
            with open_file(item.image) as file:
                with record.step("check digest"):
                    image_digest = checked_digest(item.image, item.digest, file, said)
                with open_image_at(item.image, file, **choice) as image:
                    said += image.remarks
                    chosen = _segmentation_channels(image, channels, said, memory_mib)
                    carried = _carried(image, chosen, measure_channels)
                    kept_in = _container(container, image, len(carried))
                    places = _Places(kept_in, store, image_digest, memory_mib)
                    _check_room(out, entry.name, places, image, len(carried))
                    with record.step("read truth"):
                        said += _write_truth(truth_out, item, image, places)
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
                        "remarks": said,
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
                            container=kept_in,
                            store=places.store,
                        ) as arrays,
                        places.ledger(out, entry.name) as ledger,
                    ):
                        read_pixels(
                            image, carried, arrays["image"], memory_mib=memory_mib, ledger=ledger
                        )
            for line in said:
                print(f"{entry.name}: {line}", file=sys.stderr)

        entries = [Entry(name, attributes={"source": i.image}) for name, i in by_name.items()]
        for_each_image(
            entries, work, writers=[out, truth_out], record=record, on_bad_image=on_bad_image
        )
    remarks = {entry.name: entry.attributes.get("remarks") for entry in out.entries}
    record.note(remarks={name: lines for name, lines in remarks.items() if lines})


@dataclass(frozen=True)
class _Places:
    """Where an image's arrays go, and what is marked there while it is read.

    Attributes:
        container: of the image's array.
        root: URI under which Zarr stores go; empty: the batch.
        digest: what the bytes are known by; marks made of others do not count.
        memory_mib: what may be taken.
    """

    container: Container
    root: str
    digest: str
    memory_mib: int

    @property
    def store(self) -> str:
        """Of images, as ``BatchWriter.create`` takes it."""
        return self.root

    @property
    def truth_store(self) -> str:
        """Of truths, so that the two stores of one name lie apart."""
        return f"{self.root.rstrip('/')}/truth" if self.root else ""

    @contextlib.contextmanager
    def ledger(self, out: BatchWriter, name: str, store: str | None = None) -> Iterator[Any]:
        """Give the marks of work on an entry's store; none where there is nothing to go on with."""
        if self.container == "npz" or not resume.fingerprint():
            yield None
            return
        from cellmill.arrays.store import Ledger

        place = out.store_uri(name, self.store if store is None else store)
        work = hashlib.sha256(f"{resume.fingerprint()} {self.digest}".encode()).hexdigest()
        ledger = Ledger(f"{place}/{_LEDGER}", work)
        yield ledger
        ledger.clear()


def _container(wanted: str, image: TiffImage | ZarrImage, channels: int) -> Container:
    if wanted == "auto":
        pixels = image.shape[0] * image.shape[1] * channels
        return "zarr" if pixels > _NPZ_PIXELS else "npz"
    return "zarr" if wanted == "zarr" else "npz"


def _segmentation_channels(
    image: TiffImage | ZarrImage, text: str, remarks: list[str], memory_mib: int
) -> list[int]:
    if text.strip():
        return select_channels(text, image.channels, image.label)
    if len(image.channels) == 1:
        return [0]
    if isinstance(image, TiffImage) and image.colour and is_grey(image, memory_mib):
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


def _carried(image: TiffImage | ZarrImage, chosen: Sequence[int], measured: str) -> list[int]:
    """Return the channels to store, each once: those to segment, then those to measure."""
    more: Sequence[int] = ()
    if measured.strip().lower() == "all" and "all" not in image.channels:
        more = range(len(image.channels))
    elif measured.strip():
        more = select_channels(measured, image.channels, image.label)
    return [c for c in dict.fromkeys([*chosen, *more]) if c != BLANK]


def _distinct_names(image: TiffImage | ZarrImage, carried: Sequence[int]) -> list[str]:
    """Return the channels' names, with the index where two are alike: columns are named so."""
    names = [image.channels[c] for c in carried]
    return [n if names.count(n) == 1 else f"{n} {c}" for n, c in zip(names, carried, strict=True)]


def _check_room(
    out: BatchWriter, name: str, places: _Places, image: TiffImage | ZarrImage, channels: int
) -> None:
    """Check that the array fits the disk, before a damaged header's size is believed."""
    if isinstance(image, TiffImage):
        check_complete(image, range(len(image.channels))[:1])
    needed = image.shape[0] * image.shape[1] * channels * image.dtype.itemsize
    place: Path | None = out.folder
    if places.container == "zarr":
        place = uris.local_path(out.store_uri(name, places.store))
    elif is_bucket_mount(out.folder):
        place = Path(tempfile.gettempdir())
    if place is None:
        return
    # What a killed run left there is part of the array.
    have = sum(p.stat().st_size for p in place.rglob("*") if p.is_file()) if place.suffix else 0
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free - _SPARE_BYTES + have
    if needed > free:
        raise BadInput(
            f"output '{out.folder}'",
            expected=f"room for {needed / 1e9:.1f} GB, the pixels of {image.label}",
            found=f"{free / 1e9:.1f} GB free",
        )


def _write_truth(
    out: BatchWriter, item: Item, image: TiffImage | ZarrImage, places: _Places
) -> tuple[str, ...]:
    """Write an image's label images, or say that there are none; return what was remarked."""
    if not item.truth:
        with out.create(item.name, {}, attributes={"truth": False}):
            return ()
    streamed = places.container == "zarr" and math.prod(image.shape) > _WHOLE_TRUTH
    with open_file(item.truth) as file:
        digest = checked_digest(item.truth, item.truth_digest, file)
        places = replace(places, digest=f"{places.digest} {digest}")
        head = file.read(2) if file is not None else b""
        if file is None or (streamed and head in (b"II", b"MM")):
            _stream_truth(out, item, image, places, file, digest)
            return ()
        file.seek(0)
        found: Truth = read_truth(file, item.truth)
    _check_shape(item, image, found.shape)
    two = found.labels.ndim == 3
    out.write(
        item.name,
        {"labels": found.labels},
        axes={"labels": "YXC" if two else "YX"},
        mpp=image.mpp,
        mpp_source=image.mpp_source,
        channels=_COMPARTMENTS if two else (),
        attributes={
            "truth": True,
            "source": item.truth,
            "digest": digest,
            "remarks": list(found.remarks),
        },
        container=places.container,
        store=places.truth_store,
    )
    return tuple(f"truth: {remark}" for remark in found.remarks)


def _stream_truth(
    out: BatchWriter,
    item: Item,
    image: TiffImage | ZarrImage,
    places: _Places,
    file: IO[bytes] | None,
    digest: str,
) -> None:
    """Write label images that are too large to be held, or that lie in an OME-Zarr."""
    with open_image_at(item.truth, file) as opened:
        labels = replace(opened, label=f"truth '{item.truth}'")
        _check_shape(item, image, labels.shape)
        two = len(labels.channels) > 1
        shape = (*labels.shape, 2) if two else labels.shape
        with (
            out.create(
                item.name,
                {"labels": (shape, np.int32, "YXC" if two else "YX")},
                mpp=image.mpp,
                mpp_source=image.mpp_source,
                channels=_COMPARTMENTS if two else (),
                attributes={
                    "truth": True,
                    "source": item.truth,
                    "digest": digest,
                    "remarks": [],
                },
                container=places.container,
                store=places.truth_store,
            ) as arrays,
            places.ledger(out, item.name, places.truth_store) as ledger,
        ):
            copy_labels(labels, arrays["labels"], memory_mib=places.memory_mib, ledger=ledger)


def _check_shape(item: Item, image: TiffImage | ZarrImage, shape: tuple[int, int]) -> None:
    if shape != image.shape:
        at = f", level {image.level} of the pyramid" if image.level else ""
        raise BadInput(
            f"truth '{item.truth}'",
            expected=f"shape {image.shape}, as {image.label}{at}",
            found=f"shape {shape}",
        )
