"""How a page's pixels are stored, from its own tags: read strictly, and compared between pages."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import tifffile

from cellmill.errors import BadInput
from cellmill.io.tiff.directories import MOST_SUBIFDS, Directories, Directory, is_integer
from cellmill.io.tiff.tags import tag_name

#: Of tiles of 256 × 256 px these are an image of half a million px a side.
_MOST_SEGMENTS = 1 << 22
_LONGEST_SIDE = (1 << 31) - 1
_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIPS, _SAMPLES, _ROWS, _STRIP_BYTES, _PLANAR, _PREDICTOR = 273, 277, 278, 279, 284, 317
_TILE_WIDTH, _TILE_LENGTH, _TILES, _TILE_BYTES, _SUBIFDS = 322, 323, 324, 325, 330
_EXTRA_SAMPLES, _FORMAT, _DEPTH, _TILE_DEPTH, _SUBSAMPLING = 338, 339, 32997, 32998, 530
_OLD_JPEG_START = 513
_ZEISS = 34412
_NDPI_STARTS = 65426
_NO_COMPRESSION, _OLD_JPEG = 1, 6
_BILEVEL = frozenset({2, 3, 4})
_TILED_SEPARATELY = 2


@dataclass(frozen=True)
class Structure:
    """What a page's tags say of its pixels; pages that one decoder reads have the same.

    Attributes:
        width: of the page, pixels.
        length: its height.
        depth: planes in it.
        bits: of each sample.
        formats: of each sample: 1 unsigned, 2 signed, 3 float, …
        samples: of a pixel.
        planar: 1: side by side, 2: one plane after the other.
        compression: TIFF's number of it.
        predictor: likewise.
        photometric: likewise.
        fill_order: of bits in a byte.
        extra: what samples beyond the colours are.
        subsampling: of chrominance.
        segment: width, height and depth of a strip or tile.
        tiled: whether they are tiles.
    """

    width: int
    length: int
    depth: int
    bits: tuple[int, ...]
    formats: tuple[int, ...]
    samples: int
    planar: int
    compression: int
    predictor: int
    photometric: int
    fill_order: int
    extra: tuple[int, ...]
    subsampling: tuple[int, ...]
    segment: tuple[int, int, int]
    tiled: bool

    @property
    def segments(self) -> int:
        """How many strips or tiles the page needs."""
        width, length, depth = self.segment
        count = math.ceil(self.length / length) * math.ceil(self.depth / depth)
        count *= math.ceil(self.width / width)
        return count * (self.samples if self.planar == _TILED_SEPARATELY else 1)

    def segment_bytes(self, index: int) -> int:
        """Return how many bytes a strip or tile is of that is not compressed."""
        width, length, depth = self.segment
        rows = length
        if not self.tiled:
            down = math.ceil(self.length / length)
            rows = min(length, self.length - index % down * length)
        samples = 1 if self.planar == _TILED_SEPARATELY else self.samples
        bits = sum(self.bits) if samples > 1 else self.bits[0]
        return math.ceil(width * bits / 8) * rows * depth


def read_structure(directories: Directories, directory: Directory, label: str) -> Structure:
    """Read how a page's pixels are stored, and check that its tags agree with each other.

    Args:
        directories: of the file.
        directory: of the page.
        label: how messages call the image.

    Raises:
        BadInput: a tag is missing, cannot be read, has a value that TIFF does not know, or
            contradicts another.
    """
    tags = _Tags(directories, directory, label)
    zeiss = _ZEISS in directory.entries
    width, length = _size(tags, label)
    compression = tags.known(_COMPRESSION, _NO_COMPRESSION, tifffile.COMPRESSION)
    samples = tags.number(_SAMPLES, 1)
    planar = tags.known(_PLANAR, 1, tifffile.PLANARCONFIG)
    depth = tags.number(_DEPTH, 1)
    tiled = _TILE_WIDTH in directory.entries or _TILE_LENGTH in directory.entries
    found = Structure(
        width=width,
        length=length,
        depth=depth,
        bits=tags.each(_BITS, 1, samples, zeiss=zeiss),
        formats=tags.each(_FORMAT, 1, samples, zeiss=zeiss),
        samples=samples,
        planar=planar if samples > 1 else 1,
        compression=compression,
        predictor=tags.known(_PREDICTOR, 1, tifffile.PREDICTOR),
        photometric=tags.known(_PHOTOMETRIC, 0, tifffile.PHOTOMETRIC),
        fill_order=tags.known(_FILL_ORDER, 1, tifffile.FILLORDER),
        extra=tags.values(_EXTRA_SAMPLES),
        subsampling=tags.values(_SUBSAMPLING),
        segment=_tile(tags, depth) if tiled else _strip(tags, width, length),
        tiled=tiled,
    )
    tags.values(_SUBIFDS, most=MOST_SUBIFDS)
    _check_agreement(tags, found, zeiss=zeiss)
    _check_segments(tags, found, plain=not zeiss and compression != _OLD_JPEG)
    return found


def check_alike(first: Structure, other: Structure, label: str, page: str) -> None:
    """Check that a page is stored as the one that its decoder was made for.

    Raises:
        BadInput: it is not.
    """
    for field in fields(Structure):
        expected, found = getattr(first, field.name), getattr(other, field.name)
        if expected != found:
            raise BadInput(
                label,
                expected=f"pages that are stored alike ({field.name} {_shown(expected)})",
                found=f"{field.name} {_shown(found)} on {page}",
            )


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else f"{value}"


class _Tags:
    """The numbers that a directory's tags hold."""

    def __init__(self, directories: Directories, directory: Directory, label: str) -> None:
        self._directories, self.directory, self._label = directories, directory, label

    def values(self, code: int, most: int = 1 << 16) -> tuple[int, ...]:
        """All values of a tag, none where there is no such tag."""
        entry = self.directory.entries.get(code)
        if entry is not None and entry.count > most:
            raise self.wrong(code, f"at most {most} values", f"{entry.count}")
        return self._directories.integers(self.directory, code)

    def number(self, code: int, default: int) -> int:
        """The value of a tag that has one."""
        values = self.values(code)
        if len(values) > 1:
            raise self.wrong(code, "one value", f"{len(values)}")
        return values[0] if values else default

    def known(self, code: int, default: int, known: Callable[[int], object]) -> int:
        """The value of a tag whose values TIFF lists."""
        value = self.number(code, default)
        try:
            known(value)
        except ValueError:
            raise self.wrong(code, "a value that is known", f"{value}") from None
        return value

    def each(self, code: int, default: int, samples: int, *, zeiss: bool) -> tuple[int, ...]:
        """The values of a tag that has one for each sample, or one for all."""
        values = self.values(code) or (default,)
        if len(values) == 1:
            return values * samples if samples <= 1 << 16 else values
        # Zeiss lists more of them than a pixel has samples.
        if len(values) != samples and not (zeiss and len(values) > samples):
            raise self.wrong(code, f"{samples} values, one a sample", f"{len(values)}")
        return values[:samples]

    def wrong(self, code: int, expected: str, found: str) -> BadInput:
        """A tag is not what it must be."""
        what = f"{tag_name(code)} of {expected} on {self.directory.page}"
        return BadInput(self._label, expected=what, found=found)


def _size(tags: _Tags, label: str) -> tuple[int, int]:
    """Return a page's width and height."""
    width, length = tags.number(_WIDTH, 0), tags.number(_LENGTH, 0)
    if not width * length:
        raise BadInput(
            label,
            expected=f"tags ImageWidth and ImageLength on {tags.directory.page}",
            found=f"an image of {length} × {width}",
        )
    if max(width, length) > _LONGEST_SIDE:
        raise tags.wrong(_WIDTH, f"at most {_LONGEST_SIDE} px", f"{length} × {width}")
    return width, length


def _tile(tags: _Tags, depth: int) -> tuple[int, int, int]:
    """Return width, height and depth of a tile."""
    width, length = tags.number(_TILE_WIDTH, 0), tags.number(_TILE_LENGTH, 0)
    deep = min(depth, tags.number(_TILE_DEPTH, 1))
    if not width * length * deep:
        raise tags.wrong(_TILE_WIDTH, "tiles of pixels", f"{length} × {width}")
    return width, length, deep


def _strip(tags: _Tags, width: int, length: int) -> tuple[int, int, int]:
    """Return width, height and depth of a strip."""
    if _TILES in tags.directory.entries:
        raise tags.wrong(_TILE_WIDTH, "a number, for there are tiles", "none")
    rows = tags.number(_ROWS, length)
    if not rows:
        raise tags.wrong(_ROWS, "some rows", "0")
    return width, min(rows, length), 1


def _check_agreement(tags: _Tags, found: Structure, *, zeiss: bool) -> None:
    """Check that tags do not contradict each other."""
    plain = found.compression == _NO_COMPRESSION
    if found.predictor != 1 and plain and not zeiss:
        raise tags.wrong(_PREDICTOR, "1, for nothing is compressed", f"{found.predictor}")
    if found.compression in _BILEVEL and set(found.bits) != {1}:
        raise tags.wrong(
            _BITS, f"1, for the compression is {found.compression}", f"{found.bits[0]}"
        )
    if not all(value in set(tifffile.SAMPLEFORMAT) for value in found.formats):
        raise tags.wrong(_FORMAT, "a format that TIFF knows", f"{max(found.formats)}")
    if len(found.extra) > found.samples:
        raise tags.wrong(_EXTRA_SAMPLES, f"at most {found.samples} values", f"{len(found.extra)}")


def _check_segments(tags: _Tags, structure: Structure, *, plain: bool) -> None:
    """Check that there are as many strips or tiles as the geometry wants, of its size if plain."""
    entries = tags.directory.entries
    offsets = _TILES if _TILES in entries else _STRIPS
    counts = _TILE_BYTES if _TILE_BYTES in entries else _STRIP_BYTES
    needed = structure.segments
    if needed > _MOST_SEGMENTS:
        raise tags.wrong(offsets, f"at most {_MOST_SEGMENTS} strips or tiles", f"{needed}")
    for code in (offsets, counts):
        if code in entries and not is_integer(entries[code]):
            raise tags.wrong(code, "whole numbers", f"values of type {entries[code].kind}")
    if offsets not in entries and _OLD_JPEG_START not in entries:
        raise tags.wrong(offsets, "the places of strips or tiles", "none")
    if not plain or _NDPI_STARTS in entries:
        return
    for code in (offsets, counts):
        if code in entries and (count := entries[code].count) != needed:
            raise tags.wrong(code, f"{needed} values, one a strip or tile", f"{count}")
    uncompressed = structure.compression == _NO_COMPRESSION
    if counts not in entries:
        if uncompressed and needed == 1:
            return
        raise tags.wrong(counts, "the sizes of strips or tiles", "none")
    if uncompressed and len(set(structure.subsampling)) <= 1:
        _check_sizes(tags, structure, counts)


def _check_sizes(tags: _Tags, structure: Structure, code: int) -> None:
    what = "tile" if structure.tiled else "strip"
    found: Sequence[int] = tags.values(code, most=_MOST_SEGMENTS)
    for index, size in enumerate(found):
        wanted = structure.segment_bytes(index)
        if size not in (wanted, 0):
            raise tags.wrong(code, f"{wanted} bytes for {what} {index + 1}", f"{size}")
