"""The card of a network of volumes that was just trained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cellmill.labels.kinds import Compartment
from cellmill.labels.objects import areas_by_id, objects_at_border
from cellmill.models.card import Head, InputChannel, ModelCard, ModelInput, Tiling
from cellmill.training.card import MEANINGS, PREPROCESSING, SCALE_TOLERANCE, head_names
from cellmill.training.images import TrainingImage
from cellmill.training.volume_network import VolumeShape


def volume_card(
    named: tuple[str, str],
    compartment: Compartment,
    channels: Sequence[str],
    training: Mapping[str, Any],
    shape: VolumeShape,
    volumes: Sequence[TrainingImage],
) -> ModelCard:
    """A card without accuracy, which is measured with it and added then.

    Blocks share twice what the network reads around a voxel, so that they give what the volume as a
    whole would.

    Args:
        named: the model's name and version.
        compartment: what it segments.
        channels: names of the input's channels.
        training: what the card is to say of data, seed, code, curve.
        shape: of the network.
        volumes: that it was trained on, of known voxel size.
    """
    distance, interior = head_names(compartment)
    tile, tiling = _blocks(shape)
    pixels, microns = _diameters(volumes)
    return ModelCard(
        name=named[0],
        version=named[1],
        input=ModelInput(
            tuple(InputChannel(channel, MEANINGS.get(channel, "")) for channel in channels),
            tile=tile,
            object_diameter={compartment: pixels} if pixels else {},
            object_diameter_um={compartment: microns} if microns else {},
            scale_tolerance=SCALE_TOLERANCE,
            resampling="averaged",
        ),
        heads=(
            Head(distance, compartment, "inner_distance", 1, placement="cropped"),
            Head(interior, compartment, "pixelwise", 1, placement="cropped"),
        ),
        preprocessing=PREPROCESSING,
        tiling=tiling,
        postprocessing={
            compartment: {
                "method": "deep_watershed",
                "maxima_head": distance,
                "maxima_channel": 0,
                "interior_head": interior,
                "interior_channel": 0,
                "maxima_threshold": 0.1,
                "maxima_smooth": 1.0,
                "interior_threshold": 0.4,
                "interior_smooth": 0.0,
                "radius": 2,
                "small_objects_fraction": 0.2,
            }
        },
        default_compartment=compartment,
        training=training,
    )


def volume_class_card(card: ModelCard, shape: VolumeShape) -> ModelCard:
    """The card of a network of classes as one of volumes, its blocks as of `volume_card`.

    Args:
        card: as `cellmill.training.card.class_card` gives it.
        shape: of the network.
    """
    tile, tiling = _blocks(shape)
    return replace(
        card,
        input=replace(card.input, tile=tile),
        heads=tuple(replace(head, placement="cropped") for head in card.heads),
        tiling=tiling,
    )


def _blocks(shape: VolumeShape) -> tuple[tuple[int, ...], Tiling]:
    """Blocks of a network of volumes, and what they share."""
    step = math.lcm(*shape.strides)
    # A half of each side is shared, which is what it reads to both sides.
    tile = tuple(max(-(-4 * reach // (4 * step)) * 4 * step, 8) for reach in shape.reach)
    return tile, Tiling("reflect", 0.5, step)


def _diameters(volumes: Sequence[TrainingImage]) -> tuple[float, float]:
    """The median diameter of balls of the objects' volume, in pixels of a plane and in microns."""
    pixels, microns = [], []
    for each in volumes:
        if each.mpp is None:
            continue
        voxels = areas_by_id(each.labels)
        whole = (voxels > 0) & ~objects_at_border(each.labels, len(voxels))
        whole[0] = False
        voxels[0] = 0
        own = voxels[whole] if whole.any() else voxels[voxels > 0]
        found = np.cbrt(own * math.prod(each.mpp) * (6 / math.pi))
        microns.append(found)
        pixels.append(found / math.sqrt(each.mpp[1] * each.mpp[2]))
    joined = [np.concatenate([np.zeros(0), *part]) for part in (pixels, microns)]
    px, um = (float(np.median(part)) if len(part) else 0.0 for part in joined)
    return round(px, 1), round(um, 2)
