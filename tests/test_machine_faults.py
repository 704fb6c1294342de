"""A machine that refuses is one line and no traceback; nothing is left half-written.

Disks are really full here: a small tmpfs in a namespace of its own, or a limit on the size of
files, which the system enforces as it does a quota. Memory really runs out.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tifffile

from bench.mosaic import Mosaic
from cellmill.arrays.batch import Batch
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.compute.faults import fault_of
from cellmill.contract.cli import main
from cellmill.contract.spec import StageSpec
from cellmill.errors import MachineFault
from tests.by_hand import calls, stages
from tests.stages.shared.slides import by_hand

ROOT = Path(__file__).parents[1]
STAGES = [call[0] for call in calls(Path(), Path())]


@contextmanager
def file_limit(count):
    """No file of this process may grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What the stages make of an image of 300 × 400 px with cells."""
    folder = tmp_path_factory.mktemp("made")
    tifffile.imwrite(folder / "image.tif", Mosaic((2000, 2000))[1200:1500, 1000:1400])
    assert stages(folder, folder / "image.tif") == 0
    return folder


def into(folder, call):
    """A stage's command line, its outputs elsewhere."""
    outputs = {spec.name for spec in StageSpec.load(call[0]).outputs}
    found = list(call)
    for at, part in enumerate(call[:-1]):
        if part.startswith("--") and part[2:].replace("-", "_") in outputs:
            found[at + 1] = str(folder / part[2:])
    return found


def assert_one_line(stage, code, said):
    """The last line of what was said is the machine's."""
    assert code == 1, said
    lines = [line for line in said.splitlines() if line.startswith("cellmill")]
    assert len(lines) == 1, said
    assert lines[0].startswith(f"cellmill {stage}: ")
    assert "Traceback" not in said
    return lines[0]


@pytest.mark.tensorflow
@pytest.mark.parametrize("stage", STAGES)
def test_a_file_that_may_not_grow_is_one_line_and_leaves_nothing(made, tmp_path, capsys, stage):
    (call,) = (call for call in calls(made, made / "image.tif") if call[0] == stage)
    command = into(tmp_path / "whole", call)
    assert main(command) == 0
    sizes = sorted(p.stat().st_size for p in (tmp_path / "whole").rglob("*") if p.is_file())
    capsys.readouterr()
    # The first file, the largest one alone, and one somewhere between are too large.
    for turn, limit in enumerate({0, sizes[-1] // 2, sizes[-1] - 1}):
        folder = tmp_path / f"{turn}"
        folder.mkdir()
        with file_limit(limit):
            code = main(into(folder, call))
        line = assert_one_line(stage, code, capsys.readouterr().err)
        assert "ulimit -f" in line
        assert str(folder) in line
        assert list(folder.iterdir()) == []


@pytest.mark.tensorflow
def test_so_it_is_for_a_slide_and_its_store(made, tmp_path, capsys):
    model, images = made / "model", tmp_path / "images"
    item = json.dumps([{"image": str(made / "image.tif")}])
    where = {"images": images, "truth": tmp_path / "truth", "store": tmp_path / "store"}
    opened = {"items": item, "container": "zarr", **where}
    with file_limit(5000):
        code = by_hand.run("tiff_to_npz", **opened)
    line = assert_one_line("tiff_to_npz", code, capsys.readouterr().err)
    assert str(tmp_path / "store") in line
    assert not images.exists()
    assert by_hand.run("tiff_to_npz", **opened) == 0
    assert by_hand.plan(tmp_path, images, model, store=tmp_path / "store") == 0
    capsys.readouterr()
    given = {"images": images, "model": model, "plan": tmp_path / "plan", "shard": 0}
    made_here = {"predicted": tmp_path / "p0", "record": tmp_path / "p0.json"}
    with file_limit(5000):
        code = by_hand.run("predict_shard", **given, **made_here)
    assert_one_line("predict_shard", code, capsys.readouterr().err)
    assert not (tmp_path / "p0").exists()
    # It goes on once there is room.
    assert by_hand.run("predict_shard", **given, **made_here) == 0
    assert by_hand.settled(tmp_path) == 0


UNSHARE = ["unshare", "--map-root-user", "--mount"]


def on_disk(size, script, *arguments, readonly=False):
    """Run a shell script where `$DISK` is a disk of so many bytes."""
    mount = f'mount -t tmpfs -o size={size} tmpfs "$DISK"'
    if readonly:
        mount += ' && mount -o remount,ro "$DISK"'
    return subprocess.run(
        [*UNSHARE, "sh", "-c", f"{mount} && {script}", "sh", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )


@pytest.fixture
def disk(tmp_path, monkeypatch):
    (tmp_path / "disk").mkdir()
    monkeypatch.setenv("DISK", str(tmp_path / "disk"))
    if not shutil.which("unshare") or on_disk(1 << 20, "true").returncode:
        pytest.skip("this system lets nobody mount a disk of his own")
    return tmp_path / "disk"


RUN = f'{sys.executable} -m cellmill "$@"; code=$?; find "$DISK" -mindepth 1; exit $code'


def opened(images, disk):
    places = ["--images", disk / "images", "--truth", disk / "truth"]
    return ["tiff_to_npz", "--items", json.dumps([str(i) for i in images]), *places]


def test_what_is_known_beforehand_is_asked_for_with_what_is_free(tmp_path, disk):
    # 32 MB of pixels that are stored in a few kilobytes, and 40 MB of disk, of which some is used.
    image = tmp_path / "large.tif"
    tifffile.imwrite(image, np.ones((4000, 4000), np.uint16), compression="zlib")
    fill = 'head -c 12000000 /dev/zero > "$DISK/other" && '
    done = on_disk(40 << 20, fill + RUN, *opened([image], disk))
    line = assert_one_line("tiff_to_npz", done.returncode, done.stderr)
    assert "expected room for 32.0 MB, the pixels of image" in line
    assert "MB free" in line
    assert done.stdout.split() == [str(disk / "other")]
    # An image that no such disk could ever hold is an image to be left out.
    done = on_disk(4 << 20, RUN, *opened([image], disk))
    assert done.returncode == 2
    assert "expected pixels that fit the disk, found 32.0 MB of them" in done.stderr
    assert done.stdout == ""


def test_a_full_disk_is_no_image_s_fault(tmp_path, disk):
    """Skipping bad images would otherwise leave out all that come once the disk is full."""
    images = [tmp_path / f"{name}.tif" for name in "abcd"]
    for image in images:
        tifffile.imwrite(image, np.ones((500, 1000), np.uint16))
    images[0].write_bytes(b"II*\0nothing")
    command = [*opened(images, disk), "--on-bad-image", "skip"]
    done = on_disk(2500000, RUN, *command)
    line = assert_one_line("tiff_to_npz", done.returncode, done.stderr)
    assert f"'{disk}/images" in line
    assert "expected room for 1.0 MB" in line
    assert done.stdout == ""


@pytest.mark.parametrize("readonly", [False, True])
def test_a_disk_that_takes_nothing_is_one_line(made, disk, readonly):
    for stage in ("postprocess", "report", "fetch_model"):
        (call,) = (call for call in calls(made, made / "image.tif") if call[0] == stage)
        size = 8 << 20 if readonly else 8192
        done = on_disk(size, RUN, *into(disk, call), readonly=readonly)
        assert done.returncode in ((1, 2) if readonly else (1,)), done.stderr
        (line,) = [x for x in done.stderr.splitlines() if x.startswith("cellmill")]
        assert str(disk) in line
        assert ("read-only" in line.lower()) == readonly
        assert "Traceback" not in done.stderr
        assert done.stdout == ""


MEMORY = """
import resource, sys
from cellmill.contract.cli import main
import cellmill.stages.preprocess, cellmill.io.images, cellmill.arrays.store, numba
held = int(next(x for x in open("/proc/self/status") if x.startswith("VmSize")).split()[1]) << 10
resource.setrlimit(resource.RLIMIT_AS, (held + (int(sys.argv[1]) << 20),) * 2)
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc how much is held")
def test_no_memory_is_one_line_with_what_was_asked_for(tmp_path):
    # Eight times as many floats as bytes; the budget says that it may.
    image = tmp_path / "large.tif"
    tifffile.imwrite(image, np.ones((6000, 6000), np.uint8), compression="zlib")
    command = [*opened([image], tmp_path), "--memory-mib", "4096"]
    assert main([*map(str, command)]) == 0
    labels = ["--images", tmp_path / "images", "--preprocessed", tmp_path / "preprocessed"]
    model = ROOT / "cellmill/models/nuclei"
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, "64", "preprocess", *map(str, labels), "--model", model],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    line = assert_one_line("preprocess", done.returncode, done.stderr)
    assert ": memory: expected enough for this stage" in line
    assert not (tmp_path / "preprocessed").exists()


def test_data_nested_without_end_is_one_line(tmp_path, capsys):
    places = ["--images", str(tmp_path / "i"), "--truth", str(tmp_path / "t")]
    deep = "[" * 200_000
    code = main(["tiff_to_npz", "--items", deep, *places])
    line = assert_one_line("tiff_to_npz", code, capsys.readouterr().err)
    assert "nested less deeply" in line
    assert list(tmp_path.iterdir()) == []


def test_a_batch_whose_manifest_cannot_be_written_is_none(tmp_path):
    folder = tmp_path / "batch"
    folder.mkdir()

    def write():
        with BatchWriter(folder) as out:
            out.write("a", {"image": np.ones((4, 4))}, axes={"image": "YX"})
            resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(OSError, match="large") as caught:
            write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "manifest.json" in str(fault_of(caught.value))
    assert list(folder.iterdir()) == []
    with BatchWriter(folder) as out:
        out.write("a", {"image": np.ones((4, 4))}, axes={"image": "YX"})
    assert Batch.open(folder).entries


def test_what_is_no_machine_s_fault_stays_a_traceback():
    for error in (ValueError("x"), FileNotFoundError(2, "No such file"), OSError("odd")):
        assert fault_of(error) is None
    assert isinstance(fault_of(OSError(28, "No space left", "/a/b")), MachineFault)
