"""The stage that takes noise off images."""

from __future__ import annotations

from typing import Literal

import numpy as np

from cellmill.arrays.batch import Batch
from cellmill.contract import Images, Input, Output, Record, stage
from cellmill.restoration.denoising import denoise as denoise_image
from cellmill.stages.shared.by_channel import ChannelToFilter, filter_images


@stage(image="imaging", family="restoration")
def denoise(
    images: Input[Images],
    denoised: Output[Images],
    record: Output[Record],
    on_bad_image: Literal["fail", "skip"] = "fail",
    method: Literal["gaussian", "median", "non_local_means"] = "gaussian",
    size: float = 1.0,
    strength: float = 0.8,
) -> None:
    """Take noise off images and volumes, each channel by itself.

    Measure on the images as they were acquired: what is smoothed has other intensities.

    Args:
        images: Batch of images, array `image` (Y, X, C) or (Z, Y, X, C).
        denoised: Batch with array `image` of the same shape, float32.
        record: What was done, with times and versions.
        on_bad_image: What to do with an image that cannot be used: fail, or skip it and go on.
        method: gaussian and median smooth everything; non_local_means averages places that look
            alike and keeps edges.
        size: Sigma of gaussian, or radius of median, in pixels of the finest axis; where the voxel
            size is known, as far in µm along the others.
        strength: Of non_local_means: its h, as a multiple of the noise, which it estimates.
    """

    def work(channel: ChannelToFilter) -> np.ndarray:
        return denoise_image(
            channel.pixels, method, size=size, spacing=channel.voxel_um, strength=strength
        )

    filter_images(Batch.open(images.path), denoised.path, work, record, on_bad_image, "denoise")
    record.note(method=method)
