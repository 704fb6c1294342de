"""Memory that is free goes back to the system."""

import sys
from pathlib import Path

import numpy as np
import pytest

from cellmill.compute import memory
from cellmill.compute.memory import give_back


def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) << 10


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_was_freed_goes_back():
    # Small enough that they are not mapped one by one, and some stay, so that the heap cannot
    # simply shrink from its end.
    arrays = [np.ones(8000) for _ in range(2000)]
    kept = arrays[::50]
    arrays.clear()
    held = resident()
    give_back()
    assert held - resident() > 60 << 20
    assert all((array == 1).all() for array in kept)


def test_memory_is_given_back_each_time_that_so_much_went_through(monkeypatch):
    given = []
    monkeypatch.setattr(memory, "give_back", lambda: given.append(True))
    freed = memory.GivingBack(100)
    counts = []
    for _ in range(10):
        freed.passed(30)
        counts.append(len(given))
    assert counts == [0, 0, 0, 1, 1, 1, 1, 2, 2, 2]
