"""Running an ONNX network in ONNX Runtime, on CPUs and on NVIDIA GPUs.

ONNX Runtime is imported when a model is loaded, not before.
"""

from __future__ import annotations

import re
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
from cellmill.models.card import ModelCard
from cellmill.models.networks import FORMS

#: Types of tensors that tiles are cast to, by ONNX Runtime's names.
_FLOATS = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
}
_CUDA = "CUDAExecutionProvider"
#: Products in float32, not in TensorFloat-32, by kernels that do not change from run to run.
_CUDA_OPTIONS = {"use_tf32": "0", "cudnn_conv_algo_search": "DEFAULT"}


@dataclass(frozen=True)
class OnnxNetwork:
    """A loaded ONNX network: call it with tiles.

    Args:
        session: ONNX Runtime's.
        given: name of its input.
        outputs: names of the heads, in their order.
        dtype: of what it takes.
        fixed_batch: tiles per call if the network takes no other number, else 0.
        effect: what took effect, for the record.
    """

    session: Any
    given: str
    outputs: Sequence[str]
    dtype: np.dtype
    fixed_batch: int
    effect: dict[str, Any]

    memory_errors = (MemoryError,)

    def gpu_peak_bytes(self) -> int:
        """Nothing: ONNX Runtime does not say what it held."""
        return 0

    def __call__(self, tiles: np.ndarray, /) -> list[np.ndarray]:
        """Predict a batch of tiles; see `network.Network`."""
        tiles = np.ascontiguousarray(tiles, self.dtype)
        size = self.fixed_batch or len(tiles)
        pieces = [self._predict(tiles[i : i + size], size) for i in range(0, len(tiles), size)]
        heads = [np.concatenate(head) for head in zip(*pieces, strict=True)]
        check_finite(heads, self.effect)
        return heads

    def _predict(self, tiles: np.ndarray, size: int) -> list[np.ndarray]:
        try:
            found = self.session.run(self.outputs, {self.given: padded(tiles, size)})
        except Exception as error:
            # Of memory that is exhausted only the text tells.
            if not _is_its_own(error) or "alloc" not in str(error).lower():
                raise
            raise MemoryError(str(error)) from error
        return [np.asarray(head[: len(tiles)], np.float32) for head in found]


def load(
    folder: Path,
    card: ModelCard,
    *,
    device: Device,
    precision: Precision,
    threads: int,
    heads: Sequence[str],
) -> OnnxNetwork:
    """Load the ONNX network that lies beside a card; see `registry.Engine.open`.

    Heads that are not asked for are not handed on; ONNX Runtime computes them all the same.

    Raises:
        BadInput: ONNX Runtime cannot read the network, it is not the card's, or there is no GPU
            that ONNX Runtime can use.
    """
    runtime = extras.load("onnxruntime", "engine onnxruntime")
    on_gpu = device != "cpu" and _CUDA in runtime.get_available_providers()
    if device == "gpu" and not on_gpu:
        raise _no_gpu("a build for CPUs alone")
    if on_gpu:
        # CUDA's libraries that pip installed are on no path.
        runtime.preload_dlls()
    count = threads or thread_count()
    session = _session(runtime, folder, count, on_gpu)
    if on_gpu and _CUDA not in session.get_providers():
        # It was built for GPUs and found none: what it falls back to is the CPU.
        on_gpu = False
        if device == "gpu":
            raise _no_gpu("none on this machine")
    given, outputs, fixed_batch = _ends(session, card, folder)
    wanted = [
        output
        for output, head in zip(outputs, card.heads, strict=True)
        if not heads or head.name in heads
    ]
    effect: dict[str, Any] = {
        "engine": "onnxruntime",
        "onnxruntime": runtime.__version__,
        "device": "gpu" if on_gpu else "cpu",
        "threads": count,
        "precision": precision,
        "fixed_batch": fixed_batch,
    }
    return OnnxNetwork(
        session, given.name, wanted, np.dtype(_FLOATS[given.type]), fixed_batch, effect
    )


def _session(runtime: Any, folder: Path, threads: int, on_gpu: bool) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    # Threads that wait for work would take the time of stages beside this one.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers: list[Any] = [(_CUDA, _CUDA_OPTIONS)] if on_gpu else []
    graph = folder / FORMS["onnx"].graph
    try:
        return runtime.InferenceSession(
            str(graph), options, providers=[*providers, "CPUExecutionProvider"]
        )
    except Exception as error:
        if not _is_its_own(error):
            raise
        raise BadInput(
            f"model '{folder}'",
            expected="an ONNX network that ONNX Runtime reads",
            found=re.sub(r"^\[ONNXRuntimeError\] : \d+ : ", "", str(error).splitlines()[0]),
        ) from error


def _is_its_own(error: Exception) -> bool:
    """Whether ONNX Runtime raised an error; its classes have no one above them but Exception."""
    return type(error).__module__.startswith("onnxruntime.")


def _ends(session: Any, card: ModelCard, folder: Path) -> tuple[Any, list[str], int]:
    """A network's input, its outputs in the order of the heads, and the batch it asks for."""
    given = session.get_inputs()
    if len(given) != 1:
        raise BadInput(f"model '{folder}'", expected="one input", found=f"{len(given)}")
    sides = _sides(given[0])
    check_input(sides, given[0].type in _FLOATS, card, folder)
    outputs = {output.name: output for output in session.get_outputs()}
    order = order_of(outputs, [head.name for head in card.heads])
    if not order:
        raise unordered(outputs, card, folder)
    check_heads([_sides(outputs[name]) for name in order], card, folder)
    return given[0], order, sides[0] or 0


def _sides(end: Any) -> tuple[int | None, ...]:
    """Its shape; a side that is free has a name, or none."""
    return tuple(side if isinstance(side, int) and side > 0 else None for side in end.shape)


def _no_gpu(found: str) -> BadInput:
    return BadInput("device", expected="a GPU that ONNX Runtime can use", found=found)
