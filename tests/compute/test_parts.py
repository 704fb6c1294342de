"""Seconds of a work's parts: each has its own, and none is lost."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from cellmill.compute.parts import Parts


def test_a_part_has_what_lies_within_it_taken_off():
    parts, start = Parts("network"), time.perf_counter()
    with parts.part("blend"):
        sum(range(1000))
        for _ in range(3):
            with parts.part("write"), parts.part("flush"):
                time.sleep(0.002)
    whole = time.perf_counter() - start
    found = parts.seconds(0.0)
    assert list(found) == ["flush", "write", "blend"]
    assert found["flush"][0] >= 0.006
    assert all(wall >= 0 and cpu >= 0 for wall, cpu in found.values())
    assert sum(wall for wall, _ in found.values()) <= whole


def test_threads_add_to_one_part_and_the_pooled_one_has_the_processor_time_that_is_left():
    parts = Parts("network")

    def work(name: str) -> None:
        with parts.part(name):
            sum(range(20_000))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, ["read", "blend", "read", "network"]))
    found = parts.seconds(100.0)
    assert set(found) == {"read", "blend", "network"}
    assert sum(cpu for _, cpu in found.values()) == pytest.approx(100)
    # Clocks of threads and of the process differ by a little: it never has less than its own.
    assert parts.seconds(0.0)["network"][1] >= 0


def test_a_part_that_fails_is_counted():
    parts = Parts("network")
    with pytest.raises(ZeroDivisionError), parts.part("read"):
        raise ZeroDivisionError
    assert list(parts.seconds(0.0)) == ["read"]
