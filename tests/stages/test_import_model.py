"""A network comes in if it gives what it gave, and not at all if it does not."""

import json

import numpy as np
import pytest

from cellmill.contract.cli import main
from cellmill.models.card import ModelCard
from cellmill.models.importing.frameworks import FRAMEWORKS
from cellmill.models.networks import network_files

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """Give a folder of the toy framework, how far off it is."""
    monkeypatch.setitem(FRAMEWORKS, "toy", "tests.models.importing.toy_framework")

    def made(off):
        folder = tmp_path / "my-network"
        folder.mkdir()
        (folder / "toy.json").write_text(json.dumps({"off": off}))
        return folder

    return made


def run(source, out, *arguments):
    places = ("--model", str(out / "model"), "--record", str(out / "record.json"))
    return main(["import_model", "--source", str(source), *places, *arguments])


def test_an_equal_network_comes_in_with_what_was_measured_on_its_card(toy, tmp_path):
    assert run(toy(4e-6), tmp_path, "--framework", "toy") == 0
    card = ModelCard.load(tmp_path / "model")
    assert card.name == "my-network"
    assert card.imported.framework.startswith("toy ")
    assert card.imported.source.startswith("sha256:")
    assert 3e-6 < card.imported.largest_difference < 5e-6
    assert card.imported.tiles == "4 synthetic"
    assert network_files(tmp_path / "model")
    assert ModelCard.from_dict(card.to_dict()) == card
    notes = json.loads((tmp_path / "record.json").read_text())["notes"]
    assert notes["bound"] == 1e-5


def test_it_is_compared_on_the_tiles_that_are_given(toy, tmp_path):
    tiles = tmp_path / "tiles.npy"
    np.save(tiles, np.random.default_rng(1).random((2, 256, 256, 1)))
    assert run(toy(0), tmp_path, "--tiles", str(tiles), "--name", "mine") == 0
    card = ModelCard.load(tmp_path / "model")
    assert (card.name, card.imported.tiles) == ("mine", "2 given")
    assert card.imported.largest_difference == 0


def test_a_network_that_differs_does_not_come_in(toy, tmp_path, capsys):
    assert run(toy(3e-5), tmp_path) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "expected the original's heads to 1e-05, found a difference of 3e-05" in said
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--framework", "magic"), "framework: expected one of stardist"),
        (("--framework", "stardist"), "expected StarDist: a folder with config.json and"),
        (("--tiles", "{folder}/toy.json"), "expected a .npy file"),
        (("--tiles", "{flat}"), "expected (N, Y, X, 1), found (4, 4)"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(toy, tmp_path, capsys, arguments, says):
    folder, flat = toy(0), tmp_path / "flat.npy"
    np.save(flat, np.zeros((4, 4)))
    given = [each.format(folder=folder, flat=flat) for each in arguments]
    assert run(folder, tmp_path, *given) == 2
    assert says in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "model").exists()
    assert run(folder.parent / "nothing", tmp_path) == 2
    assert "no such file" in capsys.readouterr().err
