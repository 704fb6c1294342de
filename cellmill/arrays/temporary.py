"""Arrays that lie in a file for as long as a piece of work needs them."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from cellmill.arrays.npz import NpzArray
from cellmill.compute.faults import check_room, reserve

Key = TypeVar("Key", bound=Hashable)


@contextlib.contextmanager
def temporary_arrays(
    folder: Path, shapes: Mapping[Key, tuple[int, ...]], dtype: type[np.generic]
) -> Iterator[dict[Key, NpzArray]]:
    """Give arrays that are written and read by windows, zero at first; gone after the block.

    Args:
        folder: where their file lies, made if it is not there.
        shapes: by key.
        dtype: of all of them.

    Yields:
        The arrays by key, C-contiguous.

    Raises:
        MachineFault: the disk has no room for them.
    """
    item, places, end = np.dtype(dtype), {}, 0
    for key, shape in shapes.items():
        places[key] = end
        end += math.prod(shape) * item.itemsize
    folder.mkdir(parents=True, exist_ok=True)
    check_room(folder, end, "temporary arrays")
    with tempfile.NamedTemporaryFile(dir=folder, prefix="arrays-") as file:
        reserve(file.fileno(), end)
        path = Path(file.name)
        yield {
            key: NpzArray(path, tuple(shape), item, places[key], writable=True)
            for key, shape in shapes.items()
        }
