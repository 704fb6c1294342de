"""Where the arrays of an image that was opened go, and the writing of its true labels there."""

from __future__ import annotations

import contextlib
import hashlib
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from cellmill.arrays import resume
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.arrays.entries import Container
from cellmill.arrays.windows import WritableWindowed
from cellmill.errors import BadInput
from cellmill.io.digests import checked_digest
from cellmill.io.images import open_file
from cellmill.io.items import Item
from cellmill.io.tiff.layout import TiffImage
from cellmill.io.truth import TruthKind, copy_labels, copy_volume, read_truth
from cellmill.io.truth.kinds import Layout, layout_of
from cellmill.io.truth.opened import facts_of, open_truth
from cellmill.labels.kinds import WELL_KNOWN
from cellmill.stages.shared.time_points import Frame
from cellmill.terminal import say

if TYPE_CHECKING:
    from cellmill.io.windowed_image import WindowedImage

#: A truth of more pixels is not held whole where there is a Zarr to write it to.
_WHOLE_TRUTH = 1 << 25
#: Where a store keeps the marks of what is read, until all is.
_LEDGER = ".ledger"


@dataclass(frozen=True)
class Places:
    """Where an image's arrays go, and what is marked there while it is read.

    Attributes:
        container: of the image's array.
        root: URI of the image's own store; empty: the batch.
        digest: what the bytes are known by; marks made of others do not count.
        memory_mib: what may be taken.
    """

    container: Container
    root: str
    digest: str
    memory_mib: int

    @property
    def store(self) -> str:
        """Of images, as `BatchWriter.create` takes it."""
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


def write_truth(
    out: BatchWriter,
    frame: Frame,
    image: TiffImage | WindowedImage,
    places: Places,
    kind: TruthKind,
) -> tuple[str, ...]:
    """Write an image's label images, or say that there are none.

    Args:
        out: the batch of truths.
        frame: the image, the URI of its truth, and of a series the time point of both.
        image: the open image, which the truth must fit.
        places: where the image's arrays go.
        kind: what truth files are; empty: decided by what a file says of itself.

    Returns:
        What was remarked.

    Raises:
        BadInput: the truth is damaged, of another kind or of another shape than the image.
    """
    item, t = frame.item, frame.of_truth
    if not item.truth:
        with out.create(item.name, {}, attributes={"truth": False}):
            return ()
    about = {"truth": True, "source": item.truth, "pairing": item.pairing}
    with open_file(item.truth) as file:
        about["digest"] = checked_digest(item.truth, item.truth_digest, file)
        places = replace(places, digest=f"{places.digest} {about['digest']} {kind}")
        head = file.read(2) if file is not None else b""
        large = places.container == "zarr" and math.prod(image.shape) > _WHOLE_TRUTH
        if file is None or head in (b"II", b"MM"):
            if image.stack:
                remarks = _stream_volume(out, item, image, places, file, kind, t, about)
                if remarks is not None:
                    return remarks
            elif large:
                return _stream_truth(out, item, image, places, file, kind, t, about)
        found = read_truth(
            file,
            item.truth,
            kind,
            volume=bool(image.stack),
            t=t,
            memory_mib=places.memory_mib,
            check_shape=lambda shape: _check_shape(item, image, shape),
        )
    depth = "Z" if image.stack else ""
    two = found.labels.ndim == len(f"{depth}YXC")
    about |= {"kind": found.kind, "decision": found.decision, "remarks": list(found.remarks)}
    _tell_decision(item, found.decision, found.remarks)
    out.write(
        item.name,
        {"labels": found.labels},
        axes={"labels": f"{depth}YXC" if two else f"{depth}YX"},
        mpp=image.mpp,
        mpp_source=image.mpp_source,
        channels=WELL_KNOWN if two else (),
        attributes=about,
        container=places.container,
        store=places.truth_store,
    )
    return tuple(f"truth: {remark}" for remark in found.remarks)


def _stream_volume(
    out: BatchWriter,
    item: Item,
    image: TiffImage | WindowedImage,
    places: Places,
    file: IO[bytes] | None,
    kind: TruthKind,
    t: int,
    about: dict[str, Any],
) -> tuple[str, ...] | None:
    """Write the label images of a volume plane by plane; None for colours, which want the whole."""
    with open_truth(item.truth, file, "all", t) as labels:
        _check_shape(item, image, labels.shape)
        facts, channels, alpha = facts_of(labels, f"truth '{item.truth}'")
        layout = layout_of(facts, kind)
        if alpha is not None or layout.form == "colours":
            return None
        with _created(out, item, image, places, layout, about) as arrays:
            taken, decision, remarks = copy_volume(
                labels,
                facts,
                layout,
                arrays["labels"],
                channels=channels,
                kind=kind,
                memory_mib=places.memory_mib,
            )
            about |= {"kind": taken, "decision": decision, "remarks": [*remarks]}
    _tell_decision(item, decision, remarks)
    return tuple(f"truth: {remark}" for remark in remarks)


def _stream_truth(
    out: BatchWriter,
    item: Item,
    image: TiffImage | WindowedImage,
    places: Places,
    file: IO[bytes] | None,
    kind: TruthKind,
    t: int,
    about: dict[str, Any],
) -> tuple[str, ...]:
    """Write label images that are too large to be held."""
    with open_truth(item.truth, file, t=t) as labels:
        _check_shape(item, image, labels.shape)
        facts, channels, _ = facts_of(labels, f"truth '{item.truth}'")
        layout = layout_of(facts, kind)
        with (
            _created(out, item, image, places, layout, about) as arrays,
            places.ledger(out, item.name, places.truth_store) as ledger,
        ):
            decision, remarks = copy_labels(
                labels,
                facts,
                layout,
                arrays["labels"],
                channels=channels,
                kind=kind,
                memory_mib=places.memory_mib,
                ledger=ledger,
            )
            kept = "planes" if layout.form == "planes" else "labels"
            about |= {"kind": kept, "decision": decision}
            about["remarks"] = [*remarks]
    _tell_decision(item, decision, remarks)
    return tuple(f"truth: {remark}" for remark in remarks)


def _created(
    out: BatchWriter,
    item: Item,
    image: TiffImage | WindowedImage,
    places: Places,
    layout: Layout,
    about: dict[str, Any],
) -> contextlib.AbstractContextManager[Mapping[str, WritableWindowed]]:
    """Create the label images of an image or a volume, of one kind of object or of two."""
    two = layout.form == "planes"
    shape = (*image.shape, 2) if two else image.shape
    return out.create(
        item.name,
        {"labels": (shape, np.int32, ("ZYX" if image.stack else "YX") + "C" * two)},
        mpp=image.mpp,
        mpp_source=image.mpp_source,
        channels=WELL_KNOWN if two else (),
        attributes=about,
        container=places.container,
        store=places.truth_store,
    )


def _tell_decision(item: Item, decision: str, remarks: Sequence[str]) -> None:
    """Say what a truth was taken for; what is among the remarks is said with them."""
    if decision not in remarks:
        say(f"{item.name}: truth: {decision}", to=sys.stderr)


def _check_shape(item: Item, image: TiffImage | WindowedImage, shape: tuple[int, ...]) -> None:
    if shape != image.shape:
        at = f", level {image.level} of the pyramid" if image.level else ""
        raise BadInput(
            f"truth '{item.truth}'",
            expected=f"shape {image.shape}, as {image.label}{at}",
            found=f"shape {shape}",
        )
