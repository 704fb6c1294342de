"""Deconvolution within a memory: whole where it fits, else in blocks that change next to nothing.

They are the whole but for rounding; with consensus also but for the rim, where the whole looks for
consensus across the edge, at its other end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cellmill.arrays.windows import Windowed
from cellmill.compute.devices import device_for
from cellmill.compute.threads import threads_within
from cellmill.errors import BadInput
from cellmill.restoration.blocks import BlockedRichardsonLucy
from cellmill.restoration.deconvolution import (
    Deconvolution,
    Iteration,
    bytes_for,
    deconvolve,
    device_bytes_for,
)
from cellmill.restoration.on_disk import deconvolve_on_disk
from cellmill.restoration.richardson_lucy import Edges, computed_shape
from cellmill.restoration.variation import Variation

#: The image as it was given and as float32, beside what `deconvolve` takes; and the residual.
_ARRAYS_BESIDE = 3
#: Arrays of the window that a GPU is given from memory, and gives back.
_ARRAYS_HANDED_OVER = 5


@dataclass(frozen=True)
class RichardsonLucySettings:
    """What `deconvolve` is told; see there."""

    iterations: int = 50
    edges: Edges = "valid"
    total_variation: float = 0.0
    accelerate: bool = False
    consensus: bool = False

    @property
    def in_blocks(self) -> bool:
        """Whether blocks can do it."""
        return self.edges == "valid"


@dataclass(frozen=True)
class MemoryPlan:
    """What a deconvolution will take, found before it starts.

    Attributes:
        whole_mib: in memory, all at once.
        blocks: how many blocks it is cut into; 0 is none, all at once.
        threads: blocks at once.
        disk_mib: of the files that the blocks work in.
        device: `cpu`, or `cuda`, a GPU.
        device_mib: of the GPU's memory.
    """

    whole_mib: int
    blocks: int = 0
    threads: int = 1
    disk_mib: int = 0
    device: str = "cpu"
    device_mib: int = 0


def plan_memory(
    shape: Sequence[int],
    psf_shape: Sequence[int],
    settings: RichardsonLucySettings,
    memory_mib: int,
    device: str = "cpu",
) -> MemoryPlan:
    """Say how an image is deconvolved within a memory.

    Args:
        shape: of the image, `(Y, X)` or `(Z, Y, X)`.
        psf_shape: of the function.
        settings: of the deconvolution.
        memory_mib: memory to work in.
        device: as `deconvolve` has it; a GPU computes what it holds as a whole.

    Raises:
        BadInput: it does not fit, and blocks cannot do it or do not fit either; or it cannot be
            computed on the device.
    """
    sizes = (shape, psf_shape, settings.edges, settings.accelerate, settings.consensus)
    on_device = device_bytes_for(*sizes)
    if device_for(device, on_device) == "cuda":
        handed = 4 * math.prod(computed_shape(shape, psf_shape, settings.edges))
        host = _mib(_ARRAYS_HANDED_OVER * handed + _ARRAYS_BESIDE * 4 * math.prod(shape))
        if host <= memory_mib:
            return MemoryPlan(host, device="cuda", device_mib=_mib(on_device))
        if device != "auto":
            raise BadInput("memory_mib", expected=f"{host} beside the GPU", found=f"{memory_mib}")
    whole = bytes_for(*sizes)
    whole_mib = _mib(whole + _ARRAYS_BESIDE * 4 * math.prod(shape))
    if whole_mib <= memory_mib:
        return MemoryPlan(whole_mib)
    if not settings.in_blocks:
        raise BadInput(
            "memory_mib",
            expected=f"{whole_mib} for {_sides(shape)} voxels, or edges=valid, which is cut into "
            "blocks",
            found=f"{memory_mib}",
        )
    # What the work is cut into follows from shapes alone.
    work = BlockedRichardsonLucy(
        np.broadcast_to(np.float32(0), tuple(shape)),
        np.ones(tuple(psf_shape), np.float32),
        variation=Variation(settings.total_variation),
        accelerate=settings.accelerate,
        consensus=settings.consensus,
    )
    block_mib = _mib(work.bytes_per_block)
    if block_mib > memory_mib:
        raise BadInput(
            "memory_mib",
            expected=f"{block_mib} for one block with a PSF of {_sides(psf_shape)} voxels",
            found=f"{memory_mib}",
        )
    threads = threads_within(memory_mib, work.bytes_per_block)
    disk = _mib((work.objects_read + 1) * 4 * math.prod(work.shape))
    return MemoryPlan(whole_mib, len(work.blocks), threads, disk)


def deconvolve_bounded(
    image: Windowed,
    psf: np.ndarray,
    settings: RichardsonLucySettings,
    plan: MemoryPlan,
    *,
    background: float,
    saturation: float | None,
    spacing: Sequence[float] | None,
    gain: float = 1.0,
    folder: Path,
    key: str = "",
    progress: Callable[[int, Iteration], None] | None = None,
) -> Deconvolution:
    """Deconvolve as it was planned.

    Args:
        image: `(Y, X)` or `(Z, Y, X)`; by blocks it is read by windows.
        psf: the point spread function.
        settings: of the deconvolution.
        plan: as `plan_memory` gave it.
        background: light everywhere, part of the model.
        saturation: voxels at or above it were not measured; None: all were.
        spacing: size of a voxel along each axis, for total variation.
        gain: grey levels a photon, for consensus.
        folder: for the files that blocks work in; it is not made where all fits memory.
        key: what the work is known by, to be gone on with after a kill; see `deconvolve_on_disk`.
        progress: called after each iteration with its number, from 1.

    Raises:
        BadInput: see `deconvolve`.
    """
    if plan.blocks:
        work = BlockedRichardsonLucy(
            image,
            psf,
            background=background,
            saturation=saturation,
            variation=Variation.of(settings.total_variation, spacing, len(image.shape)),
            accelerate=settings.accelerate,
            consensus=settings.consensus,
            gain=gain,
        )
        return deconvolve_on_disk(
            work,
            folder,
            settings.iterations,
            key=key,
            threads=plan.threads,
            progress=progress,
        )
    return deconvolve(
        np.asarray(image),
        psf,
        iterations=settings.iterations,
        edges=settings.edges,
        total_variation=settings.total_variation,
        spacing=spacing,
        accelerate=settings.accelerate,
        consensus=settings.consensus,
        gain=gain,
        background=background,
        saturation=saturation,
        device=plan.device,
        progress=progress,
        residual=True,
    )


def _mib(count: int) -> int:
    return -(-count // (1 << 20))


def _sides(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))
