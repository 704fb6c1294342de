"""Richardson-Lucy by any number of processes that share a store: the same bits, whoever does what.

Every block of every iteration is written once, as a file of its own, and then marked with what it
adds to the sums. A process works on what nobody has begun, from a place of its own on; it reads
what it needs of the neighbours, and waits for the others before the next iteration begins. Nobody
waits for one that has died: what it had begun is done by another after a while. Two may then
compute one block; they write the same bytes. So one process can do all, and many share it.
"""

from __future__ import annotations

import functools
import math
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass

from cellmill.arrays.store import Ledger, remove
from cellmill.compute.threads import in_threads, threads_within
from cellmill.errors import BadInput
from cellmill.restoration.blocks import BlockedRichardsonLucy, Slices
from cellmill.restoration.deconvolution import Iteration
from cellmill.restoration.stored_object import StoredObject, blocks_kept
from cellmill.restoration.sums import Sums, added, factors

#: Seconds between two looks at what others have done, and for which others are at least waited for.
_LOOK, _PATIENCE = 0.2, 30.0
#: A block that was begun is left to whoever began it for so many times what one has taken.
_TIMES = 4
_SUMS = struct.Struct("<6d")


@dataclass(frozen=True)
class SharedRichardsonLucy:
    """One deconvolution as every process that takes part in it opens it.

    Args:
        work: what is computed.
        iterations: how many.
        first: what the first object is everywhere, and
        measured: how many voxels were measured, both as `work.first` gives them.
        store: path or URI of a folder for it alone, which all reach.
        fingerprint: of all that the result depends on; what lies there of other work is left alone.
    """

    work: BlockedRichardsonLucy
    iterations: int
    first: float
    measured: int
    store: str
    fingerprint: str

    def room_within(self, memory_mib: int) -> tuple[int, tuple[int, ...]]:
        """How many blocks may be computed at once within a budget, and how many of objects kept.

        Raises:
            BadInput: not even one.
        """
        one, each = self.work.bytes_per_block, 4 * math.prod(self.work.core)
        room = memory_mib * 2**20
        if room < one + self.work.objects_read * each:
            least = -(-(one + self.work.objects_read * each) // 2**20)
            raise BadInput("memory_mib", expected=f"{least} for one block", found=f"{memory_mib}")
        kept = blocks_kept(self.work, (room - one) // each)
        return threads_within((room - sum(kept) * each) >> 20, one), kept

    def prepare(self) -> None:
        """Look after what earlier processes left, before others begin.

        What was begun and not done is up for work again, and iterations are taken back until the
        objects that the next one is computed from are neither lost nor damaged.
        """
        remove(f"{self.store}/begun")
        whole = functools.cache(lambda number: self.object_after(number).is_whole())
        last = self.last()
        for number in range(self.finished(), 0, -1):
            # Of what is done as a whole only the last object is kept.
            if all(map(whole, [number] if number == last else self.read_after(number))):
                break
            self._remove(number)
        following = self.finished() + 1
        sums, object_ = self.ledger("sums", following), self.object_after(following)
        for part in sums.done():
            if not object_.has(int(part)):
                sums.unmark(part)

    def read_after(self, number: int) -> list[int]:
        """The iterations whose objects the one after is computed from, the newest first."""
        return [max(number - back, 0) for back in range(self.work.objects_read)]

    def finished(self) -> int:
        """How many iterations are done, all blocks of each."""
        return max(map(int, self.closed.done()), default=0)

    def work_through(
        self,
        start: int = 0,
        *,
        threads: int = 1,
        kept: tuple[int, ...] | None = None,
        progress: Callable[[int, Iteration], None] | None = None,
    ) -> int:
        """Take part until all iterations are done.

        Args:
            start: number of the block, in raster order, to begin each iteration with.
            threads: blocks at once.
            kept: blocks of each object that is read; None is `blocks_kept`'s.
            progress: called after each iteration with its number, from 1.

        Returns:
            How many blocks this process computed.

        Raises:
            BadInput: the store cannot be read or written.
        """
        blocks = self.work.blocks
        order = [*range(start % len(blocks), len(blocks)), *range(start % len(blocks))]
        computed = 0
        while (number := self.finished() + 1) <= self.last():
            one = _OneIteration(self, number, blocks, kept or blocks_kept(self.work))
            computed += one.work_through(order, threads)
            if progress is not None:
                progress(number, self._iteration(number))
        return computed

    def curve(self) -> tuple[Iteration, ...]:
        """How each iteration went."""
        return tuple(self._iteration(n) for n in range(1, self.last() + 1))

    def result(self) -> StoredObject:
        """The last object, on the window that is computed; `work.acquired_part` was acquired."""
        return self.object_after(self.last())

    def last(self) -> int:
        """The iteration after which there is none: sooner than was asked where consensus ended."""
        done = self.finished()
        return done if done and self.sums(done).ends else self.iterations

    def sums(self, number: int) -> Sums:
        """Of an iteration that is done."""
        return Sums(*_SUMS.unpack(self.closed.payload(str(number))))

    def _iteration(self, number: int) -> Iteration:
        return self.sums(number).iteration(self.measured)

    @property
    def closed(self) -> Ledger:
        """The marks of the iterations that are done, with their sums."""
        return Ledger(f"{self.store}/iterations", self.fingerprint)

    def ledger(self, what: str, number: int) -> Ledger:
        """The marks of an iteration: `begun`, `sums`, and `objects`, which are the blocks."""
        return Ledger(f"{self.store}/{what}/{number}", self.fingerprint)

    def object_after(self, number: int, kept: int = 1) -> StoredObject:
        """The object after so many iterations, of which so many blocks are kept once read."""
        blocks = self.ledger("objects", number) if number else None
        return StoredObject(self.work, blocks, self.first, kept)

    def _remove(self, number: int) -> None:
        """Forget an iteration, which can be computed again from the one before."""
        self.closed.unmark(str(number))
        for what in ("sums", "objects"):
            remove(f"{self.store}/{what}/{number}")


class _OneIteration:
    """One iteration of a shared deconvolution, as one process sees it."""

    def __init__(
        self,
        shared: SharedRichardsonLucy,
        number: int,
        blocks: Sequence[Slices],
        kept: Sequence[int],
    ) -> None:
        self._shared, self._number, self._blocks = shared, number, blocks
        read = shared.read_after(number - 1)
        self._last = [shared.object_after(n, k) for n, k in zip(read, kept, strict=True)]
        self._factors = factors([shared.sums(n) for n in range(max(number - 2, 1), number)])
        self._next = shared.object_after(number)
        self._sums, self._begun = (shared.ledger(what, number) for what in ("sums", "begun"))
        self._done: set[str] = set()
        self._seen: dict[int, float] = {}
        self._computed = 0
        self._patience = _PATIENCE

    def work_through(self, order: Sequence[int], threads: int) -> int:
        """Work until all blocks are done; how many were done here."""
        while not self._is_over():
            try:
                self._step(order, threads)
            except BadInput:
                # Who is late finds what it reads and writes removed, once all have gone on.
                if not self._is_over():
                    raise
        return self._computed

    def _step(self, order: Sequence[int], threads: int) -> None:
        """Compute what nobody is at; or wait a little; or close the iteration."""
        self._done |= self._sums.done(self._done)
        left = [block for block in order if str(block) not in self._done]
        if not left:
            self._close()
            return
        taken = self._free(left)[:threads]
        if not taken:
            time.sleep(_LOOK)
            return
        for block in taken:
            self._begun.mark(str(block))
        began = time.monotonic()
        in_threads(self._compute, taken, threads)
        self._computed += len(taken)
        self._patience = max(self._patience, _TIMES * (time.monotonic() - began))

    def _compute(self, number: int) -> None:
        """Compute a block, write it, and mark it."""
        found = self._shared.work.block(self._blocks[number], self._last, self._factors)
        self._next.write(number, found.image)
        self._sums.mark(str(number), _SUMS.pack(*astuple(found.sums)))

    def _free(self, left: Sequence[int]) -> list[int]:
        """The blocks that nobody is at, or was for too long."""
        now = time.monotonic()
        for name in self._begun.done({str(block) for block in self._seen}):
            self._seen[int(name)] = now
        return [b for b in left if now - self._seen.get(b, -self._patience) >= self._patience]

    def _is_over(self) -> bool:
        return self._shared.closed.kept(str(self._number)) is not None

    def _close(self) -> None:
        """Say that the iteration is done, and remove what only it needed."""
        kept = [self._sums.kept(str(number)) for number in range(len(self._blocks))]
        # Where a mark is gone another process has closed it.
        if all(kept):
            whole = added([Sums(*_SUMS.unpack(each)) for each in kept if each])
            self._shared.closed.mark(str(self._number), _SUMS.pack(*astuple(whole)))
        elif not self._is_over():
            raise BadInput(
                f"store '{self._shared.store}'",
                expected=f"all blocks of iteration {self._number}",
                found=f"{sum(map(bool, kept))} of {len(kept)}",
            )
        for what in ("sums", "begun"):
            remove(f"{self._shared.store}/{what}/{self._number}")
        # One more than the next iteration reads is kept, so that a lost block can be made again;
        # after the last one none is needed. Who was killed here left one, which goes with these.
        needed = 0 if self._number == self._shared.last() else self._shared.work.objects_read
        for over in range(self._number - self._shared.work.objects_read - 2, self._number - needed):
            remove(f"{self._shared.store}/objects/{over}")
