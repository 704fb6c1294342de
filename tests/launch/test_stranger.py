"""A stranger's pipeline: our `predict` between two components that know nothing of cellmill.

One is a container that writes a batch as its format is documented, with numpy and json; the other
is one of KFP's lightweight Python components. Ours is loaded from its YAML, by file and by URL.
"""

import functools
import http.server
import json
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import yaml
from kfp import compiler, dsl
from kfp.components import load_component_from_file, load_component_from_url

from launch import ROOT
from launch.compiling.caching import placed
from launch.compiling.lint_ir import lint
from launch.local import running as local
from launch.local.running import RunFailed, run_pipeline
from launch.local.task_handler import Start, in_environment
from tests.launch.compiling.test_caching import PINNED

FOREIGN = "registry.example/stranger/tools@sha256:" + "9" * 64
PREPARE = """
import json, os, sys
import numpy as np
asked = json.loads(sys.argv[1])
output = asked["outputs"]["artifacts"]["images"]["artifacts"][0]
folder, side = output["uri"], int(asked["inputs"]["parameterValues"]["side"])
os.makedirs(folder)
y, x = np.mgrid[:side, :side].astype(np.float32)
image = np.sin(y / 9) * np.sin(x / 9)
np.savez(os.path.join(folder, "field.npz"), image=image[..., None])
arrays = {"image": {"shape": [side, side, 1], "dtype": "float32", "axes": "YXC", "crc32": 0}}
entry = {"name": "field", "arrays": arrays, "mpp": [0.5, 0.5], "channels": ["nuclei"]}
manifest = {"format": "cellmill-batch/1", "attributes": {}, "entries": [entry]}
with open(os.path.join(folder, "manifest.json"), "w") as file:
    json.dump(manifest, file)
with open(asked["outputs"]["outputFile"], "w") as file:
    json.dump({"artifacts": {"images": {"artifacts": [output]}}}, file)
"""


@dsl.container_component
def prepare(images: dsl.Output[dsl.Dataset], side: int):
    """What a stranger has: a container that makes images."""
    return dsl.ContainerSpec(
        image=FOREIGN,
        command=["python3", "-c", PREPARE],
        args=[dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER],
    )


@dsl.component(base_image=FOREIGN, install_kfp_package=False)
def describe(predictions: dsl.Input[dsl.Dataset], table: dsl.Output[dsl.Dataset]) -> int:
    """What a stranger does with predictions."""
    import json
    import pathlib

    import numpy as np

    manifest = json.loads(pathlib.Path(predictions.path, "manifest.json").read_text())
    rows = {}
    for entry in manifest["entries"]:
        with np.load(f"{predictions.path}/{entry['name']}.npz") as arrays:
            rows[entry["name"]] = {key: list(arrays[key].shape) for key in arrays}
    pathlib.Path(table.path).write_text(json.dumps(rows))
    return len(rows)


def strangers(predict, fetch_model):
    """The stranger's pipeline."""

    @dsl.pipeline(name="strangers")
    def pipeline(side: int = 300) -> dsl.Dataset:
        made = prepare(side=side)
        model = fetch_model()
        predicted = predict(
            preprocessed=made.outputs["images"], model=model.outputs["model"], batch_size=2
        )
        return describe(predictions=predicted.outputs["predictions"]).outputs["table"]

    return pipeline


@pytest.fixture(scope="module")
def served():
    """The components' files on a server of this machine."""
    handler = functools.partial(Quiet, directory=str(ROOT / "components"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def by_file(name, folder=ROOT / "components"):
    return load_component_from_file(str(folder / name / "component.yaml"))


def compiled(path, predict, fetch_model):
    compiler.Compiler().compile(strangers(predict, fetch_model), str(path))
    return path


def test_by_file_and_by_url_it_is_the_same_pipeline(tmp_path, served):
    by_url = [
        load_component_from_url(f"{served}/{name}/component.yaml")
        for name in ("predict", "fetch_model")
    ]
    one = compiled(tmp_path / "file.yaml", by_file("predict"), by_file("fetch_model"))
    two = compiled(tmp_path / "url.yaml", *by_url)
    assert one.read_text() == two.read_text()
    spec = yaml.safe_load(one.read_text())
    ours = yaml.safe_load((ROOT / "components/predict/component.yaml").read_text())
    for side in ("inputDefinitions", "outputDefinitions"):
        for kind, named in ours["components"]["comp-predict"][side].items():
            assert spec["components"]["comp-predict"][side][kind].keys() == named.keys()


def test_with_pinned_components_the_linter_finds_nothing(tmp_path):
    for name in ("predict", "fetch_model"):
        text = (ROOT / "components" / name / "component.yaml").read_text()
        (tmp_path / name).mkdir()
        (tmp_path / name / "component.yaml").write_text(placed(text, PINNED))
    components = [by_file(name, tmp_path) for name in ("predict", "fetch_model")]
    path = compiled(tmp_path / "mine.yaml", *components)
    assert list(lint(path.read_text(), release=True)) == []
    images = {
        e["container"]["image"]
        for e in yaml.safe_load(path.read_text())["deploymentSpec"]["executors"].values()
    }
    assert all("@sha256:" in image for image in images)
    assert FOREIGN in images


@pytest.mark.tensorflow
@pytest.mark.pipeline
def test_it_runs_its_own_commands_beside_ours(tmp_path, monkeypatch):
    """Foreign images are stood in for by this environment; ours run in theirs, as ever."""

    def start(task):
        if task.image != FOREIGN:
            return in_environment(task)
        command = [sys.executable if part == "python3" else part for part in task.command]
        path = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(tmp_path)}
        return Start(command, path)

    monkeypatch.setattr(local, "_starter", lambda *arguments: start)
    spec = compiled(tmp_path / "mine.yaml", by_file("predict"), by_file("fetch_model"))
    outputs = run_pipeline(spec, {"side": 300}, tmp_path / "artifacts", tmp_path / "logs")
    with open(outputs["Output"].path) as file:
        table = json.load(file)
    assert table.keys() == {"field"}
    for shape in table["field"].values():
        assert shape[:2] == [300, 300]
    assert np.prod(next(iter(table["field"].values()))) >= 300 * 300
    assert (tmp_path / "logs" / "tools.log").exists()


def test_without_docker_a_foreign_image_is_refused_in_one_line(tmp_path):
    spec = compiled(tmp_path / "mine.yaml", by_file("predict"), by_file("fetch_model"))
    with pytest.raises(Exception, match="to run a foreign image use RUNNER=docker") as caught:
        run_pipeline(spec, {}, tmp_path / "artifacts", tmp_path / "logs")
    assert not isinstance(caught.value, RunFailed)
    assert "\n" not in str(caught.value)
