"""Networks of Cellpose 3 come in equal, by whatever engine and batch; others are refused."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cellmill.datasets.samples import sample_image
from cellmill.errors import CellmillError
from cellmill.inference.proofs import reference_of
from cellmill.io import uris
from cellmill.models.card import ModelCard
from cellmill.models.importing.frameworks import framework_of, is_one_s_own
from cellmill.models.size_model import SizeModel
from cellmill.segmentation.methods import check_card
from tests.conformance.conformance_model import run
from tests.models.importing.whole_images import check_whole_images
from tests.models.publisher import publisher

NAMES = ("nuclei_tiny", "cyto_tiny")
#: A size model for the first of them, as cellpose writes it.
SIZED = {"A": np.arange(64) / 50, "smean": np.ones(64), "diam_mean": 17.0, "ymean": 0.5}


def test_a_zip_that_is_no_torch_file_is_an_archive(tmp_path):
    path = tmp_path / "model.zip"
    for inner in ("model/data.pkl", "data.pkl", "model/x"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(inner, b"diam_mean" if inner == "model/x" else b"nothing")
        assert not is_one_s_own(path)
    path.write_bytes(path.read_bytes()[:30])
    assert not is_one_s_own(path)
    assert not is_one_s_own(tmp_path)


@pytest.fixture(scope="module")
def brought(cellpose_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Have cellpose write weights, and bring them in in its environment."""
    folder = tmp_path_factory.mktemp("cellpose3")
    run(cellpose_python, Path(__file__).with_name("write_cellpose.py"), folder)
    np.save(folder / "another.npy", SIZED)
    with publisher({"/nets/size.npy": (folder / "another.npy").read_bytes()}) as state:
        for name, size in zip(NAMES, (f"{state.url}/nets/size.npy", ""), strict=True):
            out = ("--model", folder / f"{name}-model", "--record", folder / f"{name}.json")
            told = ("--source", folder / name, *(("--size-model", size) if size else ()))
            run(cellpose_python, "-m", "cellmill", "import_model", *told, *out)
    return folder


@pytest.mark.cellpose
def test_a_size_model_comes_in_by_its_uri(brought: Path) -> None:
    assert [ModelCard.load(brought / f"{name}-model").size_model for name in NAMES] == [True, False]
    found = SizeModel.load(brought / "nuclei_tiny-model")
    assert found.weights == tuple(SIZED["A"])
    assert (found.diameter, found.shown_diameter, found.offset) == (17, 17, 0.5)
    assert found.source == uris.digest(str(brought / "another.npy"))


@pytest.mark.cellpose
def test_files_are_known_for_what_they_are(brought: Path) -> None:
    for name in NAMES:
        assert is_one_s_own(brought / name)
        assert framework_of(brought / name).name == "cellpose3"


@pytest.mark.cellpose
@pytest.mark.parametrize("name", NAMES)
def test_the_card_says_what_cellpose_would_do(brought: Path, name: str) -> None:
    card = ModelCard.load(brought / f"{name}-model")
    check_card(card)
    kind = "nuclear" if name == "nuclei_tiny" else "whole_cell"
    assert card.default_compartment == kind
    assert card.input.object_diameter == {kind: 17.0 + NAMES.index(name)}
    assert len(card.input.channels) == 1 + NAMES.index(name)
    assert (card.preprocessing.low, card.preprocessing.high) == (1.0, 99.0)
    assert card.postprocessing[kind]["method"] == "cellpose"
    assert card.imported is not None
    assert card.imported.framework == "cellpose3 3.1.1.3"
    assert card.imported.largest_difference <= 1e-5


@pytest.mark.cellpose
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch", [1, 3])
def test_heads_are_the_original_s_for_any_batch(brought: Path, name: str, batch: int) -> None:
    folder = brought / f"{name}-model"
    card = ModelCard.load(folder)
    tiles = np.moveaxis(np.load(brought / "tiles.npy"), 1, -1)[:batch]
    network = reference_of(folder).open(folder, card, device="cpu")
    found = np.concatenate(network(tiles[..., : len(card.input.channels)]), axis=-1)
    wanted = np.moveaxis(np.load(brought / f"{name}.npy"), 1, -1)[:batch]
    assert np.abs(wanted).max() > 0.1
    assert np.abs(found - wanted).max() <= 1e-5 * max(1, np.abs(wanted).max())


@pytest.mark.cellpose
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_heads_of_whole_images_are_those_of_its_run_net(brought: Path, engine: str) -> None:
    """However small or large they are, and whatever windows of them are predicted."""
    check_whole_images(brought / "cyto_tiny-model", brought / "whole.npz", engine)


@pytest.mark.cellpose
def test_an_image_is_segmented_with_it(brought: Path) -> None:
    """The weights are random: what is found counts for nothing, that it is found does."""
    from cellmill import segment

    image = tifffile.imread(sample_image()[0])[:300, :260]
    values = {"flow_threshold": 0.0, "cellprob_threshold": -10.0}
    found = segment(image, model=str(brought / "nuclei_tiny-model"), parameters=values)
    labels = found.labels["nuclear"]
    assert labels.shape == image.shape
    assert labels.max() > 0


@pytest.mark.cellpose
def test_a_size_model_that_is_not_there_is_one_line(
    brought: Path, cellpose_python: Path, tmp_path: Path
) -> None:
    out = ("--model", tmp_path / "model", "--record", tmp_path / "record.json")
    told = ("--source", brought / "cyto_tiny", "--size-model", tmp_path / "none.npy")
    with pytest.raises(CellmillError, match=r"none.npy': expected path or URI of a file, found no"):
        run(cellpose_python, "-m", "cellmill", "import_model", *told, *out)
    assert not (tmp_path / "model").exists()


@pytest.mark.cellpose
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("cpsam_like", "expected weights of Cellpose 3, found Cellpose 4's"),
        ("no_net", "expected weights of Cellpose 3, found 1 others"),
    ],
)
def test_other_networks_are_refused_in_one_line(
    brought: Path, cellpose_python: Path, tmp_path: Path, name: str, says: str
) -> None:
    out = ("--model", tmp_path / "model", "--record", tmp_path / "record.json")
    with pytest.raises(CellmillError, match=says):
        run(cellpose_python, "-m", "cellmill", "import_model", "--source", brought / name, *out)
    assert not (tmp_path / "model").exists()
