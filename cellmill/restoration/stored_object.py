"""An object of a deconvolution in a store, a file a block, read by windows."""

from __future__ import annotations

import itertools
import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from cellmill.arrays.store import Ledger
from cellmill.errors import BadInput
from cellmill.restoration.blocks import BlockedRichardsonLucy

_STORED = np.dtype("<f4")


class BlockIsGone(BadInput):
    """A block that is to be read is not there, or not as it was written."""


class StoredObject:
    """The object after an iteration; its blocks are written by number and read by windows.

    Args:
        work: says what the blocks are.
        blocks: where they lie; None: everywhere is one value.
        value: that value.
        kept: how many blocks of what was read are kept.
    """

    def __init__(
        self, work: BlockedRichardsonLucy, blocks: Ledger | None, value: float, kept: int
    ) -> None:
        self.shape = work.shape
        self.dtype = np.dtype(np.float32)
        self._core, self._places, self._blocks = work.core, work.blocks, blocks
        self._counts = tuple(-(-n // c) for n, c in zip(self.shape, self._core, strict=True))
        self._value, self._most = np.float32(value), kept
        self._read: OrderedDict[int, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def __getitem__(self, window: Any, /) -> np.ndarray:
        """Read a window: slices, one an axis.

        Raises:
            BlockIsGone: of a part nothing is there.
        """
        parts = [slice(*p.indices(n)[:2]) for p, n in zip(window, self.shape, strict=True)]
        sides = [max(0, part.stop - part.start) for part in parts]
        if self._blocks is None:
            return np.full(sides, self._value)
        out = np.empty(sides, np.float32)
        if not math.prod(sides):
            return out
        reached = [
            range(part.start // core, -(-part.stop // core))
            for part, core in zip(parts, self._core, strict=True)
        ]
        for at in itertools.product(*reached):
            number = int(np.ravel_multi_index(at, self._counts))
            place = self._places[number]
            common = [
                slice(max(a.start, b.start), min(a.stop, b.stop))
                for a, b in zip(parts, place, strict=True)
            ]
            out[_within(common, parts)] = self._block(number)[_within(common, place)]
        return out

    def write(self, number: int, values: np.ndarray) -> None:
        """Write a block: whole, or not at all."""
        assert self._blocks is not None
        self._blocks.mark(str(number), values.astype(_STORED).tobytes())

    def has(self, number: int) -> bool:
        """Whether a block is there as it was written."""
        try:
            self._load(number)
        except BlockIsGone:
            return False
        return True

    def is_whole(self) -> bool:
        """Whether all blocks are there as they were written."""
        return self._blocks is None or all(map(self.has, range(len(self._places))))

    def _block(self, number: int) -> np.ndarray:
        with self._lock:
            if number in self._read:
                self._read.move_to_end(number)
                return self._read[number]
        found = self._load(number)
        with self._lock:
            self._read[number] = found
            while len(self._read) > self._most:
                self._read.popitem(last=False)
        return found

    def _load(self, number: int) -> np.ndarray:
        assert self._blocks is not None
        shape = [part.stop - part.start for part in self._places[number]]
        kept = self._blocks.kept(str(number))
        if kept is None or len(kept) != math.prod(shape) * _STORED.itemsize:
            found = "none" if kept is None else f"{len(kept)} bytes"
            raise BlockIsGone(
                f"block {number} of an object", expected=f"{shape} float32", found=found
            )
        return np.frombuffer(kept, _STORED).reshape(shape)


def blocks_kept(work: BlockedRichardsonLucy, most: int | None = None) -> tuple[int, ...]:
    """How many blocks are kept of each object that is read, for the next block that touches them.

    Two are read around a block, to go on from the newest as it came; the third only in its place.

    Args:
        work: says how many objects are read.
        most: how many there is room for; what is not kept is read again. None: all that help.
    """
    around = int(3 ** len(work.shape))
    all_ = (around, around, 1)[: work.objects_read]
    if most is None or most >= sum(all_):
        return all_
    each = (most - all_.count(1)) // (len(all_) - all_.count(1))
    return tuple(min(count, max(each, 1)) for count in all_)


def _within(parts: Sequence[slice], whole: Sequence[slice]) -> tuple[slice, ...]:
    """Parts as an index of an array that shows the whole."""
    pairs = zip(parts, whole, strict=True)
    return tuple(slice(p.start - w.start, p.stop - w.start) for p, w in pairs)
