"""Where one image's arrays lie while it is segmented: in memory, or beyond a budget on disk."""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from cellmill.arrays.windows import WritableWindowed
from cellmill.arrays.workspace import StoredWorkspace
from cellmill.segmentation.labelling import Layouts

#: Side of the storage units of arrays on disk, pixels.
UNIT = 2048
#: So much of the budget an array may fill, or several that are made together.
_SHARE = 4

Report = Callable[[str, float], None]
"""Is told how far the work is: a step's name, and the part of it that is done, 0 to 1."""


class Work:
    """One image's arrays and times.

    Args:
        memory_mib: the budget.
        report: is told of each step when it begins and ends, and in between where that is known.

    Attributes:
        memory: the budget in bytes.
        report: as given.
        seconds: that each step took.
    """

    def __init__(self, memory_mib: int, report: Report | None = None) -> None:
        self.memory = memory_mib << 20
        self.report: Report = report or (lambda step, part: None)
        self.seconds: dict[str, float] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._stored: StoredWorkspace | None = None

    @property
    def folder(self) -> tempfile.TemporaryDirectory[str] | None:
        """Where arrays on disk lie as long as something holds it; `None` where there are none."""
        return self._folder

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Take the time of a block."""
        self.report(name, 0.0)
        start = time.perf_counter()
        yield
        spent = time.perf_counter() - start
        self.seconds[name] = round(self.seconds.get(name, 0.0) + spent, 4)
        self.report(name, 1.0)

    def fits(self, nbytes: int) -> bool:
        """Whether arrays of so many bytes together are kept in memory."""
        return nbytes <= self.memory // _SHARE

    def image(self, shape: tuple[int, ...], dtype: np.dtype) -> WritableWindowed:
        """Give what an image is read into."""
        small = self.fits(math.prod(shape) * dtype.itemsize)
        return self.array("image", shape, dtype, in_memory=small)

    def array(
        self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike, *, in_memory: bool
    ) -> WritableWindowed:
        """Make an array `(Y, X)` or `(Y, X, C)`."""
        if in_memory:
            return np.zeros(shape, dtype)
        if self._stored is None:
            self._stored = self.workspace("arrays", UNIT)
        return self._stored.array(name, shape, dtype)

    def volume(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: npt.DTypeLike = np.float32,
        *,
        in_memory: bool = False,
    ) -> np.ndarray:
        """Make an array `(Z, Y, X)` or `(Z, Y, X, C)`; what does not fit lies in a file."""
        wanted = np.dtype(dtype)
        if in_memory or self.fits(math.prod(shape) * wanted.itemsize):
            return np.zeros(shape, wanted)
        return np.lib.format.open_memmap(f"{self._place()}/{name}.npy", "w+", wanted, shape)

    def labels(self, layouts: Layouts, *, in_memory: bool) -> Mapping[str, WritableWindowed]:
        """Make the arrays that labels are written to; those that do not fit lie on disk."""
        sizes = [math.prod(shape) * dtype.itemsize for shape, dtype, _ in layouts.values()]
        kept = in_memory or self.fits(sum(sizes))
        return {
            name: self.volume(f"labels_{name}", shape, dtype, in_memory=kept)
            if len(shape) == 3
            else self.array(f"labels_{name}", shape, dtype, in_memory=kept)
            for name, (shape, dtype, _) in layouts.items()
        }

    def workspace(self, name: str, side: int) -> StoredWorkspace:
        """Give a workspace on disk."""
        return StoredWorkspace(f"{self._place()}/{name}", "", side=side)

    def _place(self) -> str:
        """The folder where arrays on disk lie, made when it is wanted."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="cellmill-")
        return self._folder.name
