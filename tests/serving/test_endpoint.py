"""`make deploy`: the real clients, against stand-ins that run what was deployed."""

import base64
import json

import numpy as np
import pytest
import yaml

from components.container_images import ContainerImage
from launch import deploy
from launch.cloud.endpoints import replicas_of
from tests.launch.cloud import cloud_stand_ins
from tests.launch.cloud.cloud_runs import GIVEN, IMAGES
from tests.serving.endpoint_stand_in import Endpoints
from tests.serving.servers import discs

IMAGE = IMAGES["serving"]


@pytest.fixture
def bucket(monkeypatch):
    with cloud_stand_ins.Bucket() as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        monkeypatch.setattr(deploy, "released_images", lambda: IMAGES)
        yield server


@pytest.fixture
def vertex(bucket):
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform

    with Endpoints(environ={"STORAGE_EMULATOR_HOST": bucket.url}) as server:
        aiplatform.init(
            api_endpoint=server.url, api_transport="rest", credentials=AnonymousCredentials()
        )
        yield server
        aiplatform.initializer.global_config.__init__()


def flags(**given):
    return [part for key, value in given.items() for part in (f"--{key.replace('_', '-')}", value)]


ON_VERTEX = {key: GIVEN[key] for key in ("project", "region", "pipeline_root", "service_account")}


def test_what_is_deployed_on_vertex_answers_its_client(vertex, bucket, segmenter, capsys):
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform_v1

    given = flags(model="cellmill-nuclei", target="vertex", endpoint="shared", **ON_VERTEX)
    given += flags(replicas="1-3", job_labels="team=imaging")
    assert deploy.main(given) == 0
    endpoint, url = capsys.readouterr().out.split()
    assert url == f"https://europe-west4-aiplatform.googleapis.com/v1/{endpoint}:predict"
    ((_, _, _, body),) = vertex.sent("POST", "models:upload$")
    model = json.loads(body)["model"]
    assert model["containerSpec"]["imageUri"] == IMAGE.reference
    assert model["artifactUri"].startswith("gs://some-bucket/runs/inputs/sha256-")
    ((_, _, _, body),) = vertex.sent("POST", "deployModel$")
    deployed = json.loads(body)["deployedModel"]
    assert deployed["serviceAccount"] == GIVEN["service_account"]
    assert deployed["dedicatedResources"]["maxReplicaCount"] == 3

    client = aiplatform_v1.PredictionServiceClient(
        transport="rest",
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": vertex.url},
    )
    image = discs()
    pixels = {"shape": list(image.shape), "dtype": "uint16"}
    pixels["b64"] = base64.b64encode(image.tobytes()).decode()
    answer = client.predict(
        endpoint=endpoint, instances=[{"image": pixels}], parameters={"mpp": 0.65}
    )
    (found,) = [dict(each) for each in answer.predictions]
    labels = np.frombuffer(base64.b64decode(found["nuclear"]["b64"]), "<i4").reshape(image.shape)
    assert np.array_equal(labels, segmenter(image, mpp=0.65).label_image)

    # Deployed anew, it is the same endpoint, and what it served before is gone.
    assert deploy.main(given) == 0
    assert capsys.readouterr().out.split()[0] == endpoint
    assert len(vertex.resources[endpoint]["deployedModels"]) == len(vertex.servers) == 1
    names = [name for _, name in bucket.objects]
    assert len(names) == len(set(names)), "the model is uploaded once"


def test_on_kubeflow_a_manifest_says_how_it_runs(bucket, tmp_path):
    output = tmp_path / "service.yaml"
    given = flags(model="cellmill-nuclei", target="kubeflow", pipeline_root="gs://some-bucket/x")
    given += flags(namespace="imaging", replicas="2", resources="2/4G", output=str(output))
    assert deploy.main([*given, *flags(sources="gs://some-bucket/em")]) == 0
    manifest = yaml.safe_load(output.read_text())
    assert (manifest["apiVersion"], manifest["kind"]) == (
        "serving.kserve.io/v1beta1",
        "InferenceService",
    )
    predictor = manifest["spec"]["predictor"]
    (container,) = predictor["containers"]
    assert container["image"] == IMAGE.reference
    variables = {each["name"]: each["value"] for each in container["env"]}
    bucket_name, _, folder = variables["STORAGE_URI"].removeprefix("gs://").partition("/")
    assert (bucket_name, f"{folder}/model.json") in bucket.objects
    assert variables["CELLMILL_SERVING_SOURCES"] == "gs://some-bucket/em"
    secured = container["securityContext"]
    assert secured["runAsNonRoot"]
    assert secured["readOnlyRootFilesystem"]
    assert secured["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"]["limits"] == {"cpu": "2", "memory": "4Gi"}
    assert predictor["minReplicas"] == predictor["maxReplicas"] == 2


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"target": "mars"}, "TARGET: expected one of local, vertex, kubeflow, found mars"),
        ({"target": "vertex"}, "PROJECT: expected a project's id, found nothing"),
        ({"target": "vertex", **ON_VERTEX, "endpoint": "own"}, "ENDPOINT: expected dedicated"),
        ({"target": "vertex", **ON_VERTEX, "replicas": "3-1"}, "REPLICAS: expected a number"),
        ({"target": "kubeflow"}, "PIPELINE_ROOT: expected gs://bucket/folder, found nothing"),
        ({"target": "kubeflow", "resources": "much"}, "RESOURCES: expected processors/memory"),
        ({"target": "local", "port": "0"}, "PORT: expected 1 to 65535, found 0"),
    ],
)
def test_a_wrong_setting_is_one_line_and_nothing_is_sent(bucket, capsys, given, line):
    assert deploy.main(flags(**given)) == 2
    assert line in capsys.readouterr().err
    assert not bucket.objects


def test_an_image_that_was_not_pushed_is_not_sent(bucket, monkeypatch, capsys):
    others = {"imaging": ContainerImage("r.example/x", "1", "sha256:1")}
    monkeypatch.setattr(deploy, "released_images", lambda: others)
    assert deploy.main(flags(target="vertex", **ON_VERTEX)) == 2
    assert "make push NAME=serving" in capsys.readouterr().err


def test_replicas_are_a_number_or_two():
    assert [replicas_of(text) for text in ("", "2", "1-4")] == [(1, 1), (2, 2), (1, 4)]
