"""The stage that shows what a restoration did: before and after, spectra, errors, objects."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.arrays.files import write_text
from cellmill.arrays.windows import Windowed
from cellmill.contract import (
    GroundTruth,
    Images,
    Input,
    Labels,
    Metrics,
    Output,
    PointSpread,
    Record,
    Reports,
    for_each_image,
    stage,
)
from cellmill.errors import BadInput
from cellmill.labels.kinds import kinds_in
from cellmill.labels.pairs import pair_labels
from cellmill.metrics.matching import match
from cellmill.reporting.pictures import encode_png
from cellmill.reporting.psf import ShownPsf
from cellmill.reporting.restoration import (
    AFTER,
    BEFORE,
    PLAIN,
    TRUE,
    FoundObjects,
    Restoration,
    RestoredChannel,
    show_restoration,
)
from cellmill.restoration.assessment import root_mean_square_error
from cellmill.stages.shared.psfs import channel_names, pixels_of, psf_for, voxel_size
from cellmill.typed_json import read_object

#: Voxels of a channel beyond which a window is shown, and the window's sides.
_MOST_VOXELS = 1 << 26
_SIDES = (128, 512, 512)


@stage(image="imaging", family="reporting")
def report_restoration(
    images: Input[Images],
    restored: Input[Images],
    psf: Input[PointSpread],
    restoration_record: Input[Record],
    pages: Output[Reports],
    numbers: Output[Metrics],
    record: Output[Record],
    plain: Input[Images] | None = None,
    objects: Input[Images] | None = None,
    truth: Input[GroundTruth] | None = None,
    labels: Input[Labels] | None = None,
    labels_before: Input[Labels] | None = None,
    labels_plain: Input[Labels] | None = None,
    on_bad_image: Literal["fail", "skip"] = "fail",
) -> None:
    """Show what a restoration did: a page for each image, whole in itself.

    Cuts before and after at one contrast, a profile, spectra, the curve, the point spread function
    and warnings; with the true objects the error, with labels the objects, with truth both counted.

    Args:
        images: Batch with array `image` (Y, X, C) or (Z, Y, X, C), as acquired.
        restored: Batch of the same images, restored.
        psf: Batch of the point spread functions.
        restoration_record: Record of deconvolution.
        pages: Batch with files `<name>.html`, the page, and `<name>.png`, the cuts side by side.
        numbers: Errors and counts of all images, as JSON; the first image's are its metadata.
        record: What was done, with times and versions.
        plain: Batch of the same images restored otherwise, to compare with: Richardson-Lucy
            without total variation.
        objects: Batch of the objects before the blur, in the images' unit without background.
        truth: Batch of true label images, array `labels`.
        labels: Batch of labels of the restored images.
        labels_before: Batch of labels of the images as they were acquired.
        labels_plain: Batch of labels of `plain`.
        on_bad_image: What to do with an image that cannot be shown: fail, or skip it and go on.
    """
    notes = read_object(restoration_record.path, "record").get("notes", {})
    sides = _Sides(
        {BEFORE: Batch.open(images.path)}
        | ({PLAIN: Batch.open(plain.path)} if plain else {})
        | {AFTER: Batch.open(restored.path)}
        | ({TRUE: Batch.open(objects.path)} if objects else {}),
        {
            state: Batch.open(each.path)
            for state, each in ((BEFORE, labels_before), (PLAIN, labels_plain), (AFTER, labels))
            if each is not None
        },
        Batch.open(truth.path) if truth else None,
        Batch.open(psf.path),
        notes,
    )
    found: dict[str, Any] = {}
    after = sides.states[AFTER]
    with BatchWriter(pages.path) as out:

        def work(entry: Entry) -> None:
            with record.step("compare"):
                restoration = sides.restoration(entry)
            with record.step("write page"):
                page, picture = show_restoration(restoration)
                with out.open(entry.name, "html") as file:
                    file.write(page.encode("utf-8", "replace"))
                with out.open(entry.name, "png") as file:
                    file.write(encode_png(picture))
            found[entry.name] = restoration.numbers()
            out.annotate(entry.name, numbers=found[entry.name])

        for_each_image(after, work, writers=[out], record=record, on_bad_image=on_bad_image)
    write_text(numbers.path, json.dumps({"images": [*found.values()]}, indent=1) + "\n")
    numbers.metadata.update(_headlines(next(iter(found.values()), {})))


@dataclass(frozen=True)
class _Sides:
    """The batches that are shown, by state.

    Attributes:
        states: of images.
        labels: of those that were segmented.
        truth: label images.
        psfs: point spread functions.
        notes: of deconvolution's record.
    """

    states: Mapping[str, Batch]
    labels: Mapping[str, Batch]
    truth: Batch | None
    psfs: Batch
    notes: Mapping[str, Any]

    def restoration(self, entry: Entry) -> Restoration:
        """Compare the states of an image."""
        arrays = {
            state: pixels_of(batch, self._entry(batch, entry))
            for state, batch in self.states.items()
        }
        for state, array in arrays.items():
            if array.shape != arrays[AFTER].shape:
                raise BadInput(
                    f"image '{entry.name}', {state}",
                    expected=f"shape {arrays[AFTER].shape}",
                    found=f"{array.shape}",
                )
        shape = tuple(arrays[AFTER].shape[:-1])
        window, words = _window(arrays[AFTER], entry)
        own = self.notes.get("restoration", {}).get(entry.name, {})
        channels = [
            self._channel(entry, arrays, window, index, name, own.get("channels", {}))
            for index, name in enumerate(channel_names(entry, arrays[AFTER].shape[-1]))
        ]
        return Restoration(
            entry.name,
            shape,
            voxel_size(entry, len(shape)),
            _method(entry),
            channels,
            own.get("warnings", ()),
            words,
        )

    def _entry(self, batch: Batch, entry: Entry) -> Entry:
        return batch.counterpart(entry, self.states[AFTER]) or batch.entry(entry.name)

    def _channel(
        self,
        entry: Entry,
        arrays: Mapping[str, Windowed],
        window: tuple[slice, ...],
        index: int,
        name: str,
        notes: Mapping[str, Any],
    ) -> RestoredChannel:
        note = notes.get(name, {})
        under = note.get("background", 0.0) + note.get("offset", 0.0)
        whole = (*window, index)
        states = {}
        for state, array in arrays.items():
            values = np.asarray(array[whole]).astype(np.float32)
            scale = self._entry(self.states[state], entry).attribute(
                "intensity_scale", tuple[float, ...], None
            )
            if scale:
                values *= np.float32(scale[index])
            states[state] = values - np.float32(under * (state == BEFORE))
        true = states.get(TRUE)
        errors = (
            {}
            if true is None
            else {s: root_mean_square_error(v, true) for s, v in states.items() if s != TRUE}
        )
        segmented = entry.attribute("segmentation_channels", tuple[int, ...], None) or (0,)
        labels = self._labels(entry, window) if index == segmented[0] else {}
        objects = self._objects(entry, labels, window)
        axes = len(window)
        channels = arrays[AFTER].shape[-1]
        psf = psf_for(self.psfs, entry, index, channels, axes)
        source = self.psfs.entry(psf.name)
        shown = ShownPsf(
            psf.name,
            psf.values,
            voxel_size(source, axes),
            source.mpp_source,
            psf.facts,
            (),
            source.attributes,
        )
        return RestoredChannel(name, states, labels, errors, objects, shown, note)

    def _labels(self, entry: Entry, window: tuple[slice, ...]) -> dict[str, np.ndarray]:
        """The first kind of object, by state; the truth too."""
        found = {}
        for state, batch in self.labels.items():
            own = self._entry(batch, entry)
            kind = kinds_in(own.arrays, f"labels of image '{own.name}'")[0]
            found[state] = np.asarray(batch.array(own, kind)[window])
        if self.truth is not None:
            own = self._entry(self.truth, entry)
            if "labels" in own.arrays and "C" not in own.arrays["labels"].axes:
                found[TRUE] = np.asarray(self.truth.array(own, "labels")[window])
        return found

    def _objects(
        self, entry: Entry, labels: Mapping[str, np.ndarray], window: tuple[slice, ...]
    ) -> dict[str, FoundObjects]:
        true = labels.get(TRUE)
        found = {}
        for state, each in labels.items():
            if state == TRUE:
                continue
            if true is None:
                found[state] = FoundObjects(len(np.unique(each[each > 0])))
                continue
            if true.shape != each.shape:
                raise BadInput(
                    f"truth of image '{entry.name}'",
                    expected=f"shape {each.shape}",
                    found=f"{true.shape}",
                )
            # Overlap knows no axes: a volume is as good as its rows one below the other.
            pairs = pair_labels(*(a.reshape(-1, a.shape[-1]) for a in (true, each)))
            matching = match(pairs, 0.5)
            mean = matching.iou_sum / matching.tp if matching.tp else math.nan
            found[state] = FoundObjects(
                matching.tp + matching.fp, matching.tp + matching.fn, matching.tp, mean
            )
        return found


def _window(image: Windowed, entry: Entry) -> tuple[tuple[slice, ...], str]:
    """What is shown of an image: all of it, or a part around its brightest voxel."""
    shape = tuple(image.shape[:-1])
    if math.prod(shape) <= _MOST_VOXELS:
        return (slice(None),) * len(shape), ""
    brightest, point = -math.inf, (0,) * len(shape)
    for row in range(shape[0]):
        part = np.asarray(image[row : row + 1, ..., 0])
        place = np.unravel_index(int(part.argmax()), part.shape)
        if part[place] > brightest:
            brightest, point = float(part[place]), (row, *(int(p) for p in place[1:]))
    window = []
    for middle, side, wanted in zip(point, shape, _SIDES[-len(shape) :], strict=True):
        start = max(0, min(middle - wanted // 2, side - wanted))
        window.append(slice(start, min(start + wanted, side)))
    ends = ", ".join(
        f"{axis} {part.start} to {part.stop}"
        for axis, part in zip("zyx"[-len(shape) :], window, strict=True)
    )
    return tuple(window), f"Shown, and compared, is a part around the brightest voxel: {ends}."


def _method(entry: Entry) -> str:
    about = entry.attributes.get("restored") or {}
    if about.get("method") != "richardson_lucy":
        return str(about.get("method", "restored")).replace("_", " ")
    most = "at most " if about.get("consensus") else ""
    said = f"Richardson-Lucy, {most}{about['iterations']} iterations"
    if about["total_variation"]:
        said += f", total variation {about['total_variation']:g}"
    if about["accelerate"]:
        said += ", accelerated"
    if about.get("consensus"):
        said += ", as far as both halves of the photons agree"
    return f"{said}, edges {about['edges']}"


def _headlines(found: Mapping[str, Any]) -> dict[str, int | float]:
    """A few flat numbers of the first channel."""
    channel = next(iter(found.get("channels", {}).values()), None)
    if channel is None:
        return {}
    named: dict[str, int | float] = {}
    for key, state in (("before", BEFORE), ("plain", PLAIN), ("after", AFTER)):
        if state in channel["rmse"]:
            named[f"rmse_{key}"] = round(channel["rmse"][state], 4)
        if state in channel["objects"]:
            named[f"objects_{key}"] = channel["objects"][state]["found"]
            matched = channel["objects"][state]["matched"]
            if matched is not None:
                named[f"matched_{key}"] = matched
    return named
