"""The stage that brings images to the scale and the pixel values that a model expects."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.arrays.channels import SelectedChannels, selected_channels
from cellmill.arrays.rows import check_memory
from cellmill.arrays.windows import Grid, WritableWindowed, sections_of
from cellmill.contract import (
    Images,
    Input,
    Model,
    Output,
    Preprocessed,
    Record,
    for_each_image,
    stage,
)
from cellmill.models.card import ModelCard
from cellmill.preprocessing import (
    PreparedImage,
    PreparedVolume,
    ScaleSettings,
    Scaling,
    prepare_image,
    prepare_volume,
)
from cellmill.stages.shared.notes import note_contrast
from cellmill.stages.shared.scaling import (
    note_scalings,
    scaled_attributes,
    scaled_mpp,
    scaling_for,
    size_model_of,
)
from cellmill.terminal import say

#: Side of the blocks that are written at once: whole storage units of a Zarr array.
_BLOCK = 2048


@stage(image="imaging", family="segmentation")
def preprocess(
    images: Input[Images],
    model: Input[Model],
    preprocessed: Output[Preprocessed],
    record: Output[Record],
    on_bad_image: Literal["fail", "skip"] = "fail",
    match_mpp: bool = True,
    diameter: str = "",
    compartment: str = "",
    memory_mib: int = 1024,
) -> None:
    """Bring images to the scale and the pixel values that a model expects.

    Args:
        images: Batch of images, array `image` (Y, X, C), or (Z, Y, X, C) of a volume, whose planes
            are brought there each, by the contrast of the whole.
        model: Model folder; its card says which channels, scale and normalisation it expects.
        preprocessed: Batch with array `image` (Y', X', C) or (Z, Y', X', C) float32, channels in
            the model's order, in a Zarr where the image was in one.
        record: What was done, with times and versions.
        on_bad_image: What to do with an image that cannot be used: fail, or skip it and go on.
        match_mpp: Go by the pixel size where no diameter is given: to the model's microns per
            pixel, or where that would put the objects out of the range that it was trained over to
            the diameter that it was trained on.
        diameter: The objects' diameter in pixels, which is brought to the one that the model was
            trained on; or auto, to estimate it from each image. Empty goes by the pixel size.
        compartment: What will be segmented, whose diameter is given: nuclear, whole-cell, another
            kind of object that the model has, or several; empty is the model card's default.
        memory_mib: Memory to work in, in MiB; an image that takes more is worked on by windows.
            Results do not depend on it.
    """
    check_memory(memory_mib)
    card = ModelCard.load(model.path)
    source = Batch.open(images.path)
    settings = ScaleSettings.of(card, diameter, compartment, match_mpp)
    size_model = size_model_of(model.path, settings)
    scalings: dict[str, Scaling] = {}
    contrast: dict[str, list[str]] = {}
    with BatchWriter(preprocessed.path, attributes={"model": card.to_dict()}) as out:

        def work(entry: Entry) -> None:
            what = f"image '{entry.name}'"
            names = [channel.name for channel in card.input.channels]
            array = source.array(entry, "image")
            planes = [
                selected_channels(plane, entry, names, card.name, card.input.fewest_channels)
                for plane in sections_of(array, 3)
            ]
            depth = array.shape[:-3]
            # Of a volume the plane in its middle stands for all.
            image = planes[len(planes) // 2]
            with record.step("find scale") if diameter else contextlib.nullcontext():
                scaling = scaling_for(settings, entry, image, memory_mib, size_model)
            scalings[entry.name] = scaling
            axes = "ZYXC" if depth else "YXC"
            layout = {"image": ((*depth, *scaling.shape, len(names)), np.float32, axes)}
            attributes = scaled_attributes(entry, scaling, array.shape[:-1])
            about = {"shape": scaling.shape, "memory": memory_mib << 20, "what": what}
            ready, notes = _prepared(planes, card, record, volume=bool(depth), **about)
            if notes:
                contrast[entry.name] = attributes["contrast"] = [*notes]
            at_once = isinstance(ready, PreparedImage) and ready.in_memory
            with (
                record.step("write" if at_once else "normalise and write"),
                out.create(
                    entry.name,
                    layout,
                    mpp=scaled_mpp(entry, attributes["scale"]),
                    mpp_source=entry.mpp_source,
                    channels=names,
                    attributes=attributes,
                    container=entry.arrays["image"].container,
                ) as arrays,
            ):
                _write(ready, arrays["image"])

        for_each_image(source, work, writers=[out], record=record, on_bad_image=on_bad_image)
    model_mpp = card.input.mpp
    unknown = [name for name, each in scalings.items() if model_mpp and match_mpp and not each.by]
    record.note(method=card.preprocessing.method, model_mpp=model_mpp, mpp_unknown=unknown)
    note_scalings(scalings, record)
    note_contrast(contrast, record)
    if unknown:
        say(
            f"warning: {len(unknown)} image(s) of unknown pixel size, first '{unknown[0]}', run at "
            f"their own scale; the model expects {model_mpp:g} µm/px",
            to=sys.stderr,
        )


def _prepared(
    planes: Sequence[SelectedChannels],
    card: ModelCard,
    record: Record,
    *,
    volume: bool,
    **about: Any,
) -> tuple[PreparedImage | PreparedVolume, Sequence[str]]:
    """Prepare an image, or the planes of a volume; and what is to be noted of its contrast."""
    if not volume:
        image = prepare_image(planes[0], card, **about, step=record.step)
        return image, image.normalisation.notes
    with record.step("find normalisation"):
        stack = prepare_volume(planes, card, **about)
    return stack, stack.notes


def _write(ready: PreparedImage | PreparedVolume, out: WritableWindowed) -> None:
    """Write an image by blocks, a volume by planes."""
    if isinstance(ready, PreparedVolume):
        for z in range(ready.shape[0]):
            out[z] = ready.plane(z)
        return
    grid = Grid((out.shape[0], out.shape[1]), _BLOCK)
    for box in map(grid.box, range(len(grid))):
        out[box.slices] = ready.read(box)
