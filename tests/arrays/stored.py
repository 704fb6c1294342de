"""An array that is no numpy array."""

import numpy as np


class Stored:
    """An array that copies what is read, and remembers the windows."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.shape, self.dtype = array.shape, array.dtype
        self.read: list[tuple] = []

    def __getitem__(self, window):
        self.read.append(window if isinstance(window, tuple) else (window,))
        return self.array[window].copy()

    def rows(self) -> list[int]:
        """Every row read, in order."""
        return [row for window in self.read for row in range(self.shape[0])[window[0]]]
