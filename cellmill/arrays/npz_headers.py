"""What is asked of an `.npz` before its arrays are read: headers that agree with the archive."""

from __future__ import annotations

import io
import math
import struct
import tokenize
import zipfile
import zlib
from typing import IO

import numpy as np

#: What the standard library and numpy raise of damaged archives and headers.
DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, TypeError),
    *(SyntaxError, tokenize.TokenError, RuntimeError, NotImplementedError, OverflowError),
)
#: Deflate makes nothing smaller than this part of itself.
_MOST_DEFLATED = 1100
#: Of plain arrays; numpy's own writers stay below 200 bytes.
_LONGEST_HEADER = 10_000


def check_unpacked_size(info: zipfile.ZipInfo) -> None:
    """Refuse a compressed member that says it unpacks to more than its bytes can.

    Raises:
        ValueError: it does.
    """
    if info.file_size > _MOST_DEFLATED * max(info.compress_size, 1):
        raise ValueError(f"'{info.filename}' says that it unpacks to {info.file_size} bytes")


def read_header(file: IO[bytes], info: zipfile.ZipInfo) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read an array's header; refuse objects, and a shape that the member's size contradicts.

    Args:
        file: the member, at its beginning.
        info: of the member.

    Returns:
        Shape, whether columns come first, and dtype.

    Raises:
        ValueError: it does not hold a plain array of just its size; or see `DAMAGE`.
    """
    begin = file.tell()
    version = np.lib.format.read_magic(file)
    first = version == (1, 0)
    read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
    length = file.read(2 if first else 4)
    size = int.from_bytes(length, "little")
    # numpy takes memory for the whole of it before it looks.
    if size > _LONGEST_HEADER:
        raise ValueError(f"'{info.filename}' says that its header is {size} bytes long")
    shape, fortran_order, dtype = read(io.BytesIO(length + file.read(size)))
    if dtype.hasobject:
        raise ValueError(f"pickled objects under '{info.filename}'")
    if file.tell() - begin + math.prod(shape) * dtype.itemsize != info.file_size:
        raise ValueError(f"'{info.filename}' shorter than its shape {shape} says")
    return shape, fortran_order, dtype
