"""A model's network as everything above runs it: loaded once, in batches that fit the memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from cellmill.arrays.windows import Windowed, WritableWindowed
from cellmill.compute.parts import Parts
from cellmill.errors import BadInput
from cellmill.inference.backoff import BackingOff
from cellmill.inference.blocks import BlockGrid, blocks_at_once, fitted, predict_volume
from cellmill.inference.engines import AUTO, load_network
from cellmill.inference.network import Device, Precision
from cellmill.inference.proofs import probe_card
from cellmill.inference.together import Together
from cellmill.models.card import Head, ModelCard


class Predictor:
    """A network that is called with tiles, in batches that fit the device's memory.

    It is called by one thread at a time, or with tiles by any number of them if they go together.

    Args:
        folder: the model's folder.
        card: its card.
        heads: those to compute, in the card's order.
        batch_size: tiles per call to begin with.
        engine: what computes the network; see `load_network`, as for what follows.
        device: where.
        precision: of its products.
        threads: CPU threads; 0 lets the engine choose.
        trusted: whether the network may do more than compute.
        together: whether several threads call it at once, whose tiles go to the network together.
        on_batch: of several threads told how many tiles each call of the network had.

    Attributes:
        heads: those that are computed.
        batch_size: tiles that an image's batches are laid out for, whatever the memory holds.

    Raises:
        BadInput: the batch size is below 1, or the network cannot be loaded so.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        card: ModelCard,
        heads: Sequence[Head],
        *,
        batch_size: int = 8,
        engine: str = AUTO,
        device: Device = "auto",
        precision: Precision = "float32",
        threads: int = 0,
        trusted: bool = False,
        together: bool = False,
        on_batch: Callable[[int], None] | None = None,
    ) -> None:
        if batch_size < 1:
            raise BadInput("batch_size", expected="at least 1", found=f"{batch_size}")
        self.heads, self.batch_size = heads, batch_size
        self._card = card
        self._open = partial(
            load_network,
            folder,
            engine=engine,
            device=device,
            precision=precision,
            threads=threads,
            heads=[head.name for head in heads],
            trusted=trusted,
        )
        self._together, self._on_batch = together, on_batch
        # One that sees volumes is loaded for blocks as each volume asks for them; one with margins
        # is given those of its card.
        with_margins = any(head.margin_z for head in card.heads)
        self._load(card if with_margins else probe_card(card))

    def __call__(self, tiles: np.ndarray, /) -> list[np.ndarray]:
        """Predict tiles; see `cellmill.inference.network.Network`."""
        return self._call(tiles)

    def block_count(self, shape: tuple[int, ...]) -> int:
        """How many blocks a volume `(Z, Y, X)` is predicted in."""
        return len(BlockGrid.over(fitted(self._card, shape), shape))

    def predict_volume(
        self,
        volume: Windowed,
        outputs: Sequence[WritableWindowed],
        on_blocks: Callable[[int], None] | None = None,
        parts: Parts | None = None,
    ) -> None:
        """Predict a volume by a network that sees volumes; see `blocks.predict_volume`.

        Args:
            volume: `(Z, Y, X, C)`.
            outputs: one array per head.
            on_blocks: called with a number of blocks that are done.
            parts: what each took, likewise.

        Raises:
            BadInput: the network sees planes, or takes no blocks of these sides.
        """
        card = fitted(self._card, tuple(volume.shape[:3]))
        grid = BlockGrid.over(card, tuple(volume.shape[:3]))
        if card.input.tile != self._tile:
            self._load(card)
        count = blocks_at_once(card, self.batch_size)
        predict_volume(volume, self, grid, outputs, self.heads, count, on_blocks, parts)

    @property
    def engine(self) -> str:
        """The engine that runs the network, also where `auto` was asked for."""
        return str(self._network.effect["engine"])

    @property
    def effect(self) -> dict[str, Any]:
        """What took effect so far, for a record."""
        return {
            **self._network.effect,
            "heads": [head.name for head in self.heads],
            "batch_size": self._run.batch_size,
            "memory_retries": self._run.retries,
        }

    def gpu_peak_bytes(self) -> int:
        """The most memory held on a GPU so far; 0 on a CPU, or where the engine does not say."""
        return self._network.gpu_peak_bytes()

    def _load(self, card: ModelCard) -> None:
        self._network, self._tile = self._open(card), card.input.tile
        self._run = BackingOff(self._network, self.batch_size, self._network.memory_errors)
        self._call: Callable[[np.ndarray], list[np.ndarray]] = self._run
        if self._together:
            self._call = Together(self._run, self.batch_size, self._on_batch)
