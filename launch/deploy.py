"""Deploys a network behind an endpoint: `make deploy MODEL=… TARGET=vertex|kubeflow|local`.

`vertex` uploads the model and deploys it; `kubeflow` uploads it and writes a KServe manifest;
`local` runs the server's container on this machine.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import requests
import yaml

from cellmill.arrays.files import write_text
from cellmill.errors import BadInput, CellmillError
from cellmill.io.digests import folder_digest
from cellmill.io.uris import scheme_of
from cellmill.models.card import ModelCard
from cellmill.models.fetch import copy_model, fetch_model
from cellmill.terminal import say
from components.container_images import read_lock
from launch.cloud import endpoints
from launch.cloud.buckets import Bucket
from launch.cloud.inference_service import inference_service
from launch.cloud.remote import released_images
from launch.cloud.vertex import VertexSettings
from launch.images.docker import docker, has_image, has_network
from launch.local.containers import mount
from launch.runs.command_line import SettingsParser
from launch.runs.models import model_of

TARGETS = ("local", "vertex", "kubeflow")
_SETTINGS = {
    "model": "name, path or URI of a model",
    "target": f"one of {', '.join(TARGETS)}; local by default",
    "name": "what clients call it; the card's name by default",
    "sources": "folders and prefixes of URIs that clients may read, with spaces between",
    "destinations": "folders and prefixes of URIs that clients may have written",
    "compartment": "kind of object; the card's default by default",
    "precision": "of the network's products",
    "batch_size": "tiles that go to the network together",
    "endpoint": "Vertex AI: dedicated (the default) or shared",
    "machine_type": f"Vertex AI: type of machine; {endpoints.MACHINE} by default",
    "replicas": "machines or pods: a number, or least-most; 1 by default",
    "resources": "Kubeflow: processors and memory of a pod, 4/8G by default",
    "project": "Vertex AI: the project's id",
    "region": "Vertex AI: the region",
    "pipeline_root": "gs://bucket/folder that the model is uploaded to",
    "service_account": "the account that the server runs as",
    "kms_key": "Vertex AI: the key that encrypts the model and the endpoint",
    "job_labels": "Vertex AI: key=value,… for bills and searches",
    "namespace": "Kubeflow: where the service is",
    "output": "Kubeflow: the manifest to write, inference-service.yaml by default",
    "port": "local: port to listen at; 8080 by default",
}
#: The server's own settings among them.
_OF_SERVER = ("name", "sources", "destinations", "compartment", "precision", "batch_size")
_READY_S = 600.0


def main(argv: Sequence[str] | None = None) -> int:
    """Deploy; return 0, or 2 with one line on stderr."""
    parser = SettingsParser("launch.deploy")
    parser.add_settings(_SETTINGS)
    try:
        given, _ = parser.given(argv)
        target = given["target"] or "local"
        if target not in TARGETS:
            raise BadInput("TARGET", expected=f"one of {', '.join(TARGETS)}", found=target)
        with tempfile.TemporaryDirectory(prefix="cellmill-deploy-") as place:
            deploy = {"local": _locally, "vertex": _on_vertex, "kubeflow": _on_kubeflow}[target]
            deploy(given, Path(place))
    except CellmillError as error:
        say(f"cellmill: {error}", to=sys.stderr)
        return 2
    return 0


def server_settings(given: Mapping[str, str]) -> dict[str, str]:
    """The server's settings among a user's, as its variables."""
    return {f"CELLMILL_SERVING_{key.upper()}": given[key] for key in _OF_SERVER if given.get(key)}


def _named(given: Mapping[str, str], card: ModelCard) -> str:
    """A name that Vertex AI, Kubernetes and Docker take."""
    name = re.sub(r"[^a-z0-9]+", "-", (given["name"] or card.name).lower())[:60].strip("-")
    if not re.match(r"[a-z]", name):
        raise BadInput("NAME", expected="letters, digits and hyphens", found=f"'{given['name']}'")
    return name


def _model_folder(given: Mapping[str, str], place: Path) -> tuple[Path, ModelCard]:
    """A model's folder as it is sent: card and network, nothing else."""
    fetched = fetch_model(model_of(given["model"]))
    if not fetched.card.heads:
        found = f"'{fetched.card.name}', which has none"
        raise BadInput("MODEL", expected="a model with a network", found=found)
    folder = place / "model"
    copy_model(fetched, folder)
    return folder, fetched.card


def _uploaded(given: Mapping[str, str], folder: Path) -> str:
    root = given["pipeline_root"]
    if not re.fullmatch(r"gs://[a-z0-9][a-z0-9._-]+(/.*)?", root):
        raise BadInput("PIPELINE_ROOT", expected="gs://bucket/folder", found=root or "nothing")
    return Bucket(root, given["project"]).upload(folder, folder_digest(folder))


def _image() -> str:
    """The server's image, as a cloud pulls it."""
    pushed = released_images()
    if "serving" not in pushed:
        expected = "in a registry (make push NAME=serving REGISTRY=…)"
        raise BadInput("image 'serving'", expected=expected, found="none")
    return pushed["serving"].reference


def _on_vertex(given: Mapping[str, str], place: Path) -> None:
    settings = VertexSettings.of(given)
    kind = given["endpoint"] or "dedicated"
    if kind not in ("dedicated", "shared"):
        raise BadInput("ENDPOINT", expected="dedicated or shared", found=kind)
    replicas = endpoints.replicas_of(given["replicas"])
    image = _image()
    folder, card = _model_folder(given, place)
    name, url = endpoints.deploy(
        endpoints.Deployment(
            _named(given, card),
            _uploaded(given, folder),
            image,
            {**server_settings(given), "CELLMILL_SERVING_ENDPOINT": kind},
            "shared" if kind == "shared" else "dedicated",
            given["machine_type"] or endpoints.MACHINE,
            replicas,
        ),
        settings,
    )
    say(name)
    say(url)


def _on_kubeflow(given: Mapping[str, str], place: Path) -> None:
    replicas = endpoints.replicas_of(given["replicas"])
    found = re.fullmatch(r"(\d+)/(\d+)G", given["resources"] or "4/8G")
    if not found:
        raise BadInput("RESOURCES", expected="processors/memory, 4/8G", found=given["resources"])
    image = _image()
    folder, card = _model_folder(given, place)
    manifest = inference_service(
        _named(given, card),
        given["namespace"],
        image,
        _uploaded(given, folder),
        server_settings(given),
        service_account=given["service_account"],
        replicas=replicas,
        cpus=found[1],
        memory=f"{found[2]}Gi",
    )
    output = Path(given["output"] or "inference-service.yaml")
    write_text(output, yaml.safe_dump(manifest, sort_keys=False))
    say(f"{output}: kubectl apply -f {output}")


def _locally(given: Mapping[str, str], place: Path) -> None:
    """Start the server's container and wait until it is ready."""
    image = read_lock()["serving"].reference
    port = given["port"] or "8080"
    if not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise BadInput("PORT", expected="1 to 65535", found=port)
    if not has_image(image):
        expected = "on this machine (make build-images NAME=serving)"
        raise BadInput(f"image '{image}'", expected=expected, found="none")
    fetched = fetch_model(model_of(given["model"]))
    name = f"cellmill-serving-{_named(given, fetched.card)}"
    # An engine without a bridge (images/sealed.sh) has the machine's network or none.
    is_bridged = has_network("bridge")
    variables = {
        **server_settings(given),
        "CELLMILL_SERVING_MODEL": "/mnt/models",
        "CELLMILL_SERVING_PORT": "8080" if is_bridged else port,
        "CELLMILL_SERVING_HOST": "0.0.0.0" if is_bridged else "127.0.0.1",
    }
    command = ["run", "--detach", "--pull=never", "--init", "--name", name]
    command += ["--restart=on-failure:5", "--read-only", "--tmpfs=/tmp:mode=1777"]
    command += ["--cap-drop=ALL", "--security-opt=no-new-privileges"]
    command += ["--security-opt=label=disable"]
    command += [f"--publish=127.0.0.1:{port}:8080"] if is_bridged else ["--network=host"]
    command += [mount(_kept(fetched.folder, fetched.card), Path("/mnt/models"), "readonly")]
    command += [mount(path, path, "readonly") for path in _local(given["sources"])]
    command += [f"--env={key}={value}" for key, value in variables.items()]
    docker(*command, image)
    url = f"http://127.0.0.1:{port}"
    _wait(name, url)
    say(f"{url}/v2/models/{given['name'] or fetched.card.name}/infer")
    say(f"stop it: docker rm --force {name}")


def _kept(folder: Path, card: ModelCard) -> Path:
    """A model's folder that a container may read; with its card, which may lie elsewhere."""
    if not (folder / "model.json").is_file():
        found = f"model '{card.name}', whose card lies elsewhere"
        raise BadInput("MODEL", expected="a model's folder (cellmill fetch_model)", found=found)
    return folder.resolve()


def _local(sources: str) -> list[Path]:
    return [Path(s).resolve() for s in sources.split() if scheme_of(s) == "" and Path(s).exists()]


def _wait(name: str, url: str) -> None:
    end = time.monotonic() + _READY_S
    while time.monotonic() < end:
        try:
            if requests.get(f"{url}/v2/health/ready", timeout=10).status_code == 200:
                return
        except requests.RequestException:
            pass
        if docker("inspect", "--format", "{{.State.Running}}", name) != "true":
            raise CellmillError(f"container '{name}': it ended (docker logs {name} says why)")
        time.sleep(0.5)
    raise CellmillError(f"container '{name}': expected ready within {_READY_S:g} s, found not")


if __name__ == "__main__":
    raise SystemExit(main())
