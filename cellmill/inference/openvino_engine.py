"""Running a SavedModel or an ONNX network in OpenVINO, on CPUs.

Tiles are predicted one by one, several side by side, each by a few threads of its own: a tile's
maps stay in the processor's cache, no thread waits for another, and a tile's prediction does not
depend on the other tiles of its batch, to the bit.

OpenVINO is imported when a model is loaded, not before; TensorFlow is not needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cellmill import extras
from cellmill.compute.threads import thread_count
from cellmill.errors import BadInput
from cellmill.inference.network import (
    Device,
    Precision,
    check_finite,
    check_heads,
    check_input,
    order_of,
    padded,
    unordered,
)
from cellmill.inference.upsampling import convolve_first
from cellmill.models.card import ModelCard
from cellmill.models.networks import FORMS, network_form

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
    effect: dict[str, Any]

    memory_errors = (MemoryError,)

    def gpu_peak_bytes(self) -> int:
        """Nothing: it computes on the CPU."""
        return 0

    def __call__(self, tiles: np.ndarray, /) -> list[np.ndarray]:
        """Predict a batch of tiles; see `network.Network`."""
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
            some = padded(tiles[start : start + self.size], self.size)
            request = self.requests[number % len(self.requests)]
            request.start_async({0: some}, share_inputs=True)
            # The tiles are OpenVINO's until the request is done.
            begun.append((request, start, some))
        while begun:
            finish()
        check_finite(heads, self.effect)
        return heads


def load(
    folder: Path,
    card: ModelCard,
    *,
    device: Device,
    precision: Precision,
    threads: int,
    heads: Sequence[str],
) -> OpenVinoNetwork:
    """Load the network that lies beside a card; see `registry.Engine.open`.

    With `mixed_bfloat16` OpenVINO computes in bfloat16 up to the last product before each head,
    whose sums are float32 and are not rounded. Threads are those of all tiles together; 0 is as
    many as the machine lets this process have.

    Raises:
        BadInput: OpenVINO cannot read the network, it is not the card's, or this processor does not
            compute in that precision.
    """
    openvino = extras.load("openvino", "engine openvino")
    core = openvino.Core()
    can = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision != "float32" and "BF16" not in can:
        raise BadInput(
            "precision",
            expected="float32 with engine openvino on this processor",
            found=precision,
        )
    wanted = heads or [head.name for head in card.heads]
    model, size, outputs = _read(openvino, core, folder, card, wanted)
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
    effect: dict[str, Any] = {
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


def _read(
    openvino: Any, core: Any, folder: Path, card: ModelCard, wanted: Sequence[str]
) -> tuple[Any, int, list[int]]:
    """The model without unwanted heads, tiles at once, and where its heads are.

    Its shapes are fixed, unless tiles are fitted to images.
    """
    form = network_form(folder)
    try:
        model = core.read_model(str(folder if form == "savedmodel" else folder / FORMS[form].graph))
    except RuntimeError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise BadInput(
            f"model '{folder}'",
            expected=f"{FORMS[form].title} that OpenVINO reads (or another engine)",
            found=lines[-1].strip() if lines else type(error).__name__,
        ) from error
    if len(model.inputs) != 1:
        raise BadInput(f"model '{folder}'", expected="one input", found=f"{len(model.inputs)}")
    names = {output.any_name: number for number, output in enumerate(model.outputs)}
    order = order_of(names, [head.name for head in card.heads])
    if not order:
        raise unordered(names, card, folder)
    axes = len(card.input.tile) + 2
    given = _sides(model.inputs[0], axes)
    check_input(given, model.inputs[0].get_element_type().is_real(), card, folder)
    size = given[0] or 1
    sides = (-1, -1) if card.tiling.fitted else card.input.tile
    model.reshape([size, *sides, len(card.input.channels)])
    check_heads([_sides(model.outputs[names[name]], axes) for name in order], card, folder)
    numbers = [names[name] for name, h in zip(order, card.heads, strict=True) if h.name in wanted]
    kept = [model.outputs[number].get_node() for number in sorted(numbers)]
    pruned = openvino.Model(kept, model.get_parameters(), card.name)
    return pruned, size, [sorted(numbers).index(number) for number in numbers]


def _sides(port: Any, axes: int) -> tuple[int | None, ...]:
    """Its shape; of that many axes where it does not say."""
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        return (None,) * axes
    return tuple(None if side.is_dynamic else side.get_length() for side in shape)
