"""What a killed process left is gone on with by the same work only, and leaves nothing else."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cellmill.arrays import resume
from cellmill.arrays.batch import MANIFEST, Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.contract import Record, for_each_image
from cellmill.errors import BadInput

ROOT = Path(__file__).parents[2]
NAMES = ["b", "a", "d", "c", "e"]


def stage(folder, done, *, killed_at="", about="", others=(), container="npz", store=""):
    """A stage with two outputs; its work on one image is killed."""
    writers = [BatchWriter(folder / "one"), BatchWriter(folder / "two")]

    def work(entry: Entry) -> None:
        if entry.name in others:
            raise BadInput("image", expected="another", found=entry.name)
        done.append(entry.name)
        with writers[0].create(
            entry.name, {"image": ((9, 9), "u2", "YX")}, container=container, store=store
        ) as out:
            out["image"][:5] = len(done)
            if entry.name == killed_at:
                os.kill(os.getpid(), signal.SIGKILL)
            out["image"][:] = ord(entry.name)
        with writers[1].open(entry.name, "txt") as file:
            file.write(entry.name.encode())
        writers[1].annotate(entry.name, code=ord(entry.name))

    with resume.work(about=about), writers[0], writers[1]:
        record = Record(folder / "record")
        entries = [Entry(name) for name in NAMES]
        for_each_image(entries, work, writers=writers, record=record, on_bad_image="skip")
    return record


def killed(folder, **options):
    """Run it in a process of its own, for TensorStore allows no fork."""
    command = [sys.executable, __file__, str(folder), json.dumps(options)]
    ran = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    assert ran.returncode == -signal.SIGKILL


def left(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def content(path):
    """A file's bytes; of a shard's record what it says of them, not which version that was."""
    if path.parent.name != ".shards":
        return path.read_bytes()
    about = json.loads(path.read_bytes())
    return about["size"], about["crc32"]


@pytest.mark.parametrize("container", ["npz", "zarr"])
@pytest.mark.parametrize("place", NAMES)
def test_a_run_that_was_killed_ends_like_one_that_was_not(tmp_path, container, place):
    stage(tmp_path / "whole", [], others=["a"], container=container)
    if place != "a":
        killed(tmp_path / "cut", killed_at=place, others=["a"], container=container)
        with pytest.raises(BadInput, match="unfinished"):
            Batch.open(tmp_path / "cut/one")
    done = []
    record = stage(tmp_path / "cut", done, others=["a"], container=container)
    assert done == [n for n in NAMES[NAMES.index(place) if place != "a" else 0 :] if n != "a"]
    assert record.images["a"].status == "skipped"
    assert left(tmp_path / "cut") == left(tmp_path / "whole")
    for name in left(tmp_path / "whole"):
        assert content(tmp_path / "cut" / name) == content(tmp_path / "whole" / name)


def test_other_work_starts_anew(tmp_path):
    store = str(tmp_path / "store")
    killed(tmp_path, killed_at="d", container="zarr", store=store)
    done = []
    stage(tmp_path, done, about="other", container="zarr", store=store)
    assert done == NAMES
    batch = Batch.open(tmp_path / "one")
    assert [int(batch.read(e, "image").max()) for e in batch.entries] == [ord(n) for n in NAMES]


def test_files_of_others_outlive_a_kill(tmp_path):
    stage(tmp_path, [])
    (tmp_path / "one/notes.txt").write_text("mine")
    killed(tmp_path, killed_at="d")
    stage(tmp_path, [], about="other")
    assert (tmp_path / "one/notes.txt").read_text() == "mine"


def test_after_an_error_nothing_is_left_of_two_runs(tmp_path):
    killed(tmp_path, killed_at="d", container="zarr", store=str(tmp_path / "store"))
    with pytest.raises(BadInput, match="all 5"):
        stage(
            tmp_path, [], about="x", others=NAMES, container="zarr", store=str(tmp_path / "store")
        )
    assert not (tmp_path / "one").exists()


def test_work_without_a_name_is_not_gone_on_with(tmp_path):
    for value in (1, 2):
        with BatchWriter(tmp_path / "batch") as out:
            assert not out.has("a")
            out.write("a", {"image": np.full((3, 3), value)}, axes={"image": "YX"})
            out.finish("a")
    batch = Batch.open(tmp_path / "batch")
    assert batch.read(batch.entry("a"), "image").max() == 2


def test_the_manifest_tells_stores_of_other_work_apart(tmp_path):
    sums = []
    for number, about in enumerate(("x", "x", "y")):
        stage(tmp_path / str(number), [], about=about, container="zarr")
        manifest = json.loads((tmp_path / str(number) / "one" / MANIFEST).read_text())
        sums.append([e["arrays"]["image"]["crc32"] for e in manifest["entries"]])
    assert sums[0] == sums[1]
    assert set(sums[0]).isdisjoint(sums[2])


def test_the_manifest_tells_values_apart_where_the_work_has_no_name(tmp_path):
    sums = []
    for value in (1, 1, 2):
        with BatchWriter(tmp_path / "batch") as out:
            image = np.zeros((3000, 2100), "uint8")
            image[-1, -1] = value
            out.write("a", {"image": image}, axes={"image": "YX"}, container="zarr")
        sums.append(Batch.open(tmp_path / "batch").entries[0].arrays["image"].crc32)
    assert sums[0] == sums[1] != sums[2]


if __name__ == "__main__":
    stage(Path(sys.argv[1]), [], **json.loads(sys.argv[2]))
