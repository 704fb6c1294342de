"""Deconvolution shared by processes: no bit depends on who does what, or on who is killed."""

import dataclasses
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from cellmill.errors import BadInput
from cellmill.restoration import Microscope, by_tasks, make_psf
from cellmill.restoration.blocks import BlockedRichardsonLucy
from cellmill.restoration.by_tasks import SharedRichardsonLucy
from cellmill.restoration.in_blocks import deconvolve_blocks
from cellmill.restoration.variation import NO_VARIATION, Variation

PSF = make_psf(Microscope(1.0, 520, immersion_index=1.33), (0.3, 0.15, 0.15), (5, 9, 7))
ITERATIONS = 5


class Killed(Exception):
    """Stands for the end of a process."""


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Tests do not wait for the dead as long as tasks do."""
    monkeypatch.setattr(by_tasks, "_LOOK", 0.01)
    monkeypatch.setattr(by_tasks, "_PATIENCE", 0.2)
    monkeypatch.setattr(by_tasks, "_TIMES", 1)


def field(shape=(12, 40, 61)):
    image = np.random.default_rng(1).poisson(40, shape).astype(np.float32)
    image[..., 10:20, 20:30] += 300
    return image


def shared(folder, image=None, level=0.0, variation=NO_VARIATION, side=16, more=(), **how):
    image = field() if image is None else image
    psf = PSF if image.ndim == 3 else PSF[2]
    given = {"variation": variation, "level": level, **dict(more)}
    work = BlockedRichardsonLucy(image, psf, side=side, background=5.0, **given)
    measured, first = work.first()
    about = {"store": str(folder), "fingerprint": "this", **how}
    return SharedRichardsonLucy(work, ITERATIONS, first, measured, **about)


def result(task):
    whole = tuple(slice(0, side) for side in task.work.shape)
    return task.result()[whole]


@pytest.fixture(scope="module")
def expected():
    task = shared("")
    return deconvolve_blocks(task.work, task.first, ITERATIONS)[0]


@pytest.mark.parametrize("start", [0, 7, 10_000])
@pytest.mark.parametrize("threads", [1, 3])
def test_one_task_does_all_from_anywhere(tmp_path, expected, start, threads):
    task = shared(tmp_path)
    task.prepare()
    assert task.work_through(start, threads=threads) == ITERATIONS * len(task.work.blocks)
    assert np.array_equal(result(task), expected)
    assert shared(tmp_path).work_through() == 0


def test_a_plane_is_shared_too(tmp_path):
    task = shared(tmp_path, field((70, 61)))
    task.work_through()
    whole, _ = deconvolve_blocks(task.work, task.first, ITERATIONS)
    assert np.array_equal(result(task), whole)


def test_total_variation_is_shared_too(tmp_path):
    task = shared(tmp_path, level=45.0, variation=Variation(2e-3))
    task.work_through(3, threads=2)
    whole, _ = deconvolve_blocks(task.work, task.first, ITERATIONS)
    assert np.array_equal(result(task), whole)


def test_many_tasks_side_by_side_make_the_same_bits(tmp_path, expected):
    alone = shared(tmp_path / "alone")
    alone.work_through()
    tasks = [shared(tmp_path / "many") for _ in range(4)]
    computed = {}

    def take_part(number):
        computed[number] = tasks[number].work_through(number * 5)

    threads = [threading.Thread(target=take_part, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(computed.values()) >= ITERATIONS * len(alone.work.blocks)
    assert all(np.array_equal(result(task), expected) for task in tasks)
    assert tasks[0].curve() == alone.curve()


def test_a_killed_process_is_gone_on_with_to_the_same_bits(tmp_path, expected):
    code = (
        "import pathlib\nfrom tests.restoration.test_by_tasks import shared\n"
        f"shared(pathlib.Path({str(tmp_path)!r})).work_through()"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        while not shared(tmp_path).finished() and process.poll() is None:
            time.sleep(0.01)
        process.kill()
    task = shared(tmp_path)
    task.work_through(3)
    assert np.array_equal(result(task), expected)


@pytest.mark.parametrize("last", [1, 4])
def test_iterations_that_are_done_are_not_done_again(tmp_path, expected, last):
    def kill(number, iteration):
        if number == last:
            raise Killed

    with pytest.raises(Killed):
        shared(tmp_path).work_through(progress=kill)
    done = []
    task = shared(tmp_path)
    task.prepare()
    task.work_through(progress=lambda number, _: done.append(number))
    assert done == [*range(last + 1, ITERATIONS + 1)]
    assert np.array_equal(result(task), expected)
    assert len(task.curve()) == ITERATIONS


@pytest.mark.parametrize("harm", ["lost", "cut off", "changed"])
@pytest.mark.parametrize("number", [2, 3])
def test_what_a_disk_lost_is_made_again(tmp_path, expected, harm, number):
    def kill(iteration, _):
        if iteration == 3:
            raise Killed

    with pytest.raises(Killed):
        shared(tmp_path).work_through(progress=kill)
    file = sorted((tmp_path / f"objects/{number}").rglob("*"))[-1]
    if harm == "lost":
        file.unlink()
    else:
        whole = file.read_bytes()
        file.write_bytes(whole[:-9] if harm == "cut off" else whole[:-1] + b"\0")
    task = shared(tmp_path)
    task.prepare()
    task.work_through()
    assert np.array_equal(result(task), expected)


def test_little_is_kept_of_iterations_that_are_over(tmp_path):
    task = shared(tmp_path)
    task.work_through()
    assert {p.name for p in (tmp_path / "objects").iterdir()} == {"5"}
    assert not any(p.is_file() for name in ("begun", "sums") for p in (tmp_path / name).rglob("*"))


def test_other_work_in_the_store_is_left_alone(tmp_path, expected):
    other = shared(tmp_path, field() + 1, fingerprint="other")
    other.work_through()
    task = shared(tmp_path)
    task.work_through()
    assert np.array_equal(result(task), expected)


def test_a_lost_block_that_is_needed_is_one_line(tmp_path):
    def harm(number, _):
        if number == 2:
            (tmp_path / "objects/2/this/1").unlink()

    task = shared(tmp_path)
    with pytest.raises(BadInput, match=r"block 1 of an object: expected .* found none"):
        task.work_through(progress=harm)


BOTH = {"accelerate": True, "consensus": True}
WAYS = {
    "accelerated": {"more": {"accelerate": True}, "side": 24},
    "consensus": {"more": {"consensus": True}, "side": 20},
    "all": {"more": BOTH, "variation": Variation(2e-3), "level": 45.0, "side": 30},
}


@pytest.fixture(scope="module", params=WAYS.values(), ids=WAYS)
def way(request):
    """How it is deconvolved, the last object, and its curve."""
    task = shared("", **request.param)
    found, sums = deconvolve_blocks(task.work, task.first, ITERATIONS)
    return request.param, found, tuple(each.iteration(task.measured) for each in sums)


@pytest.mark.parametrize(("start", "threads", "kept"), [(0, 1, None), (5, 3, (2, 1, 1))])
def test_acceleration_and_consensus_are_shared_too(tmp_path, way, start, threads, kept):
    how, expected, curve = way
    task = shared(tmp_path, **how)
    task.work_through(start, threads=threads, kept=kept and kept[: task.work.objects_read])
    assert np.array_equal(result(task), expected)
    assert task.curve() == curve
    assert {p.name for p in (tmp_path / "objects").iterdir()} == {"5"}
    again = shared(tmp_path, **how)
    again.prepare()
    assert again.work_through() == 0


def test_many_tasks_extrapolate_alike(tmp_path, way):
    how, expected, curve = way
    tasks = [shared(tmp_path, **how) for _ in range(3)]
    threads = [
        threading.Thread(target=task.work_through, args=(k * 4,)) for k, task in enumerate(tasks)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.array_equal(result(tasks[0]), expected)
    assert tasks[2].curve() == curve


@pytest.mark.parametrize("last", [1, 3])
def test_extrapolation_is_gone_on_with_after_a_kill(tmp_path, way, last):
    how, expected, curve = way

    def kill(number, _):
        if number == last:
            raise Killed

    with pytest.raises(Killed):
        shared(tmp_path, **how).work_through(progress=kill)
    most = shared(tmp_path, **how).work.objects_read + 1
    assert len([*(tmp_path / "objects").iterdir()]) <= most
    done, task = [], shared(tmp_path, **how)
    task.prepare()
    task.work_through(2, progress=lambda number, _: done.append(number))
    assert done == [*range(last + 1, ITERATIONS + 1)]
    assert np.array_equal(result(task), expected)
    assert task.curve() == curve


@pytest.mark.parametrize("number", [2, 4])
def test_what_a_disk_lost_of_the_last_objects_is_made_again(tmp_path, way, number):
    how, expected, _ = way

    def kill(iteration, _):
        if iteration == 4:
            raise Killed

    with pytest.raises(Killed):
        shared(tmp_path, **how).work_through(progress=kill)
    for file in (tmp_path / f"objects/{number}").rglob("*"):
        if file.is_file():
            file.unlink()
    task = shared(tmp_path, **how)
    task.prepare()
    task.work_through()
    assert np.array_equal(result(task), expected)


def test_consensus_ends_all_tasks(tmp_path):
    image = np.random.default_rng(0).poisson(30, (12, 40, 61)).astype(np.float32)
    how = {"image": image, "more": BOTH, "side": 40}
    task = dataclasses.replace(shared(tmp_path, **how), iterations=60)
    done = []
    task.work_through(progress=lambda number, _: done.append(number))
    expected, sums = deconvolve_blocks(task.work, task.first, 60)
    assert done == [*range(1, len(sums) + 1)]
    assert len(done) < 60
    assert np.array_equal(result(task), expected)
    assert len(task.curve()) == len(done)
    assert {p.name for p in (tmp_path / "objects").iterdir()} == {str(len(done))}
    again = dataclasses.replace(shared(tmp_path, **how), iterations=60)
    again.prepare()
    assert again.work_through() == 0


def test_what_is_kept_of_objects_gives_way_to_the_block_at_work(tmp_path):
    task = shared(tmp_path, field((40, 60, 61)), side=32, more={"accelerate": True})
    core, one = 4 * 32**3, task.work.bytes_per_block
    least = -(-(one + 3 * core) >> 20)
    threads, kept = task.room_within(least + 1)
    assert threads == 1
    assert min(kept) >= 1
    assert one + sum(kept) * core <= (least + 1) << 20
    assert task.room_within(10_000)[1] == (27, 27, 1)
    with pytest.raises(BadInput, match=r"memory_mib: expected \d+ for one block, found 1"):
        task.room_within(1)
