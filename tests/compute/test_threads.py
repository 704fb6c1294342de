"""Threads and bands."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellmill.compute import threads as compiled
from cellmill.compute.memory import Scratch
from cellmill.compute.threads import bands, in_threads, thread_count
from cellmill.errors import BadInput


@given(st.integers(1, 5000), st.integers(1, 300))
def test_bands_cover_all_rows_once_and_are_not_thin(rows, least):
    cut = bands(rows, least)
    assert [row for start, stop in cut for row in range(start, stop)] == list(range(rows))
    assert len(cut) == 1 or all(stop - start >= least for start, stop in cut)


@pytest.mark.parametrize("threads", [1, 3, None])
def test_results_come_in_order(threads):
    assert in_threads(lambda n: n * n, range(20), threads) == [n * n for n in range(20)]


def test_an_error_of_an_item_is_raised():
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda n: 1 // n, [1, 0, 2], 2)


def test_the_number_of_threads_can_be_set(monkeypatch):
    monkeypatch.setenv("CELLMILL_THREADS", "3")
    assert thread_count() == 3
    monkeypatch.setenv("CELLMILL_THREADS", "all")
    with pytest.raises(BadInput, match="CELLMILL_THREADS: expected a whole number above 0"):
        thread_count()


def test_a_container_s_quota_counts(monkeypatch):
    monkeypatch.delenv("CELLMILL_THREADS", raising=False)
    monkeypatch.setattr(compiled, "_quota", lambda: 1)
    assert thread_count() == 1


def test_scratch_is_reused_by_a_thread_and_not_shared():
    scratch, pointers = Scratch(), []

    def work():
        for shape in ((40, 50), (10, 10)):
            one, other = scratch.arrays(shape, np.dtype(np.uint8), np.dtype(np.float64))
            assert one.shape == other.shape == shape
            assert not np.shares_memory(one, other)
            pointers.append(one.ctypes.data)
        barrier.wait()

    barrier = threading.Barrier(2)
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(pointers)) == 2
