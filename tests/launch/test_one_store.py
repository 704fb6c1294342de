"""Two runs at a time, in processes of their own: they share a store, and nothing else.

Each is what `make run-slide` starts. What is asked of all: whatever the other one does, or whoever
is killed, a run gives the cells of its own image, or one line that says why not.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from bench.mosaic import Mosaic
from cellmill.arrays.batch import Batch
from launch import ROOT
from tests.by_hand import stages

pytestmark = [pytest.mark.pipeline, pytest.mark.tensorflow]

SIDE = 320


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    """Two images of one file name, and the labels of each, segmented by itself."""
    found = {}
    for name, start in (("a", 0), ("b", 1200)):
        folder = tmp_path_factory.mktemp(name)
        end = start + SIDE
        tifffile.imwrite(folder / "slide.tif", Mosaic((2000, 2000))[start:end, start:end])
        assert stages(folder, folder / "slide.tif") == 0
        labels = Batch.open(folder / "labels")
        found[name] = folder / "slide.tif", labels.read(labels.entries[0], "nuclear")
    assert not np.array_equal(found["a"][1], found["b"][1])
    return found


def start(image, output, store):
    """Start a run as `make run-slide` does."""
    given = {"image": image, "output": output, "store": store}
    flags = [text for name, value in given.items() for text in (f"--{name}", str(value))]
    return subprocess.Popen(
        [sys.executable, "-m", "launch.run", "slide_segmentation", *flags],
        cwd=ROOT,
        env={**os.environ, "CELLMILL_SETTINGS": ""},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(what, seconds=60.0):
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return found


def processes_of(folder):
    """The command lines of the processes of this machine that name a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:
            continue
        if f"{folder}/".encode() in line and int(path.parent.name) != os.getpid():
            found.append(line)
    return found


def test_runs_on_images_of_one_name_each_give_their_own_cells(slides, tmp_path):
    runs = [start(slides[name][0], tmp_path / name, tmp_path / "store") for name in slides]
    said = [run.communicate(timeout=200)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    for name, (_, expected) in slides.items():
        np.testing.assert_array_equal(tifffile.imread(tmp_path / name / "labels.tif"), expected)
    # The runs are over, and nobody has the store.
    assert not list((tmp_path / "store").rglob("lease.json"))


def test_a_living_run_is_left_alone_and_a_killed_one_is_followed(slides, tmp_path):
    image, expected = slides["a"]
    store, output = tmp_path / "store", tmp_path / "run"
    one = start(image, output, store)
    wait_for(lambda: list(store.glob("*/lease.json")))
    # Stopped, it starts no further stage: however slow the machine, it is not done before the
    # others have looked.
    one.send_signal(signal.SIGSTOP)
    # Another run on the same image is refused in one line, and has left nothing.
    other = start(image, tmp_path / "other", store)
    last = other.communicate(timeout=100)[1].splitlines()[-1]
    assert other.returncode == 2
    assert f"store '{store}/slide-" in last
    assert "expected one in which no other run works" in last
    assert "found run 'run-" in last
    assert one.poll() is None
    # So is one into the folder of the run.
    into = start(image, output, tmp_path / "elsewhere")
    (line,) = into.communicate(timeout=100)[1].splitlines()
    assert into.returncode == 2
    assert f"OUTPUT '{output}': expected a folder of its own, found a run that still goes" in line
    one.send_signal(signal.SIGCONT)
    # Killed while it works, it takes its stages along.
    wait_for(lambda: processes_of(output))
    one.send_signal(signal.SIGKILL)
    one.communicate()
    wait_for(lambda: not processes_of(output), 10)
    # The same command again: neither the folder nor the store is in the way.
    again = start(image, output, store)
    said = again.communicate(timeout=200)[1]
    assert again.returncode == 0, said
    np.testing.assert_array_equal(tifffile.imread(output / "labels.tif"), expected)
