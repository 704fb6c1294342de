"""Running a SavedModel in OpenVINO, on CPUs: the same network, its products in other kernels.

Tiles are predicted one by one, several side by side, each by a few threads of its own: a tile's
maps stay in the processor's cache, no thread waits for another, and a tile's prediction does not
hang on the other tiles of its batch, to the bit.

OpenVINO is imported when a model is loaded, not before; TensorFlow is not needed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cellmill.compiled import thread_count
from cellmill.errors import BadInput
from cellmill.inference.savedmodel import (
    Device,
    Precision,
    check_finite,
    check_heads,
    check_input,
    order_of,
)
from cellmill.inference.upsampling import convolve_first
from cellmill.models.card import ModelCard

#: Tiles side by side at most: each holds the network's maps once more.
_MOST_STREAMS = 8
#: OpenVINO's names of the types, by ours.
_TYPES = {"float32": "f32", "mixed_bfloat16": "bf16"}


@dataclass(frozen=True)
class OpenVinoNetwork:
    """A compiled model: call it with tiles.

    Args:
        requests: of inference, one a stream.
        outputs: numbers of the model's outputs, in the order of the heads.
        dtype: of what it takes.
        size: tiles a request takes, 1 if the model lets it.
        effect: what took effect, for the record.
    """

    requests: Sequence[Any]
    outputs: Sequence[int]
    dtype: np.dtype
    size: int
    effect: Mapping[str, Any]
    device: str = "/CPU:0"

    def __call__(self, tiles: np.ndarray) -> list[np.ndarray]:
        """Predict a batch of tiles.

        Args:
            tiles: `(N, Y, X, C)` float32.

        Returns:
            One `(N, Y, X, channels)` float32 array per head.

        Raises:
            BadInput: a head holds NaN or infinity.
        """
        tiles = np.ascontiguousarray(tiles, self.dtype)
        heads: list[np.ndarray] = []
        begun: list[tuple[Any, int, Any]] = []

        def finish() -> None:
            request, start, _ = begun.pop(0)
            request.wait()
            found = [request.get_output_tensor(number).data for number in self.outputs]
            if not heads:
                heads.extend(np.empty((len(tiles), *f.shape[1:]), np.float32) for f in found)
            for head, values in zip(heads, found, strict=True):
                head[start : start + self.size] = values[: len(tiles) - start]

        for number, start in enumerate(range(0, len(tiles), self.size)):
            if len(begun) == len(self.requests):
                finish()
            some = tiles[start : start + self.size]
            if len(some) < self.size:
                rest = np.zeros((self.size - len(some), *tiles.shape[1:]), self.dtype)
                some = np.concatenate([some, rest])
            request = self.requests[number % len(self.requests)]
            request.start_async({0: some}, share_inputs=True)
            # The tiles are OpenVINO's until the request is done.
            begun.append((request, start, some))
        while begun:
            finish()
        check_finite(heads, self.effect)
        return heads


def load_in_openvino(
    folder: str | os.PathLike[str],
    card: ModelCard,
    *,
    device: Device = "auto",
    precision: Precision = "float32",
    threads: int = 0,
    heads: Sequence[str] = (),
) -> OpenVinoNetwork:
    """Load the SavedModel that lies beside a card; the arguments are those of `savedmodel.load`.

    With `mixed_bfloat16` OpenVINO computes in bfloat16 up to the last product before each head,
    whose sums are float32 and are not rounded.

    Args:
        folder: the model's folder.
        card: its card.
        device: `auto` or `cpu`.
        precision: `float32`, or `mixed_bfloat16` on processors that compute in it.
        threads: of all tiles together; 0 is as many as the machine lets this process have.
        heads: those to compute, in the card's order; empty is all.

    Raises:
        BadInput: there is no OpenVINO, it cannot read the model, the model is not the card's, or it
            cannot compute so here.
    """
    folder = Path(folder)
    openvino = _openvino()
    core = openvino.Core()
    if threads < 0:
        raise BadInput("threads", expected="0 or more", found=f"{threads}")
    if device == "gpu":
        raise BadInput("device", expected="auto or cpu with engine openvino", found="gpu")
    can = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision not in _TYPES or (precision != "float32" and "BF16" not in can):
        raise BadInput(
            "precision",
            expected="float32 with engine openvino"
            + (" or mixed_bfloat16" if "BF16" in can else " on this processor"),
            found=precision,
        )
    model, size, outputs = _read(
        openvino, core, folder, card, heads or [h.name for h in card.heads]
    )
    swapped = convolve_first(model)
    count = threads or thread_count()
    streams = min(count, _MOST_STREAMS)
    compiled = core.compile_model(
        model,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": _TYPES[precision],
            "NUM_STREAMS": str(streams),
            "INFERENCE_NUM_THREADS": str(count),
            # Tasks side by side would be pinned to the same cores.
            "ENABLE_CPU_PINNING": False,
        },
    )
    effect = {
        "engine": "openvino",
        "openvino": openvino.__version__.split("-")[0],
        "device": "cpu",
        "threads": count,
        "streams": streams,
        "precision": precision,
        "fixed_batch": size if size > 1 else 0,
        "convolutions_before_upsampling": swapped,
    }
    requests = [compiled.create_infer_request() for _ in range(streams)]
    dtype = np.dtype(model.inputs[0].get_element_type().to_dtype())
    return OpenVinoNetwork(requests, outputs, dtype, size, effect)


def _openvino() -> Any:
    try:
        import openvino
    except ModuleNotFoundError as error:
        if error.name != "openvino":
            raise
        raise BadInput(
            "engine openvino", expected="OpenVINO (pip install 'cellmill[openvino]')", found="none"
        ) from None
    return openvino


def _read(
    openvino: Any, core: Any, folder: Path, card: ModelCard, wanted: Sequence[str]
) -> tuple[Any, int, list[int]]:
    """The model of fixed shapes without unwanted heads, tiles at once, and where its heads are."""
    try:
        model = core.read_model(str(folder))
    except RuntimeError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise BadInput(
            f"model '{folder}'",
            expected="a SavedModel that OpenVINO reads (or engine=tensorflow)",
            found=lines[-1].strip() if lines else type(error).__name__,
        ) from error
    if len(model.inputs) != 1:
        raise BadInput(f"model '{folder}'", expected="one input", found=f"{len(model.inputs)}")
    names = {output.any_name: number for number, output in enumerate(model.outputs)}
    order = order_of(names, [head.name for head in card.heads])
    if not order:
        raise BadInput(
            f"model '{folder}'",
            expected="outputs named as the card's heads (or engine=tensorflow)",
            found=", ".join(sorted(names)),
        )
    given = _sides(model.inputs[0])
    check_input(given, model.inputs[0].get_element_type().is_real(), card, folder)
    size = given[0] or 1
    model.reshape([size, *card.input.tile, len(card.input.channels)])
    check_heads([_sides(model.outputs[names[name]]) for name in order], card, folder)
    numbers = [names[name] for name, h in zip(order, card.heads, strict=True) if h.name in wanted]
    kept = [model.outputs[number].get_node() for number in sorted(numbers)]
    pruned = openvino.Model(kept, model.get_parameters(), card.name)
    return pruned, size, [sorted(numbers).index(number) for number in numbers]


def _sides(port: Any) -> tuple[int | None, ...]:
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        return (None,) * 4
    return tuple(None if side.is_dynamic else side.get_length() for side in shape)
