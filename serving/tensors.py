"""Arrays on the wire: the Open Inference Protocol's datatypes, as JSON and as bytes."""

from __future__ import annotations

import base64
import binascii
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from cellmill.errors import BadInput
from serving.fields import a_list, a_text, only, shown, wholes
from serving.refusals import TooLarge

#: The protocol's names of types, and numpy's. BYTES are texts here.
DATATYPES = {
    "BOOL": np.dtype(bool),
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
    "BYTES": np.dtype(object),
}
MOST_AXES = 4
Compression = Literal["", "zlib"]


def datatype_of(dtype: np.dtype) -> str:
    """The protocol's name of an array's type."""
    return next(name for name, known in DATATYPES.items() if known == dtype.newbyteorder("<"))


def dtype_named(name: Any, what: str) -> np.dtype:
    """The type of a name of the protocol's (`UINT8`) or of numpy's (`uint8`).

    Raises:
        BadInput: there is none of that name.
    """
    text = a_text(name, what)
    if text in DATATYPES:
        return DATATYPES[text]
    known = {f"{dtype}": dtype for key, dtype in DATATYPES.items() if key != "BYTES"}
    if text not in known:
        raise BadInput(
            what, expected=f"one of {', '.join([*DATATYPES, *known])}", found=shown(name)
        )
    return known[text]


def shape_of(value: Any, what: str) -> tuple[int, ...]:
    """The shape of an array that is to come.

    Raises:
        BadInput: it is none of one to four axes of at least one value.
    """
    shape = wholes(value, what)
    if not 1 <= len(shape) <= MOST_AXES or min(shape) < 1:
        expected = f"1 to {MOST_AXES} axes, none empty"
        raise BadInput(what, expected=expected, found=shown(value))
    return shape


def from_values(values: Any, shape: tuple[int, ...], dtype: np.dtype, what: str) -> np.ndarray:
    """An array of JSON's numbers or texts, nested as its shape or flat.

    Raises:
        BadInput: they are others, or as many as the shape says are not there.
    """
    nested = a_list(values, what)
    if dtype.kind == "O":
        texts = [a_text(each, what) for each in nested]
        return _shaped(np.array(texts, object), shape, what)
    try:
        found = np.asarray(nested)
    except ValueError:
        raise BadInput(what, expected=f"numbers of shape {shape}", found="ragged lists") from None
    if dtype.itemsize == 8 and dtype.kind in "iu" and found.dtype.kind in "fO":
        # Small and very large integers in one list become floats, which hold fewer digits.
        found = _integers(nested, found)
    if found.dtype.kind not in ("b" if dtype.kind == "b" else "iuf"):
        raise BadInput(what, expected=f"{dtype.name} numbers", found=f"{found.dtype.name} values")
    with np.errstate(over="ignore", invalid="ignore"):
        kept = found.astype(dtype)
    # Integers hold themselves or nothing; floats are rounded, but not to infinity.
    lost = (
        ~np.isfinite(kept)
        if dtype.kind == "f"
        else kept.astype(found.dtype) != found
        if found.dtype.kind != "f"
        else (found != np.rint(found)) | (kept.astype(float) != found)
    )
    if dtype.kind in "iu" and found.dtype.kind in "iu":
        # Between signed and unsigned a wrong value can come back as itself.
        lost |= (kept < 0) != (found < 0)
    if lost.any():
        found_first = found[np.unravel_index(int(np.argmax(lost)), found.shape)]
        raise BadInput(what, expected=f"values of {dtype.name}", found=f"{found_first}")
    return _shaped(kept, shape, what)


def from_bytes(data: bytes | memoryview, shape: tuple[int, ...], dtype: np.dtype, what: str) -> Any:
    """An array of bytes in C order, little-endian; a view of them. Texts have their lengths before.

    Raises:
        BadInput: they are not as many as the shape says, or no texts.
    """
    if dtype.kind == "O":
        return _shaped(np.array(_texts(data, what), object), shape, what)
    wanted = math.prod(shape) * dtype.itemsize
    if len(data) != wanted:
        expected = f"{wanted} bytes for {dtype.name} of shape {shape}"
        raise BadInput(what, expected=expected, found=f"{len(data)}")
    return np.frombuffer(data, dtype).reshape(shape)


def to_bytes(array: np.ndarray) -> bytes:
    """The bytes of an array, in C order, little-endian."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()


def to_document(array: np.ndarray, encoding: str, compression: Compression) -> dict[str, Any]:
    """An array in JSON: its shape, its type, and its values as a list or in base64."""
    about: dict[str, Any] = {"shape": list(array.shape), "dtype": f"{array.dtype}"}
    if encoding == "list":
        return {**about, "values": array.tolist()}
    data = to_bytes(array)
    if compression:
        about, data = {**about, "compression": compression}, zlib.compress(data, 1)
    return {**about, "b64": base64.b64encode(data).decode("ascii")}


def from_document(document: Mapping[str, Any], most: int, what: str) -> np.ndarray:
    """An array of JSON, as `to_document` writes it.

    `values` may go without a shape, and without a dtype: whole numbers are then uint8 or uint16 if
    they fit, all others float32.

    Args:
        document: the JSON object.
        most: bytes that it may hold.
        what: it is, for messages.

    Raises:
        BadInput: it is none.
        TooLarge: it holds more.
    """
    only(document, ("shape", "dtype", "b64", "values", "compression"), what)
    if "values" in document:
        values, shape = a_list(document["values"], what), document.get("shape")
        known = shape_of(shape if shape is not None else _shape_of_lists(values), f"{what}, shape")
        if "dtype" in document:
            return from_values(values, known, dtype_named(document["dtype"], what), what)
        found = from_values(values, known, np.dtype(float), what)
        return found.astype(_smallest(found))
    dtype = dtype_named(document.get("dtype", "uint8"), f"{what}, dtype")
    shape = shape_of(document.get("shape"), f"{what}, shape")
    wanted = math.prod(shape) * dtype.itemsize
    if wanted > most:
        raise TooLarge(what, expected=f"at most {most} bytes", found=f"{wanted}")
    try:
        data = base64.b64decode(a_text(document.get("b64"), f"{what}, b64"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadInput(f"{what}, b64", expected="base64", found=f"{error}") from None
    compression = document.get("compression", "")
    if compression not in ("", "zlib"):
        raise BadInput(f"{what}, compression", expected="zlib", found=shown(compression))
    if compression:
        data = inflated(data, wanted, f"{what}, b64")
    return from_bytes(data, shape, dtype, what)


def inflated(data: bytes, most: int, what: str) -> bytes:
    """Bytes that zlib or gzip made smaller.

    Args:
        data: the smaller ones.
        most: of the larger ones.
        what: they are, for messages.

    Raises:
        BadInput: neither made them.
        TooLarge: there are more than that.
    """
    reader = zlib.decompressobj(wbits=47)
    try:
        found = reader.decompress(data, most + 1)
    except zlib.error as error:
        raise BadInput(what, expected="what zlib or gzip made", found=f"{error}") from None
    if len(found) > most:
        raise TooLarge(what, expected=f"at most {most} bytes", found="more")
    if not reader.eof:
        raise BadInput(what, expected="what zlib or gzip made", found="a part of it")
    return found


def _integers(nested: Sequence[Any], found: np.ndarray) -> np.ndarray:
    """The whole numbers of nested lists, without loss; `found` where there are others."""
    flat = np.asarray(nested, object).ravel().tolist()
    is_whole = (isinstance(x, int) or (isinstance(x, float) and x.is_integer()) for x in flat)
    if not all(is_whole):
        return found
    whole = [int(x) for x in flat]
    for dtype in (np.int64, np.uint64):
        if np.iinfo(dtype).min <= min(whole) and max(whole) <= np.iinfo(dtype).max:
            return np.array(whole, dtype).reshape(found.shape)
    return found


def _shaped(array: np.ndarray, shape: tuple[int, ...], what: str) -> np.ndarray:
    if array.shape != shape and (array.ndim != 1 or array.size != math.prod(shape)):
        raise BadInput(what, expected=f"values of shape {shape}", found=f"{array.shape}")
    return array.reshape(shape)


def _shape_of_lists(values: Sequence[Any]) -> list[int]:
    shape: list[int] = []
    inner: Any = values
    while isinstance(inner, list) and inner and len(shape) < MOST_AXES:
        shape.append(len(inner))
        inner = inner[0]
    return shape


def _smallest(values: np.ndarray) -> np.dtype:
    if (values == np.rint(values)).all() and values.min() >= 0:
        for dtype in (np.dtype(np.uint8), np.dtype(np.uint16)):
            if values.max() <= np.iinfo(dtype).max:
                return dtype
    return np.dtype(np.float32)


def _texts(data: bytes | memoryview, what: str) -> list[str]:
    found, place = [], 0
    while place < len(data):
        head = bytes(data[place : place + 4])
        length = struct.unpack("<I", head)[0] if len(head) == 4 else len(data)
        text = bytes(data[place + 4 : place + 4 + length])
        if len(text) != length:
            raise BadInput(
                what, expected="texts, each with its length before", found="a part of one"
            )
        try:
            found.append(text.decode())
        except UnicodeDecodeError:
            raise BadInput(what, expected="texts in UTF-8", found="other bytes") from None
        place += 4 + length
    return found
