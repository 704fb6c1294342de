"""The wheel alone, in an empty environment: it imports, runs, and carries what it must."""

import json
import zipfile

import pytest

from cellmill.datasets import samples
from cellmill.extras import EXTRAS
from cellmill.models.fetch import folder_digest
from cellmill.models.shipped import shipped_models
from launch.compiling.compiled import component_names, pipeline_names
from tests.wheel.environments import run, start

IMPORT_ALL = """
import importlib, pkgutil, sys
import cellmill
from cellmill.extras import EXTRAS
assert cellmill.__file__.startswith(sys.prefix), cellmill.__file__
for module in pkgutil.walk_packages(cellmill.__path__, "cellmill."):
    importlib.import_module(module.name)
    print(module.name)
assert not set(EXTRAS) & set(sys.modules), set(EXTRAS) & set(sys.modules)
"""
#: Commands that need more than the base installation: what they need it for, and the extra.
PREDICT = "predict --preprocessed preprocessed --model model --predictions predictions"
NEEDING = {
    f"{PREDICT} --engine tensorflow": ("engine tensorflow", "tensorflow"),
    "train_segmenter --images images --labels truth --model trained": ("training", "tensorflow"),
    "tiff_to_npz --items gs://a/b.tif --images i --truth t": ("'gs://a/b.tif'", "cloud"),
    "tiff_to_npz --items s3://a/b.tif --images i --truth t": ("'s3://a/b.tif'", "cloud"),
}


def test_every_module_imports_and_asks_for_no_extra(environments, tmp_path):
    python = environments.get() / "bin" / "python"
    imported = run(python, "-c", IMPORT_ALL, cwd=tmp_path).splitlines()
    assert len(imported) > 150
    assert {"cellmill.stages.postprocess", "cellmill.training.fit"} <= set(imported)


@pytest.mark.parametrize("extra", sorted(set(EXTRAS.values())))
def test_an_extra_installs_what_it_is_named_for(environments, extra, tmp_path):
    packages = [package for package, its in EXTRAS.items() if its == extra]
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\n"
    run(environments.get(extra) / "bin" / "python", "-c", code, *packages, cwd=tmp_path)


def test_the_extra_vertex_installs_its_clients(environments, tmp_path):
    """Nothing of cellmill imports them; whoever compiles pipelines for Vertex does."""
    code = (
        "from importlib.util import find_spec\n"
        "assert find_spec('google.cloud.aiplatform') and find_spec('kfp')\n"
        "import google_cloud_pipeline_components\n"
    )
    run(environments.get("vertex") / "bin" / "python", "-c", code, cwd=tmp_path)


@pytest.fixture(scope="module")
def batches(environments, tmp_path_factory):
    """Make batches of two images by the base installation, and a model, for stages to start on."""
    folder = tmp_path_factory.mktemp("batches")
    image, truth = samples.sample_image()
    items = [json.dumps({"image": str(image), "truth": str(truth), "name": n}) for n in "ab"]
    command = environments.get() / "bin" / "cellmill"
    outputs = ("--images", "images", "--truth", "truth")
    run(command, "tiff_to_npz", "--items", *items, *outputs, cwd=folder)
    run(command, "fetch-model", "--model", "model", cwd=folder)
    inputs = ("--images", "images", "--model", "model")
    run(command, "preprocess", *inputs, "--preprocessed", "preprocessed", cwd=folder)
    return folder


@pytest.mark.parametrize("command", NEEDING)
def test_what_needs_an_extra_says_so_in_one_line(environments, batches, command):
    before = sorted(batches.iterdir())
    done = start(environments.get() / "bin" / "cellmill", *command.split(), cwd=batches)
    what, extra = NEEDING[command]
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"cellmill {command.split()[0]}: {what}: expected ")
    assert f"(pip install 'cellmill[{extra}]')" in line
    assert done.returncode == 2
    assert not done.stdout
    manifests = {p for p in batches.iterdir() if (p / "manifest.json").exists()}
    assert manifests <= set(before), "output was left"


def test_the_catalogue_loads_every_component_and_pipeline(environments, tmp_path):
    code = (
        "import cellmill.catalog as c\n"
        "for n in c.components(): print('component', n, c.component(n).name)\n"
        "for n in c.pipelines(): print('pipeline', n, c.pipeline(n).name)\n"
    )
    python = environments.get("pipelines") / "bin" / "python"
    lines = run(python, "-c", code, cwd=tmp_path).splitlines()
    names = [line.split()[1] for line in lines]
    assert names == component_names() + pipeline_names()
    assert all(n.replace("_", "-") == line.split()[2] for n, line in zip(names, lines, strict=True))


def test_a_component_that_is_not_there_is_refused(environments, tmp_path):
    code = (
        "import cellmill.catalog as c\n"
        "from cellmill.errors import BadInput\n"
        "try: c.component('nothing')\n"
        "except BadInput as error: print(error)\n"
    )
    python = environments.get() / "bin" / "python"
    assert "component 'nothing': expected one of" in run(python, "-c", code, cwd=tmp_path)


def test_the_command_runs_stages(environments, batches):
    assert "tiff_to_npz" in run(environments.get() / "bin" / "cellmill", "--help", cwd=batches)
    assert {"model.json", "saved_model.pb"} <= {p.name for p in (batches / "model").iterdir()}


def test_every_model_that_ships_is_in_the_wheel(environments, tmp_path):
    code = (
        "from cellmill.models.fetch import folder_digest\n"
        "from cellmill.models.shipped import shipped_models\n"
        "print({name: folder_digest(f) for name, f in shipped_models().items()})\n"
    )
    here = {name: folder_digest(folder) for name, folder in shipped_models().items()}
    assert run(environments.get() / "bin" / "python", "-c", code, cwd=tmp_path).strip() == str(here)


def test_nothing_but_the_package_is_in_the_wheel(environments):
    with zipfile.ZipFile(environments.wheel()) as wheel:
        names = wheel.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {
        "cellmill",
        "napari_cellmill",
    }
    assert {"cellmill/py.typed", "cellmill/compiled/components/predict/component.yaml"} <= {*names}
    assert "napari_cellmill/napari.yaml" in names
