"""Planning a transfer and showing what its tasks made."""

import json

import numpy as np
import pytest

from cellmill.contract.cli import main
from cellmill.style_transfer.network import generator_card, reach_of
from cellmill.style_transfer.volumes import open_volume
from tests.style_transfer import stored_volumes as stored

VALUES = np.random.default_rng(0).integers(0, 256, (20, 45, 52), np.uint8)


@pytest.fixture
def model(tmp_path):
    (tmp_path / "model").mkdir()
    generator_card("network", reach=reach_of(2), planes="z", block=20).save(tmp_path / "model")
    return tmp_path / "model"


def plan(folder, model, **parameters):
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in parameters.items()]
    places = ["--place", f"{folder}/place", "--record", f"{folder}/record"]
    code = main(["plan_transfer", "--model", str(model), *places, *flags])
    about = folder / "place" / "plan.json"
    return code, json.loads(about.read_text()) if about.is_file() else None


@pytest.mark.parametrize(("most", "count"), [(4, 4), (100, 9)])
def test_a_place_is_made_and_blocks_are_shared(tmp_path, model, most, count):
    source = stored.precomputed(tmp_path / "p", VALUES, offset=(3, 4, 5))
    code, said = plan(tmp_path, model, volume=source, block=20, most_shards=most)
    assert (code, said["blocks"], said["shards"]) == (0, 9, count)
    made = open_volume(said["volume"])
    assert (made.shape, made.voxel_nm) == (VALUES.shape, (30, 5, 4))
    assert said["volume"].startswith(str(tmp_path / "place"))
    elsewhere = tmp_path / "elsewhere"
    assert plan(tmp_path, model, volume=source, block=20, destination=elsewhere)[0] == 0
    assert open_volume(f"{elsewhere}").origin == (3, 4, 5)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"block": 34}, "block: expected a multiple of 4, found 34"),
        ({"most_shards": 0}, "most_shards: expected at least 1, found 0"),
        ({"volume": "nowhere"}, "volume 'nowhere': expected a volume, found nothing there"),
        ({"mask": "other"}, "expected shape (20, 45, 52), found (20, 45, 50)"),
    ],
)
def test_what_cannot_be_planned_is_one_line(tmp_path, monkeypatch, capsys, model, given, line):
    monkeypatch.chdir(tmp_path)
    stored.zarr(tmp_path / "other", VALUES[..., :50], "zarr3")
    source = stored.zarr(tmp_path / "z", VALUES, "zarr3")
    code, said = plan(tmp_path, model, **{"volume": source, "block": 20, **given})
    assert (code, said) == (2, None)
    shown = capsys.readouterr().err
    assert line in shown
    assert shown.count("\n") == 1


def shard(folder, number, count, volume, source):
    """What a task says of its blocks."""
    place = folder / f"shard-{number}"
    place.mkdir()
    said = {
        "volume": volume,
        "source": source,
        "black_white": None,
        "scale": 0,
        "shape": list(VALUES.shape),
        "levels": [list(VALUES.shape)],
        "block": 20,
        "planes": "z",
        "shard": number,
        "shards": count,
        "blocks": 3,
        "blocks_resumed": 1,
        "blocks_of_background": 0,
        "bytes_read": 300,
        "bytes_made": 200,
        "read_amplification": 1.5,
        "neuroglancer": "",
        "neuroglancer_state": {},
    }
    (place / "volume.json").write_text(json.dumps(said))
    record = {"stage": "transfer_style", "totals": {}, "steps": [], "images": {}}
    (place / "record.json").write_text(json.dumps(record))
    return place


def finish(folder, shards):
    given = ["--shards", *map(str, shards)]
    given += ["--transfer-records", *(f"{place}/record.json" for place in shards)]
    names = ("transferred", "report", "transfer_record", "record")
    places = [part for n in names for part in (f"--{n.replace('_', '-')}", f"{folder}/{n}")]
    return main(["finish_transfer", *given, *places])


def test_shards_are_added_up_and_shown(tmp_path):
    volumes = [stored.zarr(tmp_path / name, VALUES, "zarr3") for name in ("made", "source")]
    assert finish(tmp_path, [shard(tmp_path, n, 2, *volumes) for n in (1, 0)]) == 0
    said = json.loads((tmp_path / "transferred" / "volume.json").read_text())
    assert (said["blocks"], said["blocks_resumed"], said["bytes_read"]) == (6, 2, 600)
    assert said["read_amplification"] == 1.5
    state = json.loads((tmp_path / "transferred" / "neuroglancer.json").read_text())
    assert [layer["name"] for layer in state["layers"]] == ["source", "transferred"]
    page = (tmp_path / "report").read_text()
    assert page.count("data:image/png") == 6
    assert said["neuroglancer"].split("#!")[1] in page


def test_a_shard_that_is_missing_is_one_line(tmp_path, capsys):
    volumes = [stored.zarr(tmp_path / name, VALUES, "zarr3") for name in ("made", "source")]
    assert finish(tmp_path, [shard(tmp_path, 1, 2, *volumes)]) == 2
    assert "shards: expected each of 2 shards of one volume, found 1" in capsys.readouterr().err
