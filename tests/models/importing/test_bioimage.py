"""bioimage.io packages come in if they give what their own test wants, and are refused by name."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from cellmill import fetch_model, segment
from cellmill.errors import BadInput, CellmillError
from cellmill.inference.proofs import reference_of
from cellmill.models.importing.bioimage_package import Step, description_in, read_package
from cellmill.models.importing.frameworks import framework_of, is_one_s_own
from cellmill.models.published import MIRROR_VARIABLE, published
from launch.import_model import main as import_model
from tests.conformance.conformance_model import run

SCRIPT = Path(__file__).with_name("write_bioimage.py")
#: A description with nothing before and behind the network; `made` adds to it.
PLAIN = {
    "name": "plain",
    "inputs": [{"axes": "bcyx"}],
    "outputs": [{"axes": "bcyx"}],
    "test_inputs": ["in.npy"],
    "test_outputs": ["out.npy"],
    "weights": {"onnx": {"source": "weights.onnx"}},
}


@pytest.fixture
def made(tmp_path):
    """Write a package without a network, its description changed."""

    def write(before=(), behind=(), **changed):
        folder = tmp_path / "package"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        said = json.loads(json.dumps({**PLAIN, **changed}))
        if "inputs" not in changed:
            said["inputs"][0]["preprocessing"] = [*before]
            said["outputs"][0]["postprocessing"] = [*behind]
        (folder / "rdf.yaml").write_text(yaml.safe_dump(said))
        for name in ("in.npy", "out.npy"):
            np.save(folder / name, np.arange(8 * 16, dtype=np.float32).reshape(1, 1, 8, 16))
        return folder

    return write


def test_a_package_is_known_by_its_description(made, tmp_path):
    folder = made()
    archive = Path(shutil.make_archive(str(tmp_path / "zipped"), "zip", folder))
    for source in (folder, archive):
        assert b"onnx" in description_in(source)
        assert is_one_s_own(source)
        assert framework_of(source).name == "bioimage_onnx"
    folder = made(weights={"keras_hdf5": {"source": "weights.h5"}})
    (folder / "rdf.yaml").rename(folder / "bioimageio.yaml")
    assert framework_of(folder).name == "bioimage_keras"
    folder = made(weights={"pytorch_state_dict": {"source": "weights.pt"}})
    assert not is_one_s_own(folder)


def test_axes_and_steps_are_read_in_either_version(made):
    steps = [
        {"name": "scale_range", "kwargs": {"min_percentile": 0, "max_percentile": 100}},
        {"name": "zero_mean_unit_variance", "kwargs": {"mode": "fixed", "mean": 1, "std": 2}},
    ]
    old = read_package(made(steps, [{"name": "sigmoid"}]))
    space = [{"type": "space", "id": "y"}, {"type": "space", "id": "x"}]
    axes = [{"type": "batch"}, {"type": "channel"}, *space]
    fixed = {"id": "fixed_zero_mean_unit_variance", "kwargs": {"mean": 1, "std": 2 + 1e-6}}
    taken = {"axes": axes, "test_tensor": {"source": "in.npy"}}
    taken["preprocessing"] = [{"id": "ensure_dtype", "kwargs": {}}, {**steps[0], "id": ""}, fixed]
    given = {"axes": axes, "test_tensor": {"source": "out.npy"}}
    given["postprocessing"] = [{"id": "sigmoid"}]
    new = read_package(made(inputs=[taken], outputs=[given]))
    for package in (old, new):
        assert package.axes == ("bcyx", "bcyx")
        assert (package.preprocessing.low, package.preprocessing.high) == (0, 100)
        assert package.given.shape == (1, 8, 16, 1)
        assert (package.given.min(), package.given.max()) == (0, pytest.approx(1))
        np.testing.assert_allclose(package.before[0](np.full((1, 1, 1, 1), 5.0)), 2, atol=1e-5)
        assert package.behind == ((Step("sigmoid"),),)


@pytest.mark.parametrize(
    ("before", "says"),
    [
        ({"name": "scale_mean_variance"}, "step scale_mean_variance of package 'package': expec"),
        ({"name": "zero_mean_unit_variance", "kwargs": {"mode": "per_sample"}}, "step zero_mean_u"),
        ({"name": "scale_range", "kwargs": {"mode": "per_dataset"}}, "found mode per_dataset"),
        ({"name": "scale_range", "kwargs": {"axes": "cyx"}}, "found percentiles of all channels"),
        ({"name": "binarize", "kwargs": {"threshold": 1}}, "found binarize"),
    ],
)
def test_a_step_that_there_is_not_is_named(made, before, says):
    with pytest.raises(BadInput) as caught:
        read_package(made([before]))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"inputs": [{"axes": "bczyx"}]}, "expected b, c, y, x, b first, found bczyx"),
        ({"inputs": [{"axes": "bcyx"}] * 2}, "expected a model of one input"),
        ({"test_inputs": ["../in.npy"]}, "expected a file of the package, found '../in.npy'"),
        ({"test_inputs": []}, "expected a model of one input, with a test"),
    ],
)
def test_what_is_no_such_package_is_one_line(made, changed, says):
    with pytest.raises(BadInput) as caught:
        read_package(made(**changed))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_package_of_bioimage_io_has_a_name():
    found = published("bioimage:Affable-Shark")
    assert found.name == "bioimage:affable-shark"
    assert found.address.endswith("/affable-shark/create-zip-file")
    with pytest.raises(BadInput, match=r"expected one of bioimage: and the name of a package"):
        published("bioimage:../x")


def _package(python, form, folder):
    run(python, SCRIPT, form, folder)
    said = json.loads((folder / "rdf.json").read_text())
    (folder / "package" / "rdf.yaml").write_text(yaml.safe_dump(said))
    return folder / "package"


def _gives_its_test(model: Path, package: Path) -> None:
    """The portable network alone, on the normalised test, gives what numpy gave."""
    found = fetch_model(str(model))
    assert found.card.imported.largest_difference <= 1e-5
    assert found.card.imported.tiles == "2 own"
    assert (found.card.preprocessing.low, found.card.preprocessing.high) == (1, 99.8)
    read = read_package(package)
    network = reference_of(found.folder).open(found.folder, found.card, device="cpu")
    (maps,) = network(np.concatenate([read.given] * 3))
    np.testing.assert_allclose(maps[2], read.wanted[0][0], atol=1e-4)
    assert np.ptp(maps) > 0.1


@pytest.mark.cellpose
def test_a_package_with_onnx_weights(cellpose_python, tmp_path, monkeypatch):
    package = _package(cellpose_python, "onnx", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CELLMILL_BIOIMAGE_ONNX_PYTHON", str(cellpose_python))
    mirror = tmp_path / "mirror" / "bioimage"
    shutil.make_archive(str(mirror / "affable-shark"), "zip", package)
    monkeypatch.setenv(MIRROR_VARIABLE, str(mirror.parent))
    image = np.load(package / "in.npy")[0, 0]
    found = segment(image, model="bioimage:affable-shark")
    assert (found.facts.model, found.label_image.shape) == ("bioimage:affable-shark", image.shape)
    card = fetch_model("bioimage:affable-shark").card
    assert (card.licence, card.default_compartment) == ("MIT", "nuclear")
    _gives_its_test(fetch_model("bioimage:affable-shark").folder, package)
    # Other weights, or another test, and it does not come in.
    wrong = np.load(package / "out.npy")
    np.save(package / "out.npy", wrong + 0.01)
    with pytest.raises(CellmillError, match=r"expected its outputs to 0\.001, found 100\.0% of"):
        fetch_model(str(package))
    with (package / "weights.onnx").open("ab") as file:
        file.write(b"\0")
    digest = hashlib.sha256((package / "weights.onnx").read_bytes()).hexdigest()
    with pytest.raises(CellmillError, match=f"expected sha256 .*, found {digest}"):
        fetch_model(str(package))


@pytest.mark.stardist
def test_a_package_with_keras_weights_by_make_import_model(stardist_python, tmp_path):
    package = _package(stardist_python, "keras", tmp_path)
    archive = shutil.make_archive(str(tmp_path / "zipped"), "zip", package)
    assert import_model([archive, "--output", str(tmp_path / "model")]) == 0
    _gives_its_test(tmp_path / "model", package)
    assert fetch_model(str(tmp_path / "model")).card.name == "Nuclei of a test"
