"""Cellpose's size models: a `.npy` file that holds a pickled dictionary, read without running it.

A pickle is a program. Of what one may do, this reader does what it takes to write down numbers,
texts, dictionaries and arrays of floats, and names no function or class but stand-ins of its own:
whatever else is asked for is refused by name. Numpy itself never sees the file.
"""

from __future__ import annotations

import ast
import io
import math
import pickle
import pickletools
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cellmill.errors import BadInput
from cellmill.io import uris
from cellmill.models.size_model import SizeModel
from cellmill.typed_json import WrongField

#: A size model of 256 values has 5 kB.
_MOST_BYTES = 1 << 20
#: What stands in a pickle of numbers, texts, dictionaries and arrays; no `INST`, `OBJ`, `EXT…` or
#: `PERSID`, which name things in other ways than `GLOBAL` does.
_OPERATIONS = (
    "PROTO FRAME STOP MARK POP POP_MARK NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG "
    "LONG1 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE "
    "BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 EMPTY_DICT DICT SETITEM SETITEMS EMPTY_LIST "
    "LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 PUT BINPUT LONG_BINPUT MEMOIZE "
    "GET BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE BUILD"
)
_PLACES = ("PUT", "BINPUT", "LONG_BINPUT")
_MOST_PLACES = 1 << 12
_FLOATS = {"f4": np.float32, "f8": np.float64}
#: Numpy's module of arrays, as of its versions 1 and 2.
_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
_KEYS = ("A", "smean", "diam_mean", "ymean")
_EXPECTED = "a size model as cellpose writes it, a dictionary of A, smean, diam_mean and ymean"


def size_model_file(weights: Path) -> Path | None:
    """The size model that lies beside a file of weights, as cellpose calls it; `None` without.

    It is `size_<name>.npy` of networks that cellpose publishes, else `<name>_size.npy`.
    """
    names = (f"size_{weights.name}.npy", f"{weights.name}_size.npy")
    return next((path for path in map(weights.with_name, names) if path.is_file()), None)


def read_size_model(path: Path, values: int, shown_diameter: float) -> SizeModel:
    """Read a size model that cellpose wrote.

    Args:
        path: of the `.npy` file.
        values: of the network's style.
        shown_diameter: the mean diameter of the objects that the network was trained on.

    Raises:
        BadInput: it holds something else, would do something else, or is of another network.
    """
    what = f"size model '{path}'"
    held = _dictionary(path, what)
    missing = [key for key in _KEYS if key not in held]
    if missing:
        raise BadInput(what, expected=_EXPECTED, found=f"no {missing[0]}")
    arrays = {key: _floats(held[key]) for key in _KEYS}
    wanted = {key: (values,) if key in ("A", "smean") else () for key in _KEYS}
    for key, array in arrays.items():
        if array is None:
            raise BadInput(what, expected=f"numbers in {key}", found=type(held[key]).__name__)
        if array.shape != wanted[key]:
            expected = f"{key} of shape {wanted[key]}, for the style of its network"
            raise BadInput(what, expected=expected, found=f"{array.shape}")
        if not np.isfinite(array).all():
            raise BadInput(what, expected=f"finite numbers in {key}", found="NaN or infinity")
    weights, mean, diameter, offset = (np.asarray(arrays[key], np.float64) for key in _KEYS)
    try:
        return SizeModel(
            diameter=float(diameter),
            shown_diameter=shown_diameter,
            offset=float(offset),
            style_mean=tuple(mean.tolist()),
            weights=tuple(weights.tolist()),
            source=uris.digest(str(path)),
        )
    except WrongField as wrong:
        expected = f"{wrong.place} {wrong.expected}"
        raise BadInput(what, expected=expected, found=wrong.found) from None


def _floats(value: Any) -> np.ndarray | None:
    """A number or an array of floats; `None` of anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.ndarray):
        return None
    return np.asarray(value, None if isinstance(value, np.ndarray) else np.float64)


def _dictionary(path: Path, what: str) -> Mapping[Any, Any]:
    """The dictionary in a `.npy` file of one object."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise ValueError(f"more than {_MOST_BYTES} bytes")
        (held,) = _unpickled(_behind_header(data)).items
    except OSError as error:
        raise BadInput(what, expected=_EXPECTED, found=str(error)) from error
    # Whatever a pickle asks of stand-ins that they do not do raises as it likes.
    except Exception as error:
        found = str(error) or type(error).__name__
        raise BadInput(what, expected=_EXPECTED, found=found.splitlines()[0]) from None
    if not isinstance(held, Mapping):
        raise BadInput(what, expected=_EXPECTED, found=type(held).__name__)
    return held


def _behind_header(data: bytes) -> bytes:
    """What follows the header of a `.npy` file (numpy, `numpy.lib.format`) of one object."""
    if data[:6] != b"\x93NUMPY" or len(data) < 12:
        raise ValueError("no .npy file")
    size, begin = struct.unpack_from("<H", data, 8)[0], 10
    if data[6] > 1:
        size, begin = struct.unpack_from("<I", data, 8)[0], 12
    header = ast.literal_eval(data[begin : begin + size].decode("latin-1").strip())
    if header["descr"] not in ("|O", "O") or header["shape"] != ():
        raise ValueError(f"an array of {header['descr']!r}, shape {header['shape']}")
    return data[begin + size :]


class _Type:
    """What a pickle says of an array's type; numpy's own `dtype` is not asked."""

    def __init__(self, name: str, *rest: object) -> None:
        self.name, self.order = str(name), "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = str(state[1])

    def read(self, data: Any, shape: tuple[int, ...]) -> np.ndarray:
        """Give the floats in some bytes."""
        data = data.encode("latin-1") if isinstance(data, str) else data
        if self.name not in _FLOATS or not isinstance(data, bytes):
            raise ValueError(f"an array of '{self.name}'")
        dtype = np.dtype(_FLOATS[self.name]).newbyteorder(">" if self.order == ">" else "<")
        if not all(isinstance(side, int) and side >= 0 for side in shape):
            raise ValueError(f"an array of shape {shape}")
        if math.prod(shape) * dtype.itemsize != len(data):
            raise ValueError(f"{len(data)} bytes for shape {shape}")
        return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="))


class _Array:
    """What a pickle says of an array, before it says its content."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.floats: np.ndarray | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, columns_first, data = state
        if isinstance(data, list):
            self.items = data
        else:
            found = kind.read(data, tuple(shape))
            self.floats = found.reshape(shape, order="F" if columns_first else "C")


def _unpickled(data: bytes) -> _Array:
    """The array in a pickle: with floats, or with one object, in which arrays are numpy's."""
    known_operations = {*_OPERATIONS.split()}
    for operation, argument, _ in pickletools.genops(data):
        if operation.name not in known_operations:
            raise ValueError(f"a pickle with {operation.name}")
        if operation.name in _PLACES and int(str(argument)) > _MOST_PLACES:
            raise ValueError(f"a pickle with place {argument}")
    # They are made anew for each file: whatever a pickle does to them, no other file sees.
    standing: dict[str, Any] = {
        "ndarray": "ndarray",
        "dtype": lambda name, *rest: _Type(name),
        "_reconstruct": lambda *rest: _Array(),
        "scalar": lambda kind, value: kind.read(value, ()),
        "encode": lambda text, coding: str(text).encode("latin-1"),
    }

    class Reader(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            known = {
                "numpy": ("ndarray", "dtype"),
                "_codecs": ("encode",),
                **dict.fromkeys(_MULTIARRAY, ("_reconstruct", "scalar")),
            }
            if name not in known.get(module, ()):
                raise ValueError(f"a pickle that asks for {module}.{name}")
            return standing[name]

    found = Reader(io.BytesIO(data), encoding="latin-1").load()
    if not isinstance(found, _Array) or len(found.items) != 1:
        raise ValueError(f"a pickle of {type(found).__name__.strip('_').lower()}")
    held = found.items[0]
    if isinstance(held, dict):
        found.items = [{k: v.floats if isinstance(v, _Array) else v for k, v in held.items()}]
    return found
