"""Loading a TensorFlow SavedModel as its card describes it.

TensorFlow is imported when a model is loaded, not before: the rest of cellmill does without it.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from cellmill.errors import BadInput
from cellmill.inference.mixed_precision import mixed
from cellmill.models.card import ModelCard

Device = Literal["auto", "cpu", "gpu"]
Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]


@dataclass(frozen=True)
class Network:
    """A loaded model: call it with tiles.

    Args:
        function: `(N, Y, X, C)` tensor → list of tensors in the order of the card's heads.
        dtype: of the tensor that it takes.
        fixed_batch: tiles per call if the model takes no other number, else 0.
        device: TensorFlow's name of the device it runs on.
        effect: what took effect, for the record: device, precision, threads, TensorFlow's version.
        model: the loaded object, which owns the variables that the function reads.
    """

    function: Any
    dtype: str
    fixed_batch: int
    device: str
    effect: Mapping[str, Any] = field(default_factory=dict)
    model: Any = None

    def __call__(self, tiles: np.ndarray) -> list[np.ndarray]:
        """Predict a batch of tiles.

        Args:
            tiles: `(N, Y, X, C)` float32.

        Returns:
            One `(N, Y, X, channels)` float32 array per head.

        Raises:
            BadInput: a head holds NaN or infinity.
            tensorflow.errors.ResourceExhaustedError: the batch does not fit the device's memory.
        """
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
        import tensorflow as tf

        count = len(tiles)
        if count < size:
            tiles = np.concatenate([tiles, np.zeros((size - count, *tiles.shape[1:]), tiles.dtype)])
        with tf.device(self.device):
            heads = self.function(tf.constant(tiles, dtype=self.dtype))
            return [np.asarray(head[:count], np.float32) for head in heads]


def load(
    folder: str | os.PathLike[str],
    card: ModelCard,
    *,
    device: Device = "auto",
    precision: Precision = "float32",
    threads: int = 0,
    heads: Sequence[str] = (),
) -> Network:
    """Load the SavedModel that lies beside a card.

    Its serving signature is used. Outputs are brought into the order of the card's heads: by name
    where the names are the same; by number where they differ only in a number (`output_0`,
    `semantic_3`); else by the list that the model's own call gives.

    With `float32`, TensorFloat-32 is switched off, since it keeps 10 bits of a product's factors.
    With `mixed_…`, see `mixed_precision`: heads are float32 in any case.

    Args:
        folder: the model's folder, with `saved_model.pb`.
        card: its card.
        device: `auto` takes the first GPU if TensorFlow finds one, else the CPU.
        precision: the type that convolutions are computed in.
        threads: CPU threads of one operation; 0 lets TensorFlow choose. It can be set only before
            TensorFlow's first operation in a process; the effect says what holds.
        heads: those to compute, in the card's order; empty is all.

    Returns:
        The network.

    Raises:
        BadInput: the folder holds no SavedModel that can be read, its input or its outputs are not
            the card's, or there is no such device.
    """
    folder = Path(folder)
    for name, value, known in (("device", device, Device), ("precision", precision, Precision)):
        if value not in get_args(known):
            raise BadInput(name, expected=f"one of {', '.join(get_args(known))}", found=value)
    if not (folder / "saved_model.pb").is_file():
        raise BadInput(
            f"model '{folder}'",
            expected="a SavedModel (saved_model.pb)",
            found="none beside its card",
        )
    tf = _tensorflow()
    place, device_effect = _choose_device(tf, device, threads)
    tf.config.experimental.enable_tensor_float_32_execution(precision != "float32")
    with tf.device(place):
        loaded = _load(tf, folder)
        function, spec = _serving(tf, loaded, card, folder)
        if heads and len(heads) < len(card.heads):
            function = _without(tf, function, spec, [h.name in heads for h in card.heads])
    effect = {
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
    return Network(function, spec.dtype.name, spec.shape[0] or 0, place, effect, loaded)


def memory_errors() -> tuple[type[Exception], ...]:
    """What TensorFlow raises when a device's memory is exhausted."""
    return (_tensorflow().errors.ResourceExhaustedError,)


def gpu_peak_bytes(device: str) -> int:
    """The most memory that TensorFlow held on a network's device, in bytes; 0 on a CPU."""
    if "GPU" not in device:
        return 0
    name = device.removeprefix("/")
    return int(_tensorflow().config.experimental.get_memory_info(name)["peak"])


def _tensorflow() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        with _import_notices_held_back():
            import tensorflow
    except ModuleNotFoundError as error:
        if error.name != "tensorflow":
            raise
        raise BadInput(
            "predict", expected="TensorFlow (pip install 'cellmill[tensorflow]')", found="none"
        ) from None
    return tensorflow


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
    if threads < 0:
        raise BadInput("threads", expected="0 or more", found=f"{threads}")
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


def _load(tf: Any, folder: Path) -> Any:
    try:
        return tf.saved_model.load(str(folder))
    except (OSError, ValueError, KeyError, AttributeError, tf.errors.OpError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(
            f"model '{folder}'", expected="a SavedModel that TensorFlow reads", found=text
        ) from error


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
    shape = tuple(spec.shape) if spec.shape.rank is not None else (None,) * 4
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
        raise _unordered(outputs, card, folder)
    try:
        function = tf.function(
            call, input_signature=[spec], autograph=False
        ).get_concrete_function()
    except (TypeError, ValueError) as error:
        raise _unordered(outputs, card, folder) from error
    found = list(function.structured_outputs)
    if not order and len(found) != len(outputs):
        raise _unordered(outputs, card, folder)
    shapes = [tuple(t.shape) if t.shape.rank is not None else (None,) * 4 for t in found]
    check_heads(shapes, card, folder)
    return function, spec


def _without(tf: Any, function: Any, spec: Any, wanted: Sequence[bool]) -> Any:
    """The network without what only unwanted heads need."""

    def call(tiles: Any) -> list[Any]:
        return [head for head, is_wanted in zip(function(tiles), wanted, strict=True) if is_wanted]

    return tf.function(call, input_signature=[spec], autograph=False).get_concrete_function()


def order_of(outputs: Mapping[str, Any], heads: Sequence[str]) -> list[str]:
    """The signature's outputs in the order of the heads; empty if their names do not tell it.

    A signature's outputs are a dictionary, and its order is the alphabet's, not the model's.
    """
    if set(heads) == set(outputs):
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


def _unordered(outputs: Mapping[str, Any], card: ModelCard, folder: Path) -> BadInput:
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
    """Hold the shape of a model's input, None where a side is free, against its card.

    Raises:
        BadInput: it is another.
    """
    expected = (*card.input.tile, len(card.input.channels))
    fits = len(shape) == 4 and all(
        side is None or side == wanted for side, wanted in zip(shape[1:], expected, strict=True)
    )
    if not fits or not is_float:
        raise BadInput(
            f"input of model '{folder}'",
            expected=f"(N, {', '.join(map(str, expected))}) floats, as its card says",
            found=f"{_text(shape)} {'floats' if is_float else 'of another type'}",
        )


def check_heads(shapes: Sequence[Sequence[int | None]], card: ModelCard, folder: Path) -> None:
    """Hold the shapes of a model's outputs, in the order of the heads, against its card.

    Raises:
        BadInput: they are others.
    """
    fits = len(shapes) == len(card.heads) and all(
        len(shape) == 4
        and shape[3] in (None, head.channels)
        and all(
            side is None or side == wanted
            for side, wanted in zip(shape[1:3], card.input.tile, strict=True)
        )
        for shape, head in zip(shapes, card.heads, strict=True)
    )
    if not fits:
        heads = [f"{head.name}: {(*card.input.tile, head.channels)}" for head in card.heads]
        raise BadInput(
            f"outputs of model '{folder}'",
            expected=f"{len(heads)} heads ({', '.join(heads)}), as its card says",
            found=f"{len(shapes)}: {', '.join(_text(shape) for shape in shapes)}",
        )


def _text(shape: Sequence[int | None]) -> str:
    return f"({', '.join('?' if side is None else str(side) for side in shape)})"
