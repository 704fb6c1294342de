"""The stage that takes the background off images."""

from __future__ import annotations

from typing import Literal

import numpy as np

from cellmill.arrays.batch import Batch
from cellmill.contract import Images, Input, Output, Record, stage
from cellmill.errors import BadInput
from cellmill.restoration.background import subtract_background
from cellmill.stages.shared.by_channel import ChannelToFilter, filter_images


@stage(image="imaging", family="restoration")
def background_subtract(
    images: Input[Images],
    subtracted: Output[Images],
    record: Output[Record],
    on_bad_image: Literal["fail", "skip"] = "fail",
    method: Literal["top_hat", "rolling_ball", "gaussian"] = "top_hat",
    radius: float = 25.0,
    radius_um: float = 0.0,
) -> None:
    """Take off images and volumes what varies more slowly than objects do, each channel by itself.

    Deconvolution wants the background left in, as part of its model.

    Args:
        images: Batch of images, array `image` (Y, X, C) or (Z, Y, X, C).
        subtracted: Batch with array `image` of the same shape, float32, not negative.
        record: What was done, with times and versions.
        on_bad_image: What to do with an image that cannot be used: fail, or skip it and go on.
        method: top_hat takes off the grey opening by a ball; rolling_ball the surface that a ball
            touches from below; gaussian the image smoothed by a sigma of the radius.
        radius: Greater than the objects', in pixels of the finest axis.
        radius_um: The same in µm, which then counts; 0 is none.
    """

    def work(channel: ChannelToFilter) -> np.ndarray:
        pixels = radius
        if radius_um:
            if channel.voxel_um is None:
                raise BadInput(
                    channel.what, expected="a voxel size, for radius_um", found="an unknown one"
                )
            pixels = radius_um / min(channel.voxel_um)
        return subtract_background(channel.pixels, pixels, method, spacing=channel.voxel_um)

    filter_images(
        Batch.open(images.path), subtracted.path, work, record, on_bad_image, "subtract background"
    )
    record.note(method=method)
