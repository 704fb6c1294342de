"""Label images as the compressed tiles of a pyramid, in one pass and bounded memory."""

from __future__ import annotations

import hashlib
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

import imagecodecs
import numpy as np

from cellmill.arrays.windows import Windowed
from cellmill.compute.threads import thread_count
from cellmill.errors import BadInput

TILE = 512
#: A pyramid ends with the first level whose sides are no longer than this, in px.
SMALLEST_LEVEL = 1024
_DEFLATE_LEVEL = 6
_KEPT_IN_MEMORY = 32 << 20

Item = TypeVar("Item")
Result = TypeVar("Result")


def level_shapes(shape: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the shapes of a pyramid's levels, each of every second pixel of the one before.

    Args:
        shape: `(Y, X)` of the image.

    Example:
        >>> level_shapes((3000, 700))
        [(3000, 700), (1500, 350), (750, 175)]
    """
    shapes = [shape]
    while max(shapes[-1]) > SMALLEST_LEVEL:
        shapes.append((-(-shapes[-1][0] // 2), -(-shapes[-1][1] // 2)))
    return shapes


def row_memory(shape: tuple[int, int], dtype: np.dtype) -> int:
    """Return about how many bytes a `PyramidEncoder` takes: a row of tiles of each later level.

    Args:
        shape: `(Y, X)` of the image.
        dtype: in which labels are stored.
    """
    rows = sum(TILE * -(-width // TILE) * TILE for _, width in level_shapes(shape)[1:])
    at_work = 2 * thread_count() * TILE * TILE * 4
    return (rows + at_work) * dtype.itemsize + 2 * _KEPT_IN_MEMORY


class PyramidEncoder:
    """Encodes a label image as the tiles of a pyramid, each a zlib stream.

    The image is read once, in `first_level`. Tiles of later levels, of which every second pixel
    of a level is made, are encoded on the way and kept, compressed, until `later_level` gives
    them. Reading and compression run on all threads; the tiles do not depend on that.

    Args:
        labels: `(Y, X)`, integers.
        stored: dtype of the tiles.
        label: what the labels are called in an error.
    """

    def __init__(self, labels: Windowed, stored: np.dtype, label: str) -> None:
        self._labels, self._stored, self._label = labels, stored, label
        shapes = level_shapes((labels.shape[0], labels.shape[1]))
        self._across = [-(-width // TILE) for _, width in shapes]
        self._down = [-(-height // TILE) for height, _ in shapes]
        # Of each later level the row of tiles that is being put together.
        self._rows = [np.zeros((TILE, n * TILE), stored) for n in self._across[1:]]
        # Closed by __exit__.
        self._kept = [tempfile.SpooledTemporaryFile(_KEPT_IN_MEMORY) for _ in shapes[1:]]  # noqa: SIM115
        self._sizes: list[list[int]] = [[] for _ in shapes[1:]]
        self._identity = hashlib.sha256()
        self._blank = _encode(np.zeros((TILE, TILE), stored))
        self._pool = ThreadPoolExecutor(thread_count())

    def __enter__(self) -> PyramidEncoder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        for file in self._kept:
            file.close()

    @property
    def digest(self) -> bytes:
        """SHA-256 over the SHA-256 of each tile's labels, once `first_level` has ended."""
        return self._identity.digest()

    def first_level(self) -> Iterator[bytes]:
        """Give the tiles of the image itself in raster order.

        Raises:
            BadInput: labels do not fit the dtype they are stored in.
        """
        places = ((row, column) for row in range(self._down[0]) for column in self._columns())
        results = _in_order(self._pool, self._tile, places, 2 * thread_count())
        for index, (encoded, digest, halved) in enumerate(results):
            row, column = divmod(index, self._across[0])
            self._identity.update(digest)
            if self._rows:
                half = TILE // 2
                y, x = row % 2 * half, column * half
                self._rows[0][y : y + half, x : x + half] = halved
                if column + 1 == self._across[0]:
                    self._end_of_row(1, row)
            yield encoded

    def later_level(self, level: int) -> Iterator[bytes]:
        """Give the tiles of a level, 1 being the first that is reduced, in raster order."""
        file = self._kept[level - 1]
        file.seek(0)
        for size in self._sizes[level - 1]:
            yield file.read(size)

    def _columns(self) -> range:
        return range(self._across[0])

    def _tile(self, place: tuple[int, int]) -> tuple[bytes, bytes, np.ndarray]:
        y, x = place[0] * TILE, place[1] * TILE
        window = self._labels[y : y + TILE, x : x + TILE]
        low, high, limit = int(window.min()), int(window.max()), np.iinfo(self._stored).max
        if low < 0 or high > limit:
            raise BadInput(
                self._label,
                expected=f"labels from 0 to {limit}, which fit {self._stored.name}",
                found=f"label {low if low < 0 else high}",
            )
        tile = np.zeros((TILE, TILE), self._stored)
        tile[: window.shape[0], : window.shape[1]] = window
        encoded = _encode(tile) if high else self._blank
        return encoded, hashlib.sha256(tile.data).digest(), tile[::2, ::2]

    def _end_of_row(self, level: int, row: int) -> None:
        """Go on after a row of the level before: keep this level's own row if it is complete."""
        if row % 2 == 0 and row + 1 < self._down[level - 1]:
            return
        whole = self._rows[level - 1]
        tiles = (whole[:, x : x + TILE] for x in range(0, whole.shape[1], TILE))
        for encoded in _in_order(self._pool, _encode, tiles, 2 * thread_count()):
            self._kept[level - 1].write(encoded)
            self._sizes[level - 1].append(len(encoded))
        if level < len(self._rows):
            y = row // 2 % 2 * (TILE // 2)
            above = self._rows[level]
            above[y : y + TILE // 2, : whole.shape[1] // 2] = whole[::2, ::2]
            self._end_of_row(level + 1, row // 2)
        whole[:] = 0


def _encode(tile: np.ndarray) -> bytes:
    """Deflate a tile as it is: with differences along x, label images come out a third larger."""
    whole = np.ascontiguousarray(tile)
    return bytes(imagecodecs.deflate_encode(whole.tobytes(), level=_DEFLATE_LEVEL))


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """Work on items in threads, no more than so many ahead; results in the order of the items."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) >= max(1, ahead):
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
