"""A remote file that is read in parts, as if it were here."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable
from typing import IO, cast

#: Small reads (a TIFF's directories) take a block of the file at a time; blocks are kept.
BLOCK = 1 << 18
_KEPT_BLOCKS = 64
#: Less than this many bytes are read ahead of what is asked for.
_BUFFER = 1 << 16

Fetch = Callable[[int, int], bytes]
"""Gives the bytes from a place up to another, all of them."""


class RangedFile(io.RawIOBase):
    """A file of which parts are fetched when they are read.

    What is smaller than a block is read through a cache of blocks; what is larger is fetched as it
    is asked for, and not kept.

    Args:
        name: of the file; programs that read files ask for it.
        size: in bytes.
        fetch: gives a part.
    """

    def __init__(self, name: str, size: int, fetch: Fetch) -> None:
        self.name, self._size, self._fetch = name, size, fetch
        self._at = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """Any place of it can be read."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; nothing is fetched."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(f"expected a place in the file, found {base + offset}")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer from where the file is at; return how many bytes there were."""
        view = memoryview(buffer).cast("B")
        stop = min(self._at + len(view), self._size)
        count = max(0, stop - self._at)
        if count > BLOCK:
            view[:count] = self._fetch(self._at, stop)
        done = 0 if count <= BLOCK else count
        while done < count:
            number, offset = divmod(self._at + done, BLOCK)
            part = self._block(number)[offset : offset + count - done]
            view[done : done + len(part)] = part
            done += len(part)
        self._at += count
        return count

    def keep(self, number: int, content: bytes) -> None:
        """Keep a block that was fetched already."""
        self._blocks[number] = content

    def _block(self, number: int) -> bytes:
        if number in self._blocks:
            self._blocks.move_to_end(number)
            return self._blocks[number]
        content = self._fetch(number * BLOCK, min((number + 1) * BLOCK, self._size))
        self._blocks[number] = content
        if len(self._blocks) > _KEPT_BLOCKS:
            self._blocks.popitem(last=False)
        return content


def buffered(file: RangedFile) -> IO[bytes]:
    """Return a file that reads no less than some KiB at a time."""
    return cast(IO[bytes], io.BufferedReader(file, _BUFFER))
