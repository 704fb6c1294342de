"""What every engine gives and is held to: a network that is called with tiles.

An engine may lay a network out as it likes; what comes out of it are the card's heads, in the
card's order, float32 and finite.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from cellmill.errors import BadInput
from cellmill.models.card import ModelCard

Device = Literal["auto", "cpu", "gpu"]
#: The part of a prediction that an engine computes, by threads of its own.
NETWORK = "network"
Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]


class Network(Protocol):
    """A loaded network."""

    @property
    def effect(self) -> dict[str, Any]:
        """What took effect, for the record: engine and its version, device, precision, threads.

        Who chose the engine adds why.
        """

    @property
    def memory_errors(self) -> tuple[type[Exception], ...]:
        """What a call raises where the device's memory is exhausted."""

    def gpu_peak_bytes(self) -> int:
        """The most memory held on a GPU so far; 0 on a CPU, or where the engine does not say."""

    def __call__(self, tiles: np.ndarray, /) -> list[np.ndarray]:
        """Predict a batch of any number of tiles.

        Args:
            tiles: `(N, Y, X, C)` float32, or `(N, Z, Y, X, C)`.

        Returns:
            One `(N, Y / stride, X / stride, channels)` float32 array per head, with Z too.

        Raises:
            BadInput: a head holds NaN or infinity.
        """


def order_of(outputs: Mapping[str, Any], heads: Sequence[str]) -> list[str]:
    """A network's outputs in the order of the heads; empty if their names do not tell it.

    A SavedModel's outputs are a dictionary, and its order is the alphabet's, not the model's. A
    network may give more than the card has heads, if each head is there by its name.
    """
    if set(heads) <= set(outputs):
        return list(heads)
    if len(outputs) == 1:
        return list(outputs)
    numbers: dict[str, int] = {}
    texts: set[tuple[str, str]] = set()
    for name in outputs:
        if match := re.fullmatch(r"(.*?)(\d+)(\D*)", name):
            numbers[name] = int(match[2])
            texts.add((match[1], match[3]))
    if len(set(numbers.values())) == len(outputs) and len(texts) == 1:
        return sorted(outputs, key=numbers.__getitem__)
    return []


def unordered(outputs: Mapping[str, Any], card: ModelCard, folder: Path) -> BadInput:
    """What to raise where no names tell which output is which head."""
    return BadInput(
        f"model '{folder}'",
        expected=f"outputs named as the card's heads ({', '.join(h.name for h in card.heads)})",
        found=", ".join(sorted(outputs)),
    )


def check_finite(heads: Sequence[np.ndarray], effect: Mapping[str, Any]) -> None:
    """Raise `BadInput` if a head holds NaN or infinity; `effect` is that of the network."""
    if not all(np.isfinite(head).all() for head in heads):
        raise BadInput(
            "model outputs",
            expected="finite values",
            found=f"NaN or infinity, computed in {effect.get('precision', 'float32')}",
        )


def check_input(shape: Sequence[int | None], is_float: bool, card: ModelCard, folder: Path) -> None:
    """Hold the shape of a network's input, None where a side is free, against its card.

    Raises:
        BadInput: it is another.
    """
    expected = (*card.input.tile, len(card.input.channels))
    fits = len(shape) == len(expected) + 1 and all(
        side is None or side == wanted for side, wanted in zip(shape[1:], expected, strict=True)
    )
    if fits and card.tiling.fitted and shape[1:3] != (None, None):
        raise BadInput(
            f"input of model '{folder}'",
            expected="free sides, for its card says that tiles are fitted",
            found=_text(shape),
        )
    if not fits or not is_float:
        raise BadInput(
            f"input of model '{folder}'",
            expected=f"(N, {', '.join(map(str, expected))}) floats, as its card says",
            found=f"{_text(shape)} {'floats' if is_float else 'of another type'}",
        )


def check_heads(shapes: Sequence[Sequence[int | None]], card: ModelCard, folder: Path) -> None:
    """Hold the shapes of a network's outputs, in the order of the heads, against its card.

    Raises:
        BadInput: they are others.
    """
    wanted = [head.shape_over(card.input.tile) for head in card.heads]
    fits = len(shapes) == len(wanted) and all(
        len(shape) == len(sides) + 1
        and all(side is None or side == w for side, w in zip(shape[1:], sides, strict=True))
        for shape, sides in zip(shapes, wanted, strict=True)
    )
    if not fits:
        heads = [f"{head.name}: {sides}" for head, sides in zip(card.heads, wanted, strict=True)]
        raise BadInput(
            f"outputs of model '{folder}'",
            expected=f"{len(heads)} heads ({', '.join(heads)}), as its card says",
            found=f"{len(shapes)}: {', '.join(_text(shape) for shape in shapes)}",
        )


def padded(tiles: np.ndarray, size: int) -> np.ndarray:
    """Tiles filled up with zeros to a whole batch; those of a whole batch as they are."""
    if len(tiles) == size:
        return tiles
    rest = np.zeros((size - len(tiles), *tiles.shape[1:]), tiles.dtype)
    return np.concatenate([tiles, rest])


def _text(shape: Sequence[int | None]) -> str:
    return f"({', '.join('?' if side is None else str(side) for side in shape)})"
