"""A model that another framework publishes is its name: fetched, brought in, segmented with."""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import pytest
import tifffile

from cellmill import fetch_model, segment
from cellmill.datasets.samples import sample_image
from cellmill.errors import BadInput, CellmillError
from cellmill.models import published as publishing
from cellmill.models.importing.bringing import installed_python, named_model
from cellmill.models.importing.frameworks import find_framework
from cellmill.models.published import MIRROR_VARIABLE
from launch.run import main
from tests.conformance.conformance_model import run
from tests.models.publisher import publisher

#: The weights are random: what is found counts for nothing, that it is found does.
ANYTHING = {"flow_threshold": 0.0, "cellprob_threshold": -10.0}


def test_an_interpreter_is_named_or_this_one_or_what_make_made(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cellpose, toy = find_framework("cellpose3"), find_framework("stardist")
    with pytest.raises(BadInput, match=r"^framework Cellpose 3: expected a Python that has"):
        installed_python(cellpose)
    folder = tmp_path / "cellmill" / "environments" / "cellpose3-1"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    with pytest.raises(BadInput):  # it is not whole
        installed_python(cellpose)
    (folder / "complete").touch()
    assert installed_python(cellpose) == folder / "bin" / "python"
    monkeypatch.setenv("CELLMILL_STARDIST_PYTHON", sys.executable)
    assert installed_python(toy) == Path(sys.executable)
    monkeypatch.setenv("CELLMILL_STARDIST_PYTHON", str(tmp_path / "none"))
    with pytest.raises(BadInput, match=r"^CELLMILL_STARDIST_PYTHON: expected a Python"):
        installed_python(toy)


@pytest.fixture(scope="module")
def weights(cellpose_python: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Have cellpose write weights."""
    folder = tmp_path_factory.mktemp("weights")
    run(cellpose_python, Path(__file__).with_name("write_cellpose.py"), folder)
    return (folder / "nuclei_tiny").read_bytes()


@pytest.mark.cellpose
def test_a_cellpose_network_by_its_name(weights, cellpose_python, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CELLMILL_CELLPOSE3_PYTHON", str(cellpose_python))
    monkeypatch.setenv("CELLPOSE_LOCAL_MODELS_PATH", str(tmp_path))
    image = tifffile.imread(sample_image()[0])[:200, :160]
    with publisher({"/cellpose/nucleitorch_0": weights}) as state:
        monkeypatch.setenv(MIRROR_VARIABLE, state.url)
        found = segment(image, model="cellpose:nuclei", parameters=ANYTHING)
        assert found.facts.model == "cellpose:nuclei"
        assert found.label_image.shape == image.shape
        assert found.label_image.max() > 0
    # It is all here now: no server, no cellpose.
    monkeypatch.setenv("CELLMILL_CELLPOSE3_PYTHON", str(tmp_path / "none"))
    again = fetch_model("Cellpose:Nuclei")
    assert again.card.imported.framework == "cellpose3 3.1.1.3"
    assert again.card.imported.largest_difference <= 1e-5
    assert again.card.imported.source == "sha256:" + hashlib.sha256(weights).hexdigest()
    assert again.origin == "https://www.cellpose.org/models/nucleitorch_0"
    with pytest.raises(BadInput, match=r"^model 'cellpose:nuclei': expected sha256:0"):
        fetch_model("cellpose:nuclei", digest="sha256:" + "0" * 64)


@pytest.mark.cellpose
@pytest.mark.pipeline
def test_run_and_run_slide_take_the_name_and_give_the_same_labels(
    weights, cellpose_python, tmp_path, monkeypatch
):
    cache = tmp_path / "cache" / "cellmill"
    cache.mkdir(parents=True)
    cache.joinpath("environments").symlink_to(Path.home() / ".cache" / "cellmill" / "environments")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    mirror = tmp_path / "mirror" / "cellpose"
    mirror.mkdir(parents=True)
    (mirror / "nucleitorch_0").write_bytes(weights)
    monkeypatch.setenv(MIRROR_VARIABLE, str(mirror.parent))
    monkeypatch.setenv("CELLPOSE_LOCAL_MODELS_PATH", str(tmp_path))
    tifffile.imwrite(tmp_path / "a.tif", tifffile.imread(sample_image()[0])[:300, :260])
    labels = []
    for pipeline in ("deepcell_segmentation", "slide_segmentation"):
        out = tmp_path / pipeline
        arguments = ["--image", str(tmp_path / "a.tif"), "--model", "cellpose:nuclei"]
        arguments += ["--parameters", json.dumps(ANYTHING), "--output", str(out)]
        assert main([pipeline, *arguments]) == 0
        labels.append(tifffile.imread(out / "labels.tif"))
    assert labels[0].max() > 0
    assert (labels[0] == labels[1]).all()


@pytest.mark.stardist
def test_a_stardist_network_by_its_name(stardist_python, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CELLMILL_STARDIST_PYTHON", str(stardist_python))
    source = tmp_path / "source"
    source.mkdir()
    script = Path(__file__).parents[2] / "conformance" / "run_stardist.py"
    run(stardist_python, script, "network", source)
    (source / "predicted.npz").unlink()
    mirror = tmp_path / "mirror"
    archive = Path(shutil.make_archive(str(mirror / "stardist" / "2D_demo"), "zip", source))
    monkeypatch.setenv(MIRROR_VARIABLE, str(mirror))
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setitem(publishing._STARDIST_SHA256, "2D_demo", digest)
    card = fetch_model("stardist:2D_demo").card
    assert (card.name, card.postprocessing["nuclear"]["method"]) == ("stardist:2D_demo", "stardist")
    assert card.imported.largest_difference <= 1e-5


@pytest.mark.cellpose
def test_what_its_framework_refuses_is_one_line(cellpose_python, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CELLMILL_CELLPOSE3_PYTHON", str(cellpose_python))
    monkeypatch.setenv("CELLPOSE_LOCAL_MODELS_PATH", str(tmp_path))
    (tmp_path / "cyto3").write_bytes(b"no weights")
    with pytest.raises(CellmillError) as caught:
        named_model("cellpose:cyto3")
    assert "expected Cellpose 3: a file of weights" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not [*(tmp_path / "cache" / "cellmill" / "imported").glob("[!.]*")]
