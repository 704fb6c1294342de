"""Running a model's network over an image into the arrays of its heads, as several stages do."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from cellmill.arrays.batch import Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.arrays.windows import Windowed, WritableWindowed, sections_of
from cellmill.compute.parts import Parts
from cellmill.contract import Progress
from cellmill.errors import BadInput
from cellmill.inference.predictor import Predictor
from cellmill.inference.tiled import card_grid, predict_tiled
from cellmill.models.card import Head, ModelCard
from cellmill.models.chosen import check_sees_planes
from cellmill.segmentation.interface import IMAGE
from cellmill.segmentation.planes import PLANE_BY_PLANE

#: An image of fewer tiles is done before a bar of its own would say anything.
_TILES_WORTH_A_BAR = 64


def check_image(
    image: Windowed,
    entry: Entry,
    card: ModelCard,
    heads: Sequence[Head],
    volumes: bool = True,
) -> None:
    """Refuse what `preprocess` did not make for a model.

    Args:
        image: of the entry.
        entry: named in the message.
        card: the model's.
        heads: those that are computed; none leaves the network aside.
        volumes: whether `(Z, Y, X, C)` is taken too.

    Raises:
        BadInput: it is no float32 `(Y, X, C)`, has other channels than the model, or no pixels; or
            it is an image and the network sees volumes.
    """
    channels = len(card.input.channels)
    shape, axes = image.shape, (3, 4) if volumes else (3,)
    if heads and len(shape) == 3:
        check_sees_planes(card)
    if len(shape) not in axes or shape[-1] != channels or image.dtype != np.float32 or 0 in shape:
        raise BadInput(
            f"image '{entry.name}'",
            expected=f"float32 (Y, X, {channels}) as `preprocess` makes it for '{card.name}'",
            found=f"{image.dtype} {shape}",
        )


@contextlib.contextmanager
def head_arrays(
    out: BatchWriter,
    entry: Entry,
    card: ModelCard,
    heads: Sequence[Head],
    image: Windowed | None = None,
) -> Iterator[tuple[list[WritableWindowed], WritableWindowed | None]]:
    """Make the entry of an image's heads, an array each, and of the image itself, to be filled.

    Args:
        out: the batch that it is added to.
        entry: of the image.
        card: the model's.
        heads: those that are computed.
        image: kept beside them, if it is read later.
    """
    shape = entry.arrays["image"].shape[:-1]
    in_blocks = bool(heads) and card.input.sees_volumes
    # A network that is given planes has heads of each; blocks cross a store's units.
    depth = () if in_blocks else shape[:-2]
    axes = "ZYXC" if len(shape) == 3 else "YXC"
    layout: dict[str, tuple[tuple[int, ...], type, str]] = {
        head.name: ((*depth, *head.shape_over(shape[len(depth) :])), np.float32, axes)
        for head in heads
    }
    if image is not None:
        layout[IMAGE] = (tuple(image.shape), np.float32, axes)
    with out.create(
        entry.name,
        layout,
        mpp=entry.mpp,
        mpp_source=entry.mpp_source,
        channels=entry.channels,
        attributes={**entry.attributes, **({PLANE_BY_PLANE: True} if depth and heads else {})},
        container="npz" if in_blocks else entry.arrays["image"].container,
    ) as arrays:
        yield [arrays[head.name] for head in heads], arrays.get(IMAGE)


def fill_heads(
    predictor: Predictor,
    card: ModelCard,
    image: Windowed,
    entry: Entry,
    outputs: Sequence[WritableWindowed],
    memory_mib: int,
    parts: Parts,
) -> int:
    """Compute the heads of an image, by tiles or by blocks; a bar shows how far it is.

    Args:
        predictor: the network.
        card: its card.
        image: `(Y, X, C)` or `(Z, Y, X, C)` float32; of a volume plane by plane, unless the network
            sees volumes.
        entry: of the image.
        outputs: an array a head, which is filled.
        memory_mib: to put tiles together in, in MiB.
        parts: has afterwards what reading, network, blending and writing took.

    Returns:
        How many tiles were not computed, being as another.
    """
    if card.input.sees_volumes:
        count = predictor.block_count(tuple(image.shape[:3]))
        with _bar(entry.name, count, "blocks", least=2) as advance:
            predictor.predict_volume(image, outputs, advance, parts)
        return 0
    planes = sections_of(image, 3)
    stacks = [sections_of(output, 3) for output in outputs]
    grid = card_grid(card, (image.shape[-3], image.shape[-2]))
    repeated = 0
    with _bar(entry.name, len(grid) * len(planes), "tiles", _TILES_WORTH_A_BAR) as advance:
        for z, plane in enumerate(planes):
            repeated += predict_tiled(
                plane,
                predictor,
                grid,
                [stack[z] for stack in stacks],
                predictor.batch_size,
                advance,
                heads=predictor.heads,
                unit=_shard() if entry.arrays["image"].container == "zarr" else 1,
                memory=(memory_mib << 20) // 4 * 3,
                parts=parts,
            )
    return repeated


@contextlib.contextmanager
def _bar(name: str, count: int, unit: str, least: int) -> Iterator[Callable[[int], None] | None]:
    """A bar, and what moves it on; none where there is less to do than a bar is worth."""
    if count < least:
        yield None
        return
    with Progress(name, count, unit) as bar:
        yield bar.advance


def _shard() -> int:
    """Side of a Zarr's storage units; TensorStore is imported only where there is a Zarr."""
    from cellmill.arrays.zarr import SHARD

    return SHARD
