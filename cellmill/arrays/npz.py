"""Uncompressed, 64-byte-aligned `.npz` files that are written and read window by window.

A file written here is an ordinary `.npz` (`numpy.load` reads it): a ZIP archive of stored
`.npy` members. Each member's data begins at a multiple of 64 bytes, so that an array can be
memory-mapped and a stage touches only the window it works on. A window is mapped, copied and
unmapped: pages of a map that stays would count as the process's memory. Dates are fixed: equal
arrays make equal files.

Sources: NPY format, version 1.0 (NEP 1); APPNOTE.TXT 6.3.9 (ZIP, ZIP64).
"""

from __future__ import annotations

import contextlib
import io
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cellmill.arrays.checksums import crc32
from cellmill.arrays.files import stage_file
from cellmill.arrays.npz_headers import DAMAGE, check_unpacked_size, read_header
from cellmill.compute.faults import check_room, reserve
from cellmill.errors import BadInput

ALIGNMENT = 64
#: Bytes that are mapped at a time.
_MAPPED = 1 << 26
#: Bytes that are read at a time for their checksum: they stay in a processor's cache.
_SPAN = 1 << 20
_DOS_DATE = 0x21  # 1980-01-01, the earliest date that ZIP can say
_ZIP64_LIMIT = 0xFFFFFFFF
_PADDING_ID = 0xD935  # the extra-field id that Android's zipalign pads with


@dataclass(frozen=True)
class NpzArray:
    """An array in a file, windowed.

    Attributes:
        path: the file.
        shape: of the array.
        dtype: of its values.
        offset: of the first value in the file, bytes.
        order: `"C"` or `"F"`.
        writable: whether windows can be written.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int
    order: Literal["C", "F"] = "C"
    writable: bool = False

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all values."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, window: Any, /) -> np.ndarray:
        """Read a window: slices, integers and an ellipsis, as numpy takes them."""
        parts = window if isinstance(window, tuple) else (window,)
        if not self.size:
            return np.zeros(self.shape, self.dtype)[parts]
        first = parts[0] if parts else slice(None)
        if first is Ellipsis:
            parts = (slice(None),) * (self.ndim - len(parts) + 1) + parts[1:]
            first = parts[0] if parts else slice(None)
        if not isinstance(first, slice) or not self.ndim:
            return np.array(self._map()[parts])
        rows, rest = range(*first.indices(self.shape[0])), parts[1:]
        shape = np.broadcast_to(np.zeros((), self.dtype), self.shape)[parts].shape
        out = np.empty(shape, self.dtype)
        for start, stop in _spans(len(rows), self.nbytes // self.shape[0] * abs(rows.step)):
            some = rows[start:stop]
            span = slice(some.start, some.stop if some.stop >= 0 else None, some.step)
            index = (span, *rest)
            out[start:stop] = self._map()[index]
        return out

    def __setitem__(self, window: Any, values: Any, /) -> None:
        """Write a window."""
        if not self.writable:
            raise ValueError(f"'{self.path}' is open for reading")
        if not self.size:
            return
        whole = _whole_rows(window, self.shape) if self.order == "C" else None
        if whole is None:
            self._map()[window] = values
            return
        rows, shape = whole
        # Written, not mapped: a map's pages are fetched one by one, which costs more than copying.
        block = np.ascontiguousarray(np.broadcast_to(values, shape), self.dtype)
        with self.path.open("r+b", buffering=0) as file:
            file.seek(self.offset + rows.start * (self.nbytes // self.shape[0]))
            left = block.reshape(-1).view(np.uint8).data
            while left:
                left = left[file.write(left) :]

    def __array__(
        self, dtype: np.dtype | type | None = None, copy: bool | None = None
    ) -> np.ndarray:
        return np.asarray(self[...], dtype)

    def _map(self) -> np.ndarray:
        mode: Literal["r+", "r"] = "r+" if self.writable else "r"
        return np.memmap(self.path, self.dtype, mode, self.offset, self.shape, self.order)


def _whole_rows(window: Any, shape: tuple[int, ...]) -> tuple[range, tuple[int, ...]] | None:
    """Return which rows a window is and its own shape, if it is whole rows; else None."""
    parts = window if isinstance(window, tuple) else (window,)
    if parts == (Ellipsis,):
        parts = (slice(None),)
    if not shape or not parts or len(parts) > len(shape) or not isinstance(parts[0], slice):
        return None
    rows = range(*parts[0].indices(shape[0]))
    shown = [len(rows)]
    rest = [*parts[1:], *(slice(None),) * (len(shape) - len(parts))]
    for part, length in zip(rest, shape[1:], strict=True):
        if isinstance(part, slice) and range(*part.indices(length)) == range(length):
            shown.append(length)
        elif not (isinstance(part, int) and length == 1 and part in (0, -1)):
            return None
    return (rows, tuple(shown)) if rows.step == 1 and len(rows) else None


def _spans(length: int, item_bytes: int) -> Iterator[tuple[int, int]]:
    step = max(1, _MAPPED // max(item_bytes, 1))
    return ((start, min(start + step, length)) for start in range(0, length, step))


@dataclass(frozen=True)
class _Member:
    """Where one array lies in the file being written."""

    key: str
    shape: tuple[int, ...]
    dtype: np.dtype
    header: bytes
    offset: int
    data_offset: int

    @property
    def filename(self) -> bytes:
        return f"{self.key}.npy".encode()

    @property
    def array_offset(self) -> int:
        return self.data_offset + len(self.header)

    @property
    def array_bytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    @property
    def size(self) -> int:
        return len(self.header) + self.array_bytes


def _npy_header(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer,
        {"shape": shape, "fortran_order": False, "descr": np.lib.format.dtype_to_descr(dtype)},
    )
    return buffer.getvalue()


def _layout(arrays: Mapping[str, tuple[tuple[int, ...], np.dtype]]) -> list[_Member]:
    members = []
    position = 0
    for key, (shape, dtype) in arrays.items():
        filename_length = len(f"{key}.npy".encode())
        # Fixed header, file name, ZIP64 field (20 bytes), padding field (4 bytes and its body).
        unpadded = position + 30 + filename_length + 20 + 4
        data_offset = -(-unpadded // ALIGNMENT) * ALIGNMENT
        members.append(_Member(key, shape, dtype, _npy_header(shape, dtype), position, data_offset))
        position = data_offset + members[-1].size
    return members


def _local_header(member: _Member, crc: int) -> bytes:
    name = member.filename
    zip64 = struct.pack("<HHQQ", 0x0001, 16, member.size, member.size)
    padding = member.data_offset - member.offset - 30 - len(name) - len(zip64) - 4
    extra = zip64 + struct.pack("<HH", _PADDING_ID, padding) + bytes(padding)
    fixed = struct.pack(
        "<4s5H3L2H",
        b"PK\x03\x04",
        45,
        0,
        0,
        0,
        _DOS_DATE,
        crc,
        _ZIP64_LIMIT,
        _ZIP64_LIMIT,
        len(name),
        len(extra),
    )
    return fixed + name + extra


def _central_directory(members: list[_Member], crcs: list[int], start: int) -> bytes:
    entries = b""
    for member, crc in zip(members, crcs, strict=True):
        extra = struct.pack("<HHQQQ", 0x0001, 24, member.size, member.size, member.offset)
        entries += (
            struct.pack(
                "<4s6H3L5H2L",
                b"PK\x01\x02",
                45,
                45,
                0,
                0,
                0,
                _DOS_DATE,
                crc,
                _ZIP64_LIMIT,
                _ZIP64_LIMIT,
                len(member.filename),
                len(extra),
                0,
                0,
                0,
                0,
                _ZIP64_LIMIT,
            )
            + member.filename
            + extra
        )
    count = len(members)
    zip64_end = struct.pack(
        "<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(entries), start
    )
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, start + len(entries), 1)
    end = struct.pack(
        "<4s4H2LH",
        b"PK\x05\x06",
        0,
        0,
        min(count, 0xFFFF),
        min(count, 0xFFFF),
        min(len(entries), _ZIP64_LIMIT),
        min(start, _ZIP64_LIMIT),
        0,
    )
    return entries + zip64_end + locator + end


def _crc(member: _Member, path: Path) -> int:
    """CRC-32 of a member: its header, then its values a span at a time."""
    value, left = crc32(member.header), member.array_bytes
    span = memoryview(bytearray(min(_SPAN, left)))
    with path.open("rb", buffering=0) as file:
        file.seek(member.array_offset)
        while left and (got := file.readinto(span[:left])):
            value, left = crc32(span[:got], value), left - got
    return value


@contextlib.contextmanager
def create_npz(
    path: Path, arrays: Mapping[str, tuple[tuple[int, ...], np.dtype | type | str]]
) -> Iterator[dict[str, NpzArray]]:
    """Create an `.npz` and give its arrays to be written window by window, zero-filled.

    The file gets its name when the block ends without an error; before that it does not exist.

    Args:
        path: the file to make.
        arrays: shape and dtype of each array by key.

    Yields:
        The arrays by key, C-contiguous.

    Raises:
        MachineFault: the disk has no room for them.
    """
    members = _layout({key: (tuple(shape), np.dtype(d)) for key, (shape, d) in arrays.items()})
    start = members[-1].data_offset + members[-1].size if members else 0
    with stage_file(path) as temporary:
        check_room(path, start, "the arrays")
        with temporary.open("wb") as file:
            reserve(file.fileno(), start)
        arrays_by_key = {
            m.key: NpzArray(temporary, m.shape, m.dtype, m.array_offset, writable=True)
            for m in members
        }
        yield arrays_by_key
        crcs = [_crc(m, temporary) for m in members]
        with temporary.open("r+b") as file:
            for member, crc in zip(members, crcs, strict=True):
                file.seek(member.offset)
                file.write(_local_header(member, crc))
                file.seek(member.data_offset)
                file.write(member.header)
            file.seek(start)
            file.write(_central_directory(members, crcs, start))


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write whole arrays as an aligned, uncompressed `.npz`.

    Args:
        path: the file to make.
        arrays: arrays by key; any shape, no object dtype.
    """
    with create_npz(path, {key: (a.shape, a.dtype) for key, a in arrays.items()}) as out:
        for key, array in arrays.items():
            out[key][...] = array


def read_npz(path: Path) -> dict[str, NpzArray | np.ndarray]:
    """Open an `.npz`: members that are stored to be read by windows, copies where compressed.

    Args:
        path: the file, of this module's making or of `numpy.savez`/`savez_compressed`.

    Returns:
        The arrays by key.

    Raises:
        BadInput: the file is missing, no ZIP archive, damaged, or holds pickled objects.
    """
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            return {
                info.filename.removesuffix(".npy"): _read_member(archive, file, path, info)
                for info in archive.infolist()
                if info.filename.endswith(".npy")
            }
    except FileNotFoundError:
        raise BadInput(f"array file '{path}'", expected="a file", found="nothing there") from None
    except DAMAGE as error:
        raise BadInput(
            f"array file '{path}'", expected="an .npz of plain arrays", found=f"{error}"
        ) from error


def checksums(path: Path) -> dict[str, int]:
    """Return each array's CRC-32 by key, as the archive's directory holds it."""
    with zipfile.ZipFile(path) as archive:
        return {i.filename.removesuffix(".npy"): i.CRC for i in archive.infolist()}


def is_intact(path: Path, sums: Mapping[str, int]) -> bool:
    """Whether a file holds the arrays of these checksums, every byte read and compared."""
    try:
        with zipfile.ZipFile(path) as archive:
            return checksums(path) == dict(sums) and archive.testzip() is None
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, struct.error):
        return False


def _read_member(
    archive: zipfile.ZipFile, file: io.BufferedReader, path: Path, info: zipfile.ZipInfo
) -> NpzArray | np.ndarray:
    if info.compress_type != zipfile.ZIP_STORED:
        check_unpacked_size(info)
        with archive.open(info) as member:
            read_header(member, info)
        with archive.open(info) as member:
            return np.lib.format.read_array(member, allow_pickle=False)
    file.seek(info.header_offset)
    fixed = file.read(30)
    if fixed[:4] != b"PK\x03\x04":
        raise zipfile.BadZipFile(f"no member at byte {info.header_offset}")
    name_length, extra_length = struct.unpack("<2H", fixed[26:30])
    begin = info.header_offset + 30 + name_length + extra_length
    file.seek(begin)
    shape, fortran_order, dtype = read_header(file, info)
    count = math.prod(shape)
    if file.tell() + count * dtype.itemsize > path.stat().st_size:
        raise ValueError(f"the file ends inside '{info.filename}'")
    return NpzArray(path, shape, dtype, file.tell(), "F" if fortran_order else "C")
