"""How an image is deconvolved by many tasks: with what, and where their blocks lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cellmill.arrays.batch import Batch, Entry
from cellmill.restoration.blocks import BlockedRichardsonLucy
from cellmill.restoration.by_tasks import SharedRichardsonLucy
from cellmill.restoration.variation import Variation
from cellmill.stages.shared.psfs import pixels_of
from cellmill.stages.shared.restoring import Levels
from cellmill.typed_json import require

#: The attribute of an image that holds its plan.
PLAN = "deconvolution"


@dataclass(frozen=True)
class PlannedChannel:
    """What is settled for one channel before the tasks begin.

    Attributes:
        name: of the channel.
        background: part of the model.
        saturation: light at or above it was not measured; None: all was.
        first: what the first object is everywhere.
        measured: how many voxels were measured.
        gain: grey levels a photon, for consensus; 1 without.
        psf: what the record says of the point spread function.
        warnings: a line each.
    """

    name: str
    background: float
    saturation: float | None
    first: float
    measured: int
    gain: float
    psf: Mapping[str, Any]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class DeconvolutionPlan:
    """What every task of an image goes by.

    Attributes:
        store: URI of the folder under which all lies.
        fingerprint: of all that the result depends on.
        iterations: of Richardson-Lucy.
        total_variation: its weight; 0 is without.
        accelerate: extrapolate from the last two steps.
        consensus: go on only where both halves of the photons ask for the same change.
        voxel: µm along each axis, for total variation; empty where unknown, equal then.
        offset: what the camera adds without light.
        shards: how many tasks there are for it.
        channels: in the image's order.
    """

    store: str
    fingerprint: str
    iterations: int
    total_variation: float
    accelerate: bool
    consensus: bool
    voxel: tuple[float, ...]
    offset: float
    shards: int
    channels: tuple[PlannedChannel, ...]

    def __post_init__(self) -> None:
        require(self.shards > 0, "shards", "at least 1", f"{self.shards}")
        require(self.iterations >= 0, "iterations", "0 or more", f"{self.iterations}")


def plan_of(entry: Entry) -> DeconvolutionPlan:
    """Read the plan that the stage plan_deconvolution left with an image.

    Raises:
        BadInput: there is none, or it is damaged.
    """
    plan: DeconvolutionPlan = entry.attribute(PLAN, DeconvolutionPlan)
    return plan


def psf_key(channel: int) -> str:
    """What a channel's point spread function is called in a plan."""
    return f"psf_{channel}"


def shared_deconvolutions(plans: Batch, entry: Entry, images: Batch) -> list[SharedRichardsonLucy]:
    """Open what the tasks of an image work on together, a channel each.

    Args:
        plans: of plan_deconvolution.
        entry: of the image, in `plans`.
        images: the batch that was planned.

    Raises:
        BadInput: it is not such a plan, or not of these images.
    """
    made = plan_of(entry)
    image = pixels_of(images, images.entry(entry.name))
    levels = Levels(None, made.offset, 0)
    variation = Variation.of(made.total_variation, made.voxel or None, len(image.shape) - 1)
    return [
        SharedRichardsonLucy(
            BlockedRichardsonLucy(
                levels.light(image, index),
                plans.read(entry, psf_key(index)),
                background=channel.background,
                saturation=channel.saturation,
                variation=variation,
                level=channel.first,
                accelerate=made.accelerate,
                consensus=made.consensus,
                gain=channel.gain,
            ),
            made.iterations,
            channel.first,
            channel.measured,
            store=f"{made.store}/channel-{index}",
            fingerprint=made.fingerprint,
        )
        for index, channel in enumerate(made.channels)
    ]
