"""Tiles of several threads in one call of the network."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(eq=False)
class _Call:
    """A thread's tiles, and what became of them."""

    tiles: np.ndarray
    heads: list[np.ndarray] = field(default_factory=list)
    error: BaseException | None = None
    done: bool = False


class Together:
    """A network that any number of threads call; what waits while it runs goes to it together.

    A call that finds the network idle runs at once. Nobody waits for others to come.

    Args:
        run: the network, called by one thread at a time: `(N, Y, X, C)` → one array a head.
        batch_size: tiles of several threads that go together at most.
        on_batch: told how many tiles each call of the network had.
    """

    def __init__(
        self,
        run: Callable[[np.ndarray], list[np.ndarray]],
        batch_size: int,
        on_batch: Callable[[int], None] | None = None,
    ) -> None:
        self._run, self._batch_size, self._on_batch = run, batch_size, on_batch
        self._changed = threading.Condition()
        self._waiting: list[_Call] = []
        self._is_running = False

    def __call__(self, tiles: np.ndarray, /) -> list[np.ndarray]:
        """Predict tiles, of one shape; those of other calls may have another.

        Raises:
            Exception: what the network raises of these tiles; those of other threads are not to
                blame for it.
        """
        mine = _Call(tiles)
        with self._changed:
            self._waiting.append(mine)
        while True:
            with self._changed:
                while self._is_running and not mine.done:
                    self._changed.wait()
                if mine.done:
                    break
                calls = self._next()
                self._is_running = True
            try:
                self._predict(calls)
            finally:
                with self._changed:
                    self._is_running = False
                    for call in calls:
                        call.done = True
                    self._changed.notify_all()
        if mine.error is not None:
            raise mine.error
        return mine.heads

    def _next(self) -> list[_Call]:
        """The calls that have waited longest and fit one batch, at least one."""
        first = self._waiting[0].tiles
        count, tiles = 1, len(first)
        for call in self._waiting[1:]:
            tiles += len(call.tiles)
            if tiles > self._batch_size or call.tiles.shape[1:] != first.shape[1:]:
                break
            count += 1
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken

    def _predict(self, calls: Sequence[_Call]) -> None:
        tiles = [call.tiles for call in calls]
        try:
            heads = self._run(np.concatenate(tiles) if len(tiles) > 1 else tiles[0])
        except BaseException as error:
            if len(calls) == 1:
                calls[0].error = error
                return
            for call in calls:
                self._predict([call])
            return
        if self._on_batch:
            self._on_batch(sum(map(len, tiles)))
        start = 0
        for call in calls:
            stop = start + len(call.tiles)
            call.heads = [head[start:stop] for head in heads]
            start = stop
