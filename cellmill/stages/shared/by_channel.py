"""Images worked on channel by channel, and what travels on with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.contract import Record, for_each_image
from cellmill.errors import BadInput
from cellmill.stages.shared.psfs import channel_names, channel_of, pixels_of, voxel_size


@dataclass(frozen=True)
class ChannelToFilter:
    """One channel of an image that is worked on.

    Attributes:
        what: what messages call it.
        pixels: `(Y, X)` or `(Z, Y, X)`.
        voxel_um: µm per voxel, an axis each; None where unknown.
    """

    what: str
    pixels: np.ndarray
    voxel_um: tuple[float, ...] | None


def filter_images(
    source: Batch,
    target: Path,
    work: Callable[[ChannelToFilter], np.ndarray],
    record: Record,
    on_bad_image: str,
    step: str,
) -> None:
    """Make a batch of images from another, each channel by itself, float32.

    Args:
        source: images, array `image` `(Y, X, C)` or `(Z, Y, X, C)`.
        target: folder of the new batch.
        work: makes of a channel an image of its shape.
        record: the stage's.
        on_bad_image: `fail` or `skip`.
        step: what the record calls the work.

    Raises:
        BadInput: an image is bad and `on_bad_image` is `fail`; or no image is left.
    """
    with BatchWriter(target, attributes=source.attributes) as out:

        def one(entry: Entry) -> None:
            image = pixels_of(source, entry)
            axes = len(image.shape) - 1
            names = channel_names(entry, image.shape[-1])
            with out.create(
                entry.name,
                {"image": (image.shape, np.float32, entry.arrays["image"].axes)},
                mpp=entry.mpp,
                mpp_source=entry.mpp_source,
                channels=entry.channels,
                attributes=entry.attributes,
                container=entry.arrays["image"].container,
            ) as arrays:
                for index, name in enumerate(names):
                    what = f"image '{entry.name}', channel {name}"
                    channel = ChannelToFilter(
                        what, channel_of(image, index), voxel_size(entry, axes)
                    )
                    try:
                        with record.step(step):
                            result = work(channel)
                    except BadInput as bad:
                        if bad.what == what:
                            raise
                        raise bad.about(f"{what}, {bad.what}") from None
                    with record.step("write"):
                        arrays["image"][..., index] = result

        for_each_image(source, one, writers=[out], record=record, on_bad_image=on_bad_image)
