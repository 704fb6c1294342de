"""How large an image is that a compressed strip or tile holds, from its own header.

Image codecs make as large an image as their stream declares, whatever the TIFF says. Sources: ITU
T.81 (JPEG), ISO 15444-1 (JPEG 2000), ISO 15948 (PNG), RFC 9649 (WebP), ISO 18181-1 (JPEG XL), ISO
29199-2 (JPEG XR), Esri's LERC.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping

Size = tuple[int, int, int]
"""Rows, columns, and components: 0 where they are not declared."""

#: What a file of each begins with.
PNG_MAGIC, JPEG_MAGIC = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_J2K_START = b"\xff\x4f\xff\x51"
#: TIFF's number of JPEG.
JPEG = 7
#: Start-of-frame markers of JPEG; DHT, JPG and DAC lie between them.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN = 0xDA
_NO_LENGTH = frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})


def declared_size(data: bytes, compression: int) -> Size | None:
    """Return the size of the image in a stream.

    Args:
        data: the stream.
        compression: TIFF's number of it.

    Returns:
        None for a compression whose streams declare no size.

    Raises:
        ValueError: the stream does not begin as it must.
    """
    reader = _READERS.get(compression)
    if reader is None:
        return None
    try:
        return reader(data)
    except (struct.error, IndexError) as error:
        raise ValueError("a stream that is cut off") from error


def check_end(data: bytes, compression: int) -> None:
    """Check that a JPEG or JPEG 2000 stream comes to its end; others' decoders see to it.

    Those of these two fill up what is missing, and say nothing.

    Args:
        data: the stream.
        compression: TIFF's number of it.

    Raises:
        ValueError: it is cut off.
    """
    reader = _READERS.get(compression)
    if reader is jpeg_size:
        at = next((at for marker, at in _jpeg_segments(data) if marker == _SCAN), None)
    elif reader is _jpeg2000:
        at = data.find(_J2K_START)
    else:
        return
    # Neither has these two bytes within what it codes.
    if at is None or data.find(b"\xff\xd9", at) < 0:
        raise ValueError("a stream that is cut off")


def jpeg_size(data: bytes) -> Size:
    """Return the size of a JPEG image.

    Raises:
        ValueError: the stream does not begin as it must.
    """
    for marker, at in _jpeg_segments(data):
        if marker in _FRAMES:
            _, _, rows, columns, components = struct.unpack_from(">HBHHB", data, at)
            return rows, columns, components
    raise ValueError("a JPEG stream without a frame")


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the markers of a JPEG stream up to its first scan, and where what follows each is."""
    at = data.find(b"\xff\xd8")
    if at < 0:
        raise ValueError("no JPEG stream")
    at += 2
    while at < len(data):
        if data[at] != 0xFF:
            at += 1
            continue
        marker = data[at + 1]
        if marker in (0xFF, 0x00):
            at += 1
            continue
        at += 2
        if marker in _NO_LENGTH:
            continue
        yield marker, at
        if marker in (_SCAN, 0xD9):
            return
        at += struct.unpack_from(">H", data, at)[0]


def _jpeg2000(data: bytes) -> Size:
    at = data.find(_J2K_START)
    if at < 0:
        raise ValueError("no JPEG 2000 stream")
    _, _, right, bottom, left, top = struct.unpack_from(">HHIIII", data, at + 4)
    (components,) = struct.unpack_from(">H", data, at + 40)
    return bottom - top, right - left, components


def png_size(data: bytes) -> Size:
    """Return the size of a PNG image.

    Raises:
        ValueError: the stream does not begin as it must.
    """
    if data[:8] != PNG_MAGIC or data[12:16] != b"IHDR":
        raise ValueError("no PNG stream")
    columns, rows, _, kind = struct.unpack_from(">IIBB", data, 16)
    return rows, columns, {0: 1, 2: 3, 3: 0, 4: 2, 6: 4}.get(kind, 0)


def _webp(data: bytes) -> Size:
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise ValueError("no WebP stream")
    kind = data[12:16]
    if kind == b"VP8X":
        columns = 1 + int.from_bytes(data[24:27], "little")
        return 1 + int.from_bytes(data[27:30], "little"), columns, 0
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF), 0
    columns, rows = struct.unpack_from("<HH", data, 26)
    return rows & 0x3FFF, columns & 0x3FFF, 0


class _Bits:
    """Bits of a stream, the lowest of a byte first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._at = int.from_bytes(data[:32], "little"), 0

    def take(self, count: int) -> int:
        value = self._value >> self._at & ((1 << count) - 1)
        self._at += count
        return value


def _jpegxl(data: bytes) -> Size:
    at = 0
    if data[:12] == b"\x00\x00\x00\x0cJXL \r\n\x87\n":
        at = max(data.find(b"jxlc"), data.find(b"jxlp"))
        at = data.find(b"\xff\x0a", at) if at >= 0 else -1
    if at < 0 or data[at : at + 2] != b"\xff\x0a":
        raise ValueError("no JPEG XL stream")
    bits = _Bits(data[at + 2 :])

    def length(small: bool) -> int:
        if small:
            return (bits.take(5) + 1) * 8
        return 1 + bits.take((9, 13, 18, 30)[bits.take(2)])

    small = bool(bits.take(1))
    rows = length(small)
    ratio = bits.take(3)
    if not ratio:
        return rows, length(small), 0
    over, under = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
    return rows, rows * over // under, 0


def _jpegxr(data: bytes) -> Size:
    if data[:3] != b"II\xbc":
        raise ValueError("no JPEG XR stream")
    (at,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, at)
    found = {}
    for number in range(min(count, 256)):
        code, kind, _, value = struct.unpack_from("<HHII", data, at + 2 + 12 * number)
        found[code] = value & 0xFFFF if kind == 3 else value
    return found[0xBC81], found[0xBC80], 0


def _lerc(data: bytes) -> Size:
    if data[:6] != b"Lerc2 ":
        raise ValueError("no LERC stream")
    version = struct.unpack_from("<i", data, 6)[0]
    # From version 3 on a checksum stands before the size, from 4 on the values of a pixel after it.
    rows, columns = struct.unpack_from("<ii", data, 10 if version < 3 else 14)
    return rows, columns, struct.unpack_from("<i", data, 22)[0] if version >= 4 else 0


_READERS: Mapping[int, Callable[[bytes], Size]] = {
    6: jpeg_size,
    7: jpeg_size,
    33007: jpeg_size,
    34892: jpeg_size,
    33003: _jpeg2000,
    33004: _jpeg2000,
    33005: _jpeg2000,
    34712: _jpeg2000,
    34933: png_size,
    50001: _webp,
    50002: _jpegxl,
    52546: _jpegxl,
    22610: _jpegxr,
    34934: _jpegxr,
    34887: _lerc,
}
