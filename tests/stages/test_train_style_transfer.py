"""The stage: two volumes in, a network that `transfer_style` applies and a page out."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from cellmill.contract.cli import main
from cellmill.datasets.synthetic_em import LOOK_X, LOOK_Y, make_tissue, show
from cellmill.models.card import ModelCard
from cellmill.models.trust import check_network
from cellmill.style_transfer.volumes import open_volume
from tests.style_transfer import stored_volumes as stored
from tests.style_transfer.generators import tissue

pytestmark = pytest.mark.tensorflow
SHAPE = (8, 100, 104)
OUTPUTS = ("model", "back", "metrics", "report", "record")


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes")
    found = {}
    for name, look, seed in (("x", LOOK_X, 1), ("y", LOOK_Y, 2)):
        tissue = make_tissue(SHAPE, seed=seed)
        found[name] = stored.zarr(folder / name, show(tissue, look, seed=seed), "zarr3")
        truth = tissue.membranes.astype(np.uint8)
        found[f"{name}_truth"] = stored.zarr(folder / f"{name}_truth", truth, "zarr3")
    return found


def run(folder, **parameters):
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in parameters.items()]
    places = [part for name in OUTPUTS for part in (f"--{name}", str(folder / name))]
    return main(["train_style_transfer", *places, *flags])


def test_a_network_is_trained_chosen_and_applied(tmp_path, volumes):
    tiny = {"steps": 1, "task_steps": 30, "crop": 96, "width": 2, "batch_size": 1, "planes": "z"}
    assert run(tmp_path, **volumes, **tiny, name="x-to-y") == 0
    said = json.loads((tmp_path / "metrics").read_text())
    assert [row["name"] for row in said["gate"]][-2:] == ["step 0", "step 1"]
    matched = [row["f1"] for row in said["gate"] if row["name"] in ("mean and SD", "histogram")]
    ahead = [row["f1"] for row in said["gate"] if (row["least_lead"] or 0) > 0]
    assert said["chosen"]["f1"] == max(ahead or matched)
    for name, title in (("model", "x-to-y"), ("back", "x-to-y-back")):
        check_network(tmp_path / name)
        card = ModelCard.load(tmp_path / name)
        assert (card.name, card.heads[0].margin, card.input.planes) == (title, 20, "z")
        assert card.training["chosen"] == said["chosen"]
        assert set(card.engines) >= {"openvino"}
    page = (tmp_path / "report").read_text()
    # X, to Y, back, and Y, of the only plane of the only section that chose nothing.
    assert page.count("data:image/png") == 4
    assert "A small network was trained on Y" in page
    out = str(tmp_path / "out.zarr")
    given = ["--model", str(tmp_path / "model"), "--volume", volumes["x"], "--destination", out]
    places = ["--transferred", str(tmp_path / "t"), "--record", str(tmp_path / "r")]
    assert main(["transfer_style", *given, *places, "--block", "52"]) == 0
    made, source = open_volume(out)[...], open_volume(volumes["x"])[...]
    assert made.shape == source.shape
    assert (made != source).mean() > 0.5


def test_a_deeper_network_is_trained_and_applied_in_blocks_that_equal_the_whole(tmp_path, capsys):
    volumes = {
        name: stored.zarr(tmp_path / name, tissue((3, 208, 216), seed), "zarr3")
        for seed, name in enumerate("xy")
    }
    tiny = {"steps": 1, "depth": 3, "crop": 208, "width": 2, "batch_size": 1, "planes": "z"}
    assert run(tmp_path, **volumes, **tiny, checkpoints=tmp_path / "kept") == 0
    assert re.search(r"1/1 steps, .*; adversarial [\d.]+, cycle [\d.]+", capsys.readouterr().err)
    for step in (0, 1):
        # X, to Y and back, of which two passes leave 16 pixels a side.
        with Image.open(tmp_path / "kept" / "samples" / f"{step}.png") as sample:
            assert sample.size == (48, 16)
            assert len({*np.asarray(sample)[:, 16:32].ravel()}) > 10
    card = ModelCard.load(tmp_path / "model")
    assert (card.heads[0].margin, card.tiling.alignment) == (48, 8)
    assert card.training["chosen"]["step"] == 1
    made = []
    for block in (256, 88):
        out = str(tmp_path / f"{block}.zarr")
        given = ["--model", str(tmp_path / "model"), "--volume", volumes["x"], "--destination", out]
        places = ["--transferred", str(tmp_path / "t"), "--record", str(tmp_path / "r")]
        assert main(["transfer_style", *given, *places, "--block", f"{block}"]) == 0
        made.append(open_volume(out)[...])
    assert np.unique(made[0]).size > 100
    np.testing.assert_array_equal(*made)


def test_a_network_of_volumes_is_trained_and_applied_by_shards(tmp_path, volumes):
    """Without truth the last checkpoint is taken, which sees volumes."""
    tiny = {"steps": 1, "volume_steps": 1, "crop": 48, "depth": 1, "width": 2, "batch_size": 1}
    tiny |= {"sections": 13}
    found = {}
    for name in ("x", "y"):
        values = open_volume(volumes[name])[...].repeat(2, 0)
        found[name] = stored.zarr(tmp_path / f"deep-{name}", values, "zarr3")
    assert run(tmp_path, **found, **tiny, planes="z", held_out=0.1) == 0
    assert json.loads((tmp_path / "metrics").read_text())["chosen"]["name"] == "step 2, 3-D"
    assert "1 steps of volumes" in (tmp_path / "report").read_text()
    for name in ("model", "back"):
        check_network(tmp_path / name)
        card = ModelCard.load(tmp_path / name)
        assert card.heads[0].margins(3) == (3, 8, 8)
        assert {*card.engines} >= {"openvino"}
    outs = []
    for block, shards in ((104, 1), (24, 3)):
        outs.append(str(tmp_path / f"out-{block}.zarr"))
        given = ["--model", f"{tmp_path}/model", "--volume", found["x"], "--destination", outs[-1]]
        places = ["--transferred", str(tmp_path / "t"), "--record", str(tmp_path / "r")]
        for shard in range(shards):
            share = ["--block", f"{block}", "--shard", f"{shard}", "--shards", f"{shards}"]
            assert main(["transfer_style", *given, *places, *share]) == 0
    about = json.loads((tmp_path / "t" / "volume.json").read_text())
    assert about["planes"] == "volume"
    assert about["read_amplification"] == round(about["bytes_read"] / about["bytes_made"], 3) > 1
    whole, parts = (open_volume(out)[...] for out in outs)
    np.testing.assert_array_equal(whole, parts)
    assert (whole != open_volume(found["x"])[...]).mean() > 0.5
    base = {"base": tmp_path / "model", "base_back": tmp_path / "back"}
    again = {**tiny, **base, "steps": 0, "planes": "z", "held_out": 0.1}
    assert run(tmp_path / "again", **found, **again) == 0
    said = ModelCard.load(tmp_path / "again" / "model").training
    assert said["chosen"]["name"] == "step 1, 3-D"
    assert said["base_digest"] != said["base_back_digest"]


def test_several_volumes_and_networks_of_ones_own_are_learnt_from_and_named(tmp_path, volumes):
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:] = 1
    masks = f"'{stored.zarr(tmp_path / 'a mask', mask, 'zarr3')}' -"
    lists = {"x": f"{volumes['x']} {volumes['y']}@0.5", "y": volumes["y"], "x_masks": masks}
    # Shallow, with a margin of its own: not that of what scores it.
    tiny = {"steps": 1, "depth": 1, "crop": 48, "width": 2, "batch_size": 2, "planes": "z"}
    given = {"prior": "cellmill-nuclei", "task_network": "cellmill-nuclei"}
    given |= {"task_head": "nuclear_pixelwise:1", "x_truth": f"{volumes['x_truth']} -"}
    assert run(tmp_path, **lists, x_boxes="- 0,0,0,8,100,100", **tiny, **given) == 0
    card = ModelCard.load(tmp_path / "model")
    assert (card.heads[0].margin, card.tiling.alignment) == (8, 2)
    said = card.training
    assert said["prior_digest"] == said["task_digest"]
    names = ["as is", "mean and SD", "histogram", "step 0", "step 1"]
    assert [row["name"] for row in said["gate"]] == names
    assert said["chosen"]["name"] in names[1:]
    assert "how well a network of one's own finds in" in (tmp_path / "report").read_text()
    first, second = said["x"]
    assert (first["weight"], second["weight"]) == (1.0, 0.5)
    assert second["boxes"] == [[0, 0, 0, 8, 100, 100]]
    assert first["mask"].endswith("a mask")


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            {"task_network": "cellmill-nuclei", "x_truth": "", "y_truth": ""},
            "task_network: expected x_truth beside it: without it nothing says what it should find",
        ),
        ({"prior": "nowhere"}, "model 'nowhere': expected"),
        ({"base": "cellmill-nuclei"}, "base: expected base and base_back, the networks of both"),
        (
            {"base": "cellmill-nuclei", "base_back": "cellmill-nuclei"},
            "expected a network that train_style_transfer wrote, found another",
        ),
        ({"x": "a b@0"}, "x, weight of 'b': expected above 0, found 0"),
        ({"x_masks": "a b"}, "x_masks: expected 1, one for each volume ('-' for none), found 2"),
        ({"y_boxes": "0,0,0,8,100,999"}, "box: expected within (8, 100, 104)"),
        ({"y_truth": ""}, "truth: expected that of X and of Y, or of neither"),
        ({"crop": 104}, "expected room for crops of (1, 104, 104)"),
        ({"held_out": 1.5}, "held_out: expected 0 to 1"),
        ({"crop": 90}, "crop: expected a multiple of 4 from 96 at depth 2, found 90"),
        ({"x": "nowhere"}, "volume 'nowhere': expected a volume, found nothing there"),
    ],
)
def test_what_cannot_be_trained_on_is_one_line_and_leaves_nothing(
    tmp_path, volumes, capsys, given, line
):
    assert run(tmp_path, **{**volumes, **given}) == 2
    said = capsys.readouterr().err
    assert line in said
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())
