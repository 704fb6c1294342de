"""A model's network as everything above runs it: loaded once, in batches that fit the memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from cellmill.errors import BadInput
from cellmill.inference.backoff import BackingOff
from cellmill.inference.engines import AUTO, load_network
from cellmill.inference.network import Device, Precision
from cellmill.models.card import Head, ModelCard


class Predictor:
    """A network that is called with tiles, in batches that fit the device's memory.

    It is called by one thread at a time.

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
    ) -> None:
        if batch_size < 1:
            raise BadInput("batch_size", expected="at least 1", found=f"{batch_size}")
        self.heads, self.batch_size = heads, batch_size
        self._network = load_network(
            folder,
            card,
            engine=engine,
            device=device,
            precision=precision,
            threads=threads,
            heads=[head.name for head in heads],
            trusted=trusted,
        )
        self._run = BackingOff(self._network, batch_size, self._network.memory_errors)

    def __call__(self, tiles: np.ndarray, /) -> list[np.ndarray]:
        """Predict tiles; see `cellmill.inference.network.Network`."""
        return self._run(tiles)

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
