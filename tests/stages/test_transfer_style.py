"""The stage: a volume by URI in, a volume by URI out, in shards, again after a kill."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cellmill.contract.cli import main
from cellmill.style_transfer.volumes import open_volume
from cellmill.style_transfer.writing import marks_of
from launch import ROOT
from tests.style_transfer import stored_volumes as stored
from tests.style_transfer.generators import random_generator, tissue

pytestmark = pytest.mark.tensorflow
VALUES = tissue((26, 45, 52))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generator")
    random_generator(folder)
    return folder


def run(folder, model, volume, **parameters):
    """Run the stage; give its exit code and what it says of the volume."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in parameters.items()]
    places = ["--transferred", f"{folder}/out", "--record", f"{folder}/record.json"]
    given = ["--model", str(model), "--volume", str(volume), "--engine", "openvino"]
    code = main(["transfer_style", *given, *places, *flags])
    about = folder / "out" / "volume.json"
    return code, json.loads(about.read_text()) if about.is_file() else None


def test_a_volume_by_itself(tmp_path, model):
    source = stored.precomputed(tmp_path / "p", VALUES, offset=(3, 4, 5))
    code, about = run(tmp_path, model, source, block=20)
    assert code == 0
    made = open_volume(about["volume"])
    assert made.shape == VALUES.shape
    assert not (made[...] == VALUES).all()
    assert about["read_amplification"] == round(about["bytes_read"] / VALUES.size, 3)
    assert [layer["name"] for layer in about["neuroglancer_state"]["layers"]] == [
        "source",
        "transferred",
    ]
    record = json.loads((tmp_path / "record.json").read_text())
    assert record["notes"]["engine"]["engine"] == "openvino"


@pytest.mark.parametrize("name", ["out.zarr", "precomputed"])
def test_resolutions_are_made_by_shards_and_shown_beside_the_source(tmp_path, model, name):
    source = stored.precomputed(tmp_path / "p", VALUES, offset=(3, 4, 5))
    place = str(tmp_path / name)
    for shard in (1, 2, 0):
        given = {"block": 20, "destination": place, "levels": 3, "shard": shard, "shards": 3}
        code, about = run(tmp_path, model, source, **given)
        assert code == 0
    assert about["levels"] == [[26, 45, 52], [26, 23, 27], [26, 12, 14]]
    sizes = [(30, 5, 4), (30, 10, 8), (30, 20, 16)]
    finer = open_volume(place)[...]
    layer = about["neuroglancer_state"]["layers"][1]["source"]
    address = layer["url"] if name == "out.zarr" else layer
    for scale in (1, 2):
        made = open_volume(address, scale=scale)
        # The first voxel along y lies at 4, then at 2, then at 1; along x at 5, 2, 1.
        coarse = halved(finer, [(0, 1), (0, 0)][scale - 1])
        assert np.abs(made[...].astype(int) - coarse).max() <= 0.5
        assert made.voxel_nm == sizes[scale]
        finer = made[...]
    assert made.origin == (3, 1, 1)


def halved(values, before):
    """Means of 2 × 2 voxels of each section; the first lack those before (y, x)."""
    sides = [(a, (n + a) % 2) for n, a in zip(values.shape[1:], before, strict=True)]
    given = np.pad(values.astype(float), [(0, 0), *sides], constant_values=np.nan)
    parts = [given[:, a::2, b::2] for a in (0, 1) for b in (0, 1)]
    return np.nanmean(parts, axis=0)


@pytest.mark.parametrize("name", ["out.zarr", "precomputed"])
def test_shards_make_what_one_task_makes(tmp_path, model, name):
    source = stored.precomputed(tmp_path / "p", VALUES, offset=(3, 4, 5))
    whole = str(tmp_path / f"whole-{name}")
    assert run(tmp_path, model, source, block=20, destination=whole)[0] == 0
    place = str(tmp_path / name)
    for shard in (2, 0, 1):
        given = {"block": 20, "destination": place, "shard": shard, "shards": 3}
        assert run(tmp_path, model, source, **given)[0] == 0
    made = open_volume(place)
    np.testing.assert_array_equal(made[...], open_volume(whole)[...])
    assert made.voxel_nm == (30, 5, 4)
    assert made.origin == (3, 4, 5)
    code, about = run(tmp_path, model, source, block=20, destination=place, shard=0, shards=1)
    assert (code, about["blocks"], about["blocks_resumed"]) == (0, 0, 18)


def test_a_task_that_was_killed_makes_what_it_would_have_made(tmp_path, model):
    source = stored.precomputed(tmp_path / "p", VALUES)
    whole, place = str(tmp_path / "whole"), str(tmp_path / "out")
    given = {"block": 8, "levels": 3}
    assert run(tmp_path, model, source, destination=whole, **given)[0] == 0
    command = [sys.executable, "-m", "cellmill", "transfer_style", "--model", str(model)]
    command += ["--volume", source, "--destination", place, "--engine", "openvino"]
    command += ["--transferred", str(tmp_path / "t"), "--record", str(tmp_path / "r")]
    command += [f"--{key}={value}" for key, value in given.items()]
    task = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    marks = Path(marks_of(place))
    while task.poll() is None and len(list(marks.glob("*/*"))) < 12:
        time.sleep(0.005)
    task.kill()
    assert task.wait() < 0
    code, about = run(tmp_path, model, source, destination=place, **given)
    assert code == 0
    assert about["blocks_resumed"] >= 8
    assert about["blocks"] + about["blocks_resumed"] == 4 * 6 * 7
    for scale in range(3):
        np.testing.assert_array_equal(
            open_volume(place, scale=scale)[...], open_volume(whole, scale=scale)[...]
        )


def test_another_network_makes_all_blocks_anew(tmp_path, model):
    source = stored.zarr(tmp_path / "z", VALUES, "zarr3")
    other = tmp_path / "other"
    random_generator(other, seed=1)
    place = str(tmp_path / "out.zarr")
    run(tmp_path, model, source, block=20, destination=place)
    first = open_volume(place)[...]
    code, about = run(tmp_path, other, source, block=20, destination=place)
    assert (code, about["blocks_resumed"]) == (0, 0)
    assert (open_volume(place, cache_mib=3)[...] != first).mean() > 0.5
    # Marks of what was written over do not count.
    code, about = run(tmp_path, model, source, block=20, destination=place)
    assert (code, about["blocks_resumed"]) == (0, 0)
    np.testing.assert_array_equal(open_volume(place, cache_mib=4)[...], first)


def test_background_and_other_types(tmp_path, model):
    source = stored.zarr(tmp_path / "z", VALUES, "zarr3")
    mask = np.zeros(VALUES.shape, np.uint8)
    mask[:, 10:30, 10:30] = 1
    masked = stored.zarr(tmp_path / "m", mask, "zarr3")
    code, about = run(tmp_path, model, source, block=20, mask=masked)
    assert code == 0
    made = open_volume(about["volume"])[...]
    assert (made[mask == 0] == VALUES[mask == 0]).all()
    assert (made[mask == 1] != VALUES[mask == 1]).mean() > 0.5
    wide = stored.stack(tmp_path / "wide.tif", VALUES.astype(np.uint16) * 257)
    place = str(tmp_path / "of-wide.zarr")
    given = {"block": 20, "mask": masked, "white": 65535, "destination": place}
    assert run(tmp_path, model, wide, **given)[0] == 0
    np.testing.assert_array_equal(open_volume(place)[...], made)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"block": 34}, "block: expected a multiple of 4, found 34"),
        ({"shards": 2}, "destination: expected a place that all shards write to, found none"),
        ({"destination": "http://127.0.0.1/a"}, "expected a path, file://, gs:// or s3://"),
        ({"volume": "nowhere"}, "volume 'nowhere': expected a volume, found nothing there"),
        ({"planes": "xy"}, "planes"),
        ({"levels": 9}, "levels: expected at most 7, the last of which is one voxel, found 9"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_leaves_nothing(tmp_path, model, capsys, given, line):
    source = given.pop("volume", None) or stored.zarr(tmp_path / "z", VALUES, "zarr3")
    before = sorted(tmp_path.iterdir())
    code, about = run(tmp_path, model, source, **given)
    said = capsys.readouterr().err
    assert code == 2
    assert about is None
    assert line in said
    assert said.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before
