"""Making batches smaller when the device's memory does not hold them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from cellmill.errors import MachineFault


class BackingOff:
    """A network that halves its batches whenever the device runs out of memory.

    The size that worked is kept for the calls that follow.

    Args:
        predict: the network: `(N, Y, X, C)` → one `(N, Y, X, channels)` array per head.
        batch_size: tiles per call to begin with.
        exhausted: what the network raises when memory is exhausted.
    """

    def __init__(
        self,
        predict: Callable[[np.ndarray], Sequence[np.ndarray]],
        batch_size: int,
        exhausted: type[Exception] | tuple[type[Exception], ...],
    ) -> None:
        self.batch_size = batch_size
        self.retries = 0
        self._predict = predict
        self._exhausted = exhausted

    def __call__(self, tiles: np.ndarray) -> list[np.ndarray]:
        """Predict a batch of any size in pieces of at most `batch_size`.

        Raises:
            MachineFault: a single tile does not fit.
        """
        pieces: list[Sequence[np.ndarray]] = []
        done = 0
        while done < len(tiles):
            try:
                piece = self._predict(tiles[done : done + self.batch_size])
            except self._exhausted as error:
                if min(self.batch_size, len(tiles) - done) == 1:
                    raise MachineFault(
                        f"a tile of {' × '.join(map(str, tiles.shape[1:-1]))} px",
                        expected="one that fits the device's memory",
                        found="memory exhausted at batch size 1",
                    ) from error
                self.batch_size = min(self.batch_size, len(tiles) - done) // 2
                self.retries += 1
                continue
            pieces.append(piece)
            done += self.batch_size
        if len(pieces) == 1:
            return list(pieces[0])
        return [np.concatenate(heads) for heads in zip(*pieces, strict=True)]
