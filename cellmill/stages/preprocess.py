"""The stage that brings images to the scale and the pixel values that a model expects."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from cellmill.arrays.batch import Batch, BatchWriter, Entry
from cellmill.arrays.channels import SelectedChannels, selected_channels
from cellmill.arrays.rows import check_memory
from cellmill.arrays.windows import Grid
from cellmill.contract import Dataset, Input, Model, Output, Record, for_each_image
from cellmill.models.card import ModelCard
from cellmill.preprocessing import model_shape, network_input, resize_image
from cellmill.preprocessing import preprocess as normalise
from cellmill.preprocessing.pixels import read_in_threads

#: Side of the blocks that are written at once: whole storage units of a Zarr array.
_BLOCK = 2048


def preprocess(
    images: Input[Dataset],
    model: Input[Model],
    preprocessed: Output[Dataset],
    record: Output[Record],
    on_bad_image: Literal["fail", "skip"] = "fail",
    match_mpp: bool = True,
    memory_mib: int = 1024,
) -> None:
    """Bring images to the scale and the pixel values that a model expects.

    Args:
        images: Batch of images, array `image` (Y, X, C).
        model: Model folder; its card says which channels, scale and normalisation it expects.
        preprocessed: Batch with array `image` (Y', X', C) float32, channels in the model's order,
            in a Zarr where the image was in one.
        record: What was done, with times and versions.
        on_bad_image: What to do with an image that cannot be used: fail, or skip it and go on.
        match_mpp: Resize images to the model's microns per pixel; an image whose own is unknown
            is never resized.
        memory_mib: Memory to work in, in MiB; an image that takes more is worked on by windows.
            Results do not depend on it.
    """
    check_memory(memory_mib)
    card = ModelCard.load(model.path)
    source = Batch.open(images.path)
    unknown: list[str] = []
    with BatchWriter(preprocessed.path, attributes={"model": card.to_dict()}) as out:

        def work(entry: Entry) -> None:
            what = f"image '{entry.name}'"
            names = [channel.name for channel in card.input.channels]
            image = selected_channels(source.array(entry, "image"), entry, names, card.name)
            shape = (image.shape[0], image.shape[1])
            mpp = entry.mpp if match_mpp and card.input.mpp else None
            if match_mpp and card.input.mpp and mpp is None:
                unknown.append(entry.name)
            target = model_shape(shape, mpp, card, what, entry.mpp_source)
            scale = [target[0] / shape[0], target[1] / shape[1]]
            layout = {"image": ((*target, len(names)), np.float32, "YXC")}
            attributes: dict[str, Any] = {
                **entry.attributes,
                "source_shape": [*shape],
                "source_mpp": [*entry.mpp] if entry.mpp else None,
                "scale": scale,
            }
            in_memory = _bytes_in_memory(image, target) <= memory_mib << 20
            if in_memory:
                with record.step("resize"):
                    pixels = resize_image(np.asarray(image), target, what)
                with record.step("normalise"):
                    pixels = normalise(pixels, card.preprocessing, what=what)
            else:
                with record.step("find normalisation"):
                    view = network_input(
                        image.image,
                        card,
                        channels=image.channels,
                        mpp=mpp,
                        memory=(memory_mib << 20) // 2,
                        what=what,
                    )
            with (
                record.step("write" if in_memory else "normalise and write"),
                out.create(
                    entry.name,
                    layout,
                    mpp=(entry.mpp[0] / scale[0], entry.mpp[1] / scale[1]) if entry.mpp else None,
                    mpp_source=entry.mpp_source,
                    channels=names,
                    attributes=attributes,
                    container="zarr" if entry.arrays["image"].store else "npz",
                ) as arrays,
            ):
                grid = Grid(target, _BLOCK)
                for box in map(grid.box, range(len(grid))):
                    arrays["image"][box.slices] = (
                        pixels[box.slices] if in_memory else read_in_threads(view, box)
                    )

        for_each_image(source, work, writers=[out], record=record, on_bad_image=on_bad_image)
    record.note(method=card.preprocessing.method, model_mpp=card.input.mpp, mpp_unknown=unknown)
    if unknown:
        print(
            f"warning: {len(unknown)} image(s) of unknown pixel size, first '{unknown[0]}', run at "
            f"their own scale; the model expects {card.input.mpp:g} µm/px",
            file=sys.stderr,
        )


def _bytes_in_memory(image: SelectedChannels, target: Sequence[int]) -> int:
    """What it takes to preprocess an image at once, rather than by windows."""
    size = image.dtype.itemsize
    channels = image.shape[2]
    source, scaled = image.shape[0] * image.shape[1], target[0] * target[1]
    # The selected channels; their resized pixels, the result; a channel's bins and grey values.
    return source * channels * size + scaled * (channels * (size + 4) + 3)
