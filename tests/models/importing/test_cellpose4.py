"""Networks of Cellpose 4 come in equal, by their file and by their name; others are refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cellmill.datasets.samples import mnfinder
from cellmill.inference.proofs import reference_of
from cellmill.labels.numbering import canonical_labels
from cellmill.models.card import ModelCard
from cellmill.models.importing.bringing import named_model
from cellmill.models.importing.frameworks import framework_of, is_one_s_own
from cellmill.models.published import MIRROR_VARIABLE
from cellmill.segmentation.methods import check_card
from tests.conformance.conformance_model import run
from tests.models.importing.whole_images import check_whole_images

pytestmark = pytest.mark.cellpose

#: Images that the small network's last layer is fitted to, and which part of one is a lesson.
LESSONS, EVERY = 6, (slice(0, 512, 2), slice(0, 512, 2))


def colours(image: np.ndarray) -> np.ndarray:
    """Give an image as three channels, the second fainter and the third empty."""
    plain = image.astype(np.float32)
    return np.stack([plain, plain**0.5, np.zeros_like(plain)], -1)


@pytest.fixture(scope="module")
def made(
    cellpose4_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, ModelCard, Path]:
    """Have cellpose make a network and run it, and bring it in by its name.

    Returns:
        The folder of what cellpose made; the card; and the model's folder.
    """
    folder = tmp_path_factory.mktemp("cellpose4")
    lessons = mnfinder("training")[:: len(mnfinder("training")) // LESSONS][:LESSONS]
    np.savez(
        folder / "lessons.npz",
        images=[colours(tifffile.imread(each.image)[EVERY]) for each in lessons],
        labels=[canonical_labels(tifffile.imread(each.nuclei)[EVERY]) for each in lessons],
    )
    tiles = np.random.default_rng(1).random((3, 256, 256, 3), np.float32) * 2 - 0.5
    np.save(folder / "tiles.npy", tiles)
    run(cellpose4_python, Path(__file__).with_name("run_cellpose4.py"), folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("CELLPOSE_LOCAL_MODELS_PATH", str(folder / "none"))
        patch.setenv("CELLMILL_CELLPOSE4_PYTHON", str(cellpose4_python))
        (folder / "mirror" / "cellpose").mkdir(parents=True)
        (folder / "mirror" / "cellpose" / "cpsam").symlink_to(folder / "cpsam")
        patch.setenv(MIRROR_VARIABLE, str(folder / "mirror"))
        model = named_model("cellpose:cpsam")
    return folder, ModelCard.load(model), model


def test_files_are_known_for_what_they_are(made: tuple[Path, ModelCard, Path]) -> None:
    for name in ("cpsam", "dino", "half"):
        assert is_one_s_own(made[0] / name)
        assert framework_of(made[0] / name).name == "cellpose4"


def test_the_card_says_what_cellpose_would_do(made: tuple[Path, ModelCard, Path]) -> None:
    _, card, _ = made
    check_card(card)
    assert card.name == "cellpose:cpsam"
    assert card.default_compartment == "whole_cell"
    assert card.input.object_diameter == {"whole_cell": 30.0}
    assert (len(card.input.channels), card.input.tile) == (3, (256, 256))
    assert card.input.fewest_channels == 1
    assert (card.preprocessing.low, card.preprocessing.high) == (1.0, 99.0)
    assert card.postprocessing["whole_cell"]["method"] == "cellpose"
    assert card.postprocessing["whole_cell"]["rule"] == "cellpose4"
    assert card.imported is not None
    assert card.imported.framework == "cellpose4 4.2.1.1"
    assert card.imported.largest_difference <= 1e-5


@pytest.mark.parametrize("batch", [1, 3])
def test_heads_are_the_original_s_for_any_batch(
    made: tuple[Path, ModelCard, Path], batch: int
) -> None:
    folder, card, model = made
    network = reference_of(model).open(model, card, device="cpu")
    found = np.concatenate(network(np.load(folder / "tiles.npy")[:batch]), axis=-1)
    wanted = np.moveaxis(np.load(folder / "heads.npy"), 1, -1)[:batch]
    assert np.abs(wanted).max() > 0.1
    assert np.abs(found - wanted).max() <= 1e-5 * max(1, np.abs(wanted).max())


def test_heads_of_whole_images_are_those_of_its_run_net(
    made: tuple[Path, ModelCard, Path],
) -> None:
    check_whole_images(made[2], made[0] / "whole.npz", "onnxruntime")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("dino", "found a network on DINO, whose package no index has"),
        ("half", "found Missing key(s) in state_dict"),
    ],
)
def test_other_networks_are_refused_in_one_line(
    made: tuple[Path, ModelCard, Path], name: str, found: str
) -> None:
    code, said = json.loads((made[0] / "refused.json").read_text())[name]
    assert code == 2
    assert said.count("\n") == 1
    assert "expected weights of Cellpose 4" in said
    assert found in said
    assert not (made[0] / f"{name}-model" / "model.json").exists()
