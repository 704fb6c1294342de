"""Running a TensorFlow SavedModel in TensorFlow, on GPUs and CPUs.

TensorFlow is imported when a model is loaded, not before: the rest of cellmill does without it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cellmill import extras
from cellmill.errors import BadInput
from cellmill.inference.mixed_precision import mixed
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


@dataclass(frozen=True)
class TensorFlowNetwork:
    """A loaded SavedModel: call it with tiles.

    Args:
        function: `(N, Y, X, C)` tensor → list of tensors in the order of the card's heads.
        dtype: of the tensor that it takes.
        fixed_batch: tiles per call if the model takes no other number, else 0.
        device: TensorFlow's name of the device it runs on.
        effect: what took effect, for the record.
        model: the loaded object, which owns the variables that the function reads.
    """

    function: Any
    dtype: str
    fixed_batch: int
    device: str
    effect: dict[str, Any]
    model: Any

    @property
    def memory_errors(self) -> tuple[type[Exception], ...]:
        """What a call raises where the device's memory is exhausted."""
        return (tensorflow().errors.ResourceExhaustedError,)

    def gpu_peak_bytes(self) -> int:
        """The most memory that TensorFlow held on the network's device, in bytes; 0 on a CPU."""
        if "GPU" not in self.device:
            return 0
        name = self.device.removeprefix("/")
        return int(tensorflow().config.experimental.get_memory_info(name)["peak"])

    def __call__(self, tiles: np.ndarray, /) -> list[np.ndarray]:
        """Predict a batch of tiles; see `network.Network`."""
        size = self.fixed_batch or len(tiles)
        pieces = [self._predict(tiles[i : i + size], size) for i in range(0, len(tiles), size)]
        heads = (
            pieces[0]
            if len(pieces) == 1
            else [np.concatenate(h) for h in zip(*pieces, strict=True)]
        )
        check_finite(heads, self.effect)
        return heads

    def _predict(self, tiles: np.ndarray, size: int) -> list[np.ndarray]:
        tf = tensorflow()
        with tf.device(self.device):
            heads = self.function(tf.constant(padded(tiles, size), dtype=self.dtype))
            return [np.asarray(head[: len(tiles)], np.float32) for head in heads]


def load(
    folder: Path,
    card: ModelCard,
    *,
    device: Device,
    precision: Precision,
    threads: int,
    heads: Sequence[str],
) -> TensorFlowNetwork:
    """Load the SavedModel that lies beside a card; see `registry.Engine.open`.

    Its serving signature is used. Outputs are brought into the order of the card's heads: by name
    where the names are the same; by number where they differ only in a number (`output_0`,
    `semantic_3`); else by the list that the model's own call gives.

    With `float32`, TensorFloat-32 is switched off, since it keeps 10 bits of a product's factors.
    With `mixed_…`, see `mixed_precision`: heads are float32 in any case.

    Threads are those of one operation. They can be set only before TensorFlow's first operation in
    a process; the effect says what holds.

    Raises:
        BadInput: TensorFlow cannot read the model, its input or its outputs are not the card's, or
            there is no such device.
    """
    tf = tensorflow()
    place, device_effect = _choose_device(tf, device, threads)
    tf.config.experimental.enable_tensor_float_32_execution(precision != "float32")
    with tf.device(place):
        loaded = open_savedmodel(folder)
        function, spec = _serving(tf, loaded, card, folder)
        if heads and len(heads) < len(card.heads):
            function = _without(tf, function, spec, [h.name in heads for h in card.heads])
    effect: dict[str, Any] = {
        "engine": "tensorflow",
        "tensorflow": tf.__version__,
        **device_effect,
        "precision": "float32",
        "fixed_batch": spec.shape[0] or 0,
    }
    if precision != "float32":
        with tf.device(place):
            rewritten = mixed(function, precision.removeprefix("mixed_"))
        function = rewritten.call
        effect |= {
            "precision": precision if rewritten.reduced else "float32",
            "products_in_16_bits": rewritten.reduced,
            "products_in_float32": rewritten.kept,
        }
    return TensorFlowNetwork(function, spec.dtype.name, spec.shape[0] or 0, place, effect, loaded)


def open_savedmodel(folder: Path) -> Any:
    """What TensorFlow makes of the SavedModel in a folder: its signatures and variables.

    Raises:
        BadInput: TensorFlow cannot read it.
    """
    tf = tensorflow()
    try:
        return tf.saved_model.load(str(folder))
    except (OSError, ValueError, KeyError, AttributeError, tf.errors.OpError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(
            f"model '{folder}'", expected="a SavedModel that TensorFlow reads", found=text
        ) from error


def tensorflow() -> Any:
    """Import TensorFlow, without the notices that its libraries print."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with _import_notices_held_back():
        return extras.load("tensorflow", "engine tensorflow")


@contextlib.contextmanager
def _import_notices_held_back() -> Iterator[None]:
    """Keep from a user's terminal what TensorFlow's libraries print while they are loaded.

    Its native code writes to the file descriptor before any log level counts. If the import fails,
    what was written is shown.
    """
    if "tensorflow" in sys.modules:
        yield
        return
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        terminal = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(terminal, held.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def _choose_device(tf: Any, device: Device, threads: int) -> tuple[str, dict[str, Any]]:
    """TensorFlow's name of the device to use, and what to say of it in the record."""
    gpus = tf.config.list_physical_devices("GPU") if device != "cpu" else []
    if device == "gpu" and not gpus:
        raise BadInput(
            "device", expected="a GPU that TensorFlow can use", found="none on this machine"
        )
    # Both settings are refused once TensorFlow has run anything in this process.
    with contextlib.suppress(RuntimeError):
        if threads:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(min(threads, 2))
    with contextlib.suppress(RuntimeError):
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
    effect = {"threads": tf.config.threading.get_intra_op_parallelism_threads()}
    if not gpus:
        return "/CPU:0", {"device": "cpu", **effect}
    # Forward passes on a CPU repeat to the bit as it is; on a GPU the kernels must be chosen so.
    tf.config.experimental.enable_op_determinism()
    details = tf.config.experimental.get_device_details(gpus[0])
    return "/GPU:0", {"device": "gpu", "gpu": details.get("device_name", "unknown"), **effect}


def _serving(tf: Any, loaded: Any, card: ModelCard, folder: Path) -> tuple[Any, Any]:
    """The network as a function of one tensor that gives the heads in order, and its input."""
    signatures = dict(loaded.signatures)
    name = "serving_default" if "serving_default" in signatures else next(iter(signatures), "")
    if not name:
        raise BadInput(f"model '{folder}'", expected="a serving signature", found="none")
    signature = signatures[name]
    inputs = signature.structured_input_signature[1]
    if len(inputs) != 1:
        raise BadInput(f"model '{folder}'", expected="one input", found=f"{sorted(inputs)}")
    key, spec = next(iter(inputs.items()))
    spec = tf.TensorSpec(spec.shape, spec.dtype)
    free = (None,) * (len(card.input.tile) + 2)
    shape = tuple(spec.shape) if spec.shape.rank is not None else free
    check_input(shape, spec.dtype.is_floating, card, folder)
    outputs = signature.structured_outputs
    order = order_of(outputs, [head.name for head in card.heads])
    if order:

        def call(tiles: Any) -> list[Any]:
            predicted = signature(**{key: tiles})
            return [predicted[output] for output in order]

    elif callable(own := getattr(loaded, "serve", None) or loaded):

        def call(tiles: Any) -> list[Any]:
            predicted = own(tiles) if own is not loaded else own(tiles, training=False)
            return list(predicted) if isinstance(predicted, (list, tuple)) else []

    else:
        raise unordered(outputs, card, folder)
    try:
        function = tf.function(
            call, input_signature=[spec], autograph=False
        ).get_concrete_function()
    except (TypeError, ValueError) as error:
        raise unordered(outputs, card, folder) from error
    found = list(function.structured_outputs)
    if not order and len(found) != len(outputs):
        raise unordered(outputs, card, folder)
    shapes = [tuple(t.shape) if t.shape.rank is not None else free for t in found]
    check_heads(shapes, card, folder)
    return function, spec


def _without(tf: Any, function: Any, spec: Any, wanted: Sequence[bool]) -> Any:
    """The network without what only unwanted heads need."""

    def call(tiles: Any) -> list[Any]:
        return [head for head, is_wanted in zip(function(tiles), wanted, strict=True) if is_wanted]

    return tf.function(call, input_signature=[spec], autograph=False).get_concrete_function()
