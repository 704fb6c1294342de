"""The wheel, in an environment of its own, gives the command, the catalogue and the model."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from uv import find_uv_bin

from cellmill.models.fetch import folder_digest
from cellmill.models.shipped import shipped_models
from launch.compile import component_names, pipeline_names

ROOT = Path(__file__).parents[1]


def run(*arguments, **options):
    done = subprocess.run(
        [str(a) for a in arguments], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Install the wheel as built, with what `make setup` installs, away from the clone."""
    folder = tmp_path_factory.mktemp("wheel")
    run(
        *(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder),
        ROOT,
        cwd=folder,
    )
    (wheel,) = folder.glob("*.whl")
    uv, made = find_uv_bin(), folder / "venv" / "bin" / "python"
    run(uv, "venv", "--quiet", "--python", sys.executable, folder / "venv")
    # All but uv, which pip installed, is in uv's cache since `make test`: this asks no index.
    lock = folder / "requirements.lock"
    text = (ROOT / "requirements.lock").read_text()
    lock.write_text(re.sub(r"(?m)^uv==.*\n(?:    .*\n)*", "", text))
    run(uv, "pip", "sync", "-q", "--offline", "--require-hashes", "--python", made, lock)
    run(uv, "pip", "install", "-q", "--offline", "--no-deps", "--python", made, wheel)
    return made


def test_the_catalogue_loads_every_component_and_pipeline(python, tmp_path):
    code = (
        "import cellmill.catalog as c\n"
        "for n in c.components(): print('component', n, c.component(n).name)\n"
        "for n in c.pipelines(): print('pipeline', n, c.pipeline(n).name)\n"
    )
    lines = run(python, "-c", code, cwd=tmp_path).splitlines()
    names = [line.split()[1] for line in lines]
    assert names == component_names() + pipeline_names()
    assert all(n.replace("_", "-") == line.split()[2] for n, line in zip(names, lines, strict=True))


def test_a_name_that_is_not_there_is_refused(python, tmp_path):
    code = (
        "import cellmill.catalog as c\n"
        "from cellmill.errors import BadInput\n"
        "try: c.component('nothing')\n"
        "except BadInput as error: print(error)\n"
    )
    assert "component 'nothing': expected one of" in run(python, "-c", code, cwd=tmp_path)


def test_the_command_runs_stages(python, tmp_path):
    command = python.parent / "cellmill"
    assert "tiff_to_npz" in run(command, "--help", cwd=tmp_path)
    run(command, "fetch-model", "--model", tmp_path / "model", cwd=tmp_path)
    assert {"model.json", "saved_model.pb"} <= {p.name for p in (tmp_path / "model").iterdir()}


def test_every_model_that_ships_is_in_the_wheel(python, tmp_path):
    code = (
        "from cellmill.models.fetch import folder_digest\n"
        "from cellmill.models.shipped import shipped_models\n"
        "print({name: folder_digest(f) for name, f in shipped_models().items()})\n"
    )
    here = {name: folder_digest(folder) for name, folder in shipped_models().items()}
    assert run(python, "-c", code, cwd=tmp_path).strip() == str(here)


def test_nothing_but_the_package_is_installed(python, tmp_path):
    code = "import importlib.metadata as m; print(m.distribution('cellmill').files)"
    assert "PackagePath('launch" not in run(python, "-c", code, cwd=tmp_path)
    assert "PackagePath('tests" not in run(python, "-c", code, cwd=tmp_path)
