"""A network that makes images, as an endpoint serves it: a box of a volume in, the same box out.

A box that is named by its volume's URI and coordinates is read with what the network sees around
it, so what comes out is what `transfer_style` makes of the whole volume there. A box that came
along is taken to be a whole volume, and mirrored at its ends.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from cellmill.errors import BadInput
from cellmill.inference.network import Device, Precision
from cellmill.inference.predictor import Predictor
from cellmill.models.fetch import FetchedModel
from cellmill.style_transfer.applying import BlockGrid, grid_for, image_head, transfer_block
from cellmill.style_transfer.volumes import Volume, open_volume
from cellmill.style_transfer.writing import create_volume
from serving.asking import DESTINATION, IMAGE, URI, Answer, Ask, TensorSpec
from serving.fields import only
from serving.volume_boxes import PARAMETERS, Box, box_of, check_size, stored_volume

_PARAMETERS = {
    **PARAMETERS,
    DESTINATION: "where a box of a stored volume is written, instead of being answered: "
    "precomputed, or OME-Zarr if it ends in .zarr",
}


#: Side of the smallest blocks that a network is loaded for beside the largest.
_LEAST = 64


class Transferring:
    """A style-transfer network behind an endpoint.

    Args:
        fetched: the model.
        most_pixels: of one box.
        block: side of the blocks that a box is cut into; 0 is the card's.
        engine: what runs the network.
        device: where.
        precision: of its products.
        batch_size: planes that go to the network together, of one box or of several. Blocks go to
            a network that sees volumes one by one.
        threads: of the network; 0 lets the engine choose.
        trust_model: whether the network may do more than compute.
        on_batch: told how many planes each call of the network had.

    Raises:
        BadInput: it makes no images, or cannot take such blocks.
    """

    parameters: Mapping[str, str] = _PARAMETERS

    def __init__(
        self,
        fetched: FetchedModel,
        *,
        most_pixels: int,
        block: int = 0,
        engine: str = "auto",
        device: Device = "auto",
        precision: Precision = "float32",
        batch_size: int = 8,
        threads: int = 0,
        trust_model: bool = False,
        on_batch: Callable[[int], None] | None = None,
    ) -> None:
        self.version = fetched.card.version
        self._output = image_head(fetched.card).name
        side = block or fetched.card.input.tile[-1] - 2 * image_head(fetched.card).margin
        self._grid, _ = grid_for(fetched.card, (side,) * 3, side)
        sees_volumes = fetched.card.input.sees_volumes
        batch_size = 1 if sees_volumes else batch_size
        self._most, self._batch_size = most_pixels, batch_size
        # By the side of a block: what is small does not take a large one's work.
        self._predictors: dict[int, Predictor] = {}
        for own in [side] if sees_volumes else _sides(side, self._grid.alignment):
            _, card = grid_for(fetched.card, (own,) * 3, own)
            self._predictors[own] = Predictor(
                fetched.folder,
                card,
                card.heads,
                batch_size=batch_size,
                engine=engine,
                device=device,
                precision=precision,
                threads=threads,
                trusted=trust_model,
                together=True,
                on_batch=on_batch,
            )
            # The first call compiles; nobody is to wait for it.
            self._predictors[own](np.zeros((1, *card.input.tile, 1), np.float32))

    @property
    def effect(self) -> Mapping[str, Any]:
        """What runs it."""
        return self._predictors[self._grid.side].effect

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """A box `(Z, Y, X)`; one section `(Y, X)` is taken too."""
        return (TensorSpec(IMAGE, "UINT8", (-1, -1, -1)),)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What the network makes of it."""
        return (TensorSpec(self._output, "UINT8", (-1, -1, -1)),)

    def __call__(self, ask: Ask) -> Answer:
        """Make an image of a box.

        Raises:
            BadInput: there is none, or it is too large.
        """
        only(ask.parameters, _PARAMETERS, "parameters")
        if ask.image is None:
            volume = stored_volume(ask.uri, ask.parameters)
            box = box_of(ask.box, volume.shape, self._most)
            if DESTINATION in ask.parameters:
                return self._written(volume, box, f"{ask.parameters[DESTINATION]}")
            return Answer({self._output: self.made(volume, box)}, {})
        given = ask.image
        if DESTINATION in ask.parameters:
            raise BadInput(DESTINATION, expected=f"with {URI}", found=f"with {IMAGE}")
        if given.dtype != np.uint8 or given.ndim not in (2, 3):
            expected = "(Z, Y, X) or (Y, X), uint8"
            raise BadInput(IMAGE, expected=expected, found=f"{given.shape}, {given.dtype}")
        check_size(given.shape, self._most, IMAGE)
        volume = open_volume(given[np.newaxis] if given.ndim == 2 else given, name=IMAGE)
        made = self.made(volume, box_of((), volume.shape, self._most))
        return Answer({self._output: made.reshape(given.shape)}, {})

    def _written(self, volume: Volume, box: Box, place: str) -> Answer:
        """Make a box of a volume and write it as a volume that lies where the box does."""
        made = self.made(volume, box)
        z, y, x = (o + part.start for o, part in zip(volume.origin, box, strict=True))
        like = Volume(place, made, (z, y, x), volume.voxel_nm)
        create_volume(place, like, self._grid.side)[...] = made
        return Answer({}, {DESTINATION: place, "voxels": made.size})

    def made(self, volume: Volume, box: Box) -> np.ndarray:
        """Make a box of a volume; uint8, `(Z, Y, X)` of the box."""
        grid = replace(self._grid, shape=volume.shape)
        starts, cuts = zip(*(self._cuts(grid, axis, box[axis]) for axis in range(3)), strict=True)
        out = np.empty(
            [part.stop - start for part, start in zip(box, starts, strict=True)], np.uint8
        )
        for block in itertools.product(*cuts):
            sides = [part.stop - part.start for part in block]
            along = [n for n, halo in zip(sides, grid.halos, strict=True) if halo]
            side = min(own for own in self._predictors if own >= max(along))
            grid = replace(grid, side=side)
            read, _ = grid.box(volume, block)
            place = tuple(
                slice(part.start - start, part.stop - start)
                for part, start in zip(block, starts, strict=True)
            )
            # Calls are not filled up with empty planes: others' go with them.
            planes = min(self._batch_size, max([sides[axis] for axis in grid.axes], default=1))
            out[place] = transfer_block(read, grid, sides, self._predictors[side], planes)
        return out[
            tuple(slice(part.start - start, None) for part, start in zip(box, starts, strict=True))
        ]

    @staticmethod
    def _cuts(grid: BlockGrid, axis: int, part: slice) -> tuple[int, list[slice]]:
        """Where blocks begin along an axis, and they: at multiples of the network's alignment."""
        step = grid.alignment if grid.halos[axis] else 1
        start = part.start // step * step
        stops = range(start, part.stop, grid.side)
        return start, [slice(a, min(a + grid.side, part.stop)) for a in stops]


def _sides(largest: int, alignment: int) -> list[int]:
    """Sides of blocks, each about half of the one before."""
    sides = [largest]
    while (half := -(-sides[-1] // 2 // alignment) * alignment) >= _LEAST and half < sides[-1]:
        sides.append(half)
    return sides
