"""Runs on Vertex AI, and what both clouds share, through their real clients against stand-ins."""

import json

import pytest
import yaml

from cellmill.errors import BadInput, CellmillError
from cellmill.version import __version__
from components.container_images import read_lock
from launch.cloud import remote
from launch.cloud import running as clouds
from launch.cloud.buckets import Bucket
from launch.local.running import RunFailed
from tests.launch.cloud import cloud_stand_ins as stand_ins
from tests.launch.cloud.cloud_runs import (
    GIVEN,
    IMAGES,
    NAME,
    ON_KUBEFLOW,
    STORED,
    cached,
    check_folder,
    in_bucket,
    run,
)

KINDS = ("image", "truth")
QUOTA = stand_ins.Refusal(429, "Quota exceeded for pipelineJobs", "RESOURCE_EXHAUSTED")
DENIED = stand_ins.Refusal(403, "aiplatform.pipelineJobs.create denied", "PERMISSION_DENIED")


def test_vertex_is_asked_for_exactly_what_was_wanted(cloud, bucket, arguments, tmp_path, capsys):
    cloud.outputs = in_bucket(bucket, tmp_path, "gs://some-bucket/runs/123")
    assert sorted(run("vertex", arguments, tmp_path, GIVEN)) == ["a", "b"]
    ((_, path, query, body),) = cloud.sent("POST", "pipelineJobs$")
    assert path == "/v1/projects/some-project/locations/europe-west4/pipelineJobs"
    assert query["pipelineJobId"] == "deepcell-segmentation-the-run"
    sent = json.loads(body)
    spec = yaml.safe_load((tmp_path / "the run" / "pipeline.vertex.yaml").read_text())
    assert sent.pop("pipelineSpec")["root"]["dag"].keys() == spec["root"]["dag"].keys()
    parameters = sent["runtimeConfig"].pop("parameterValues")
    assert sent.pop("templateMetadata", {}) in ({}, None)
    vertex_labels = sent.pop("labels")
    assert vertex_labels.items() >= {"team": "imaging", "cost": "42"}.items()
    assert sent == {
        "displayName": f"cellmill {NAME}",
        "runtimeConfig": {"gcsOutputDirectory": "gs://some-bucket/runs"},
        "serviceAccount": GIVEN["service_account"],
        "network": GIVEN["network"],
        "encryptionSpec": {"kmsKeyName": GIVEN["kms_key"]},
    }
    assert parameters.keys() == {"batches", "model", "model_digest", "mpp"}
    for batch in parameters["batches"]:
        for item in batch:
            checksum = item["digest"].replace(":", "-")
            where = f"gs://some-bucket/runs/inputs/{checksum}/{item['name']}.tif"
            assert item["image"] == where
    assert parameters["model"].startswith("gs://some-bucket/runs/inputs/sha256-")
    said = capsys.readouterr()
    assert "console.cloud.google.com/vertex-ai/locations/europe-west4/pipelines/runs/" in said.out
    assert [line for line in said.err.splitlines() if "ing" in line or "succ" in line] == [
        "▸ pending",
        "▸ running",
        "▸ succeeded",
    ]
    check_folder(tmp_path / "the run")
    everything = b"".join(r[3] for r in cloud.requests + bucket.requests)
    assert b"a-secret-token" not in everything
    assert b"localhost/" not in body


def test_caching_can_be_switched_off(cloud, bucket, arguments, tmp_path):
    given = {**GIVEN, "cache": "0", "wait": ""}
    assert run("vertex", arguments, tmp_path, given) is None
    ((_, _, _, body),) = cloud.sent("POST", "pipelineJobs$")
    assert not cached(json.loads(body)["pipelineSpec"])


@pytest.mark.parametrize("name", [NAME, "slide_segmentation"])
def test_what_vertex_is_sent_caches_what_the_rendering_does(
    cloud, bucket, arguments, tmp_path, name
):
    """The client would switch caching on everywhere, for tasks that write into a store too."""
    given = {**GIVEN, "wait": ""}
    assert clouds.run_in_cloud("vertex", name, arguments, tmp_path / "r", given, IMAGES) is None
    ((_, _, _, body),) = cloud.sent("POST", "pipelineJobs$")
    found = cached(json.loads(body)["pipelineSpec"])
    assert {"fetch-model", "export-labels", "measure"} <= found
    assert found.isdisjoint(STORED) == (name == "slide_segmentation")


def test_a_quota_that_is_used_up_is_waited_for(cloud, bucket, arguments, tmp_path, capsys):
    cloud.refusals = [QUOTA]
    assert run("vertex", arguments, tmp_path, {**GIVEN, "wait": ""}) is None
    assert len(cloud.sent("POST", "pipelineJobs$")) == 2
    assert len(cloud.jobs) == 1
    assert "Quota exceeded" in capsys.readouterr().err


def test_a_quota_that_stays_used_up_is_one_line(cloud, bucket, arguments, tmp_path):
    cloud.refusals = [QUOTA] * 3
    with pytest.raises(CellmillError, match="Vertex AI: no quota left") as caught:
        run("vertex", arguments, tmp_path, GIVEN)
    assert "\n" not in str(caught.value)
    assert not cloud.jobs


def test_a_missing_right_is_one_line_with_the_roles(cloud, bucket, arguments, tmp_path):
    cloud.refusals = [DENIED]
    with pytest.raises(CellmillError, match=r"expected roles/aiplatform\.user") as caught:
        run("vertex", arguments, tmp_path, GIVEN)
    assert "\n" not in str(caught.value)
    assert len(cloud.sent("POST", "pipelineJobs$")) == 1


def test_a_failed_run_fails_with_the_stage_that_did(cloud, bucket, arguments, tmp_path):
    cloud.states, cloud.why = ("RUNNING", "FAILED"), "exit code 137\nmore"
    with pytest.raises(RunFailed, match="stage 'predict': exit code 137") as caught:
        run("vertex", arguments, tmp_path, GIVEN)
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)


def test_inputs_are_sent_once(cloud, bucket, arguments, tmp_path):
    for folder in ("first", "second"):
        assert run("vertex", arguments, tmp_path, {**GIVEN, "wait": ""}, folder) is None
    assert len(bucket.sent("POST", "^/upload/")) == 4, "two images, two files of the model"
    assert len(cloud.jobs) == 2


def test_a_run_left_alone_is_fetched_later(cloud, bucket, arguments, tmp_path):
    cloud.outputs = in_bucket(bucket, tmp_path, "gs://some-bucket/runs/123")
    assert run("vertex", arguments, tmp_path, {**GIVEN, "wait": ""}) is None
    assert sorted(clouds.resume(tmp_path / "the run")) == ["a", "b"]
    check_folder(tmp_path / "the run")


def test_a_named_secret_goes_in_the_place_of_the_token(cloud, cluster, bucket, arguments, tmp_path):
    secret = "projects/p/secrets/deepcell/versions/2"
    named = {**arguments, "model": "Mesmer"}
    given = {**GIVEN, "wait": "", "deepcell_token_secret": secret}
    assert run("vertex", named, tmp_path, given) is None
    given = {**ON_KUBEFLOW, "wait": "", "host": cluster.url, "deepcell_token_secret": "deepcell"}
    assert run("kubeflow", named, tmp_path, given, "another run") is None
    ((_, _, _, to_vertex),) = cloud.sent("POST", "pipelineJobs$")
    ((_, _, _, to_kubeflow),) = cluster.sent("POST", "/runs$")
    parameters = json.loads(to_vertex)["runtimeConfig"]["parameterValues"]
    assert parameters["model"] == "Mesmer"
    executors = json.loads(to_vertex)["pipelineSpec"]["deploymentSpec"]["executors"]
    env = executors["exec-fetch-model"]["container"]["env"]
    always = ("CELLMILL_MACHINE", "CELLMILL_STORES")
    (told,) = (variable for variable in env if variable["name"] not in always)
    assert told == {"name": "DEEPCELL_TOKEN_SECRET", "value": secret}
    assert b'"DEEPCELL_ACCESS_TOKEN"' in to_kubeflow, "the variable's name, from the Secret"
    everything = b"".join(r[3] for r in cloud.requests + cluster.requests + bucket.requests)
    written = [p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()]
    assert b"a-secret-token" not in everything + b"".join(written)


@pytest.mark.parametrize("target", ["vertex", "kubeflow"])
def test_training_takes_its_images_there_and_brings_the_model_back(
    target, cloud, cluster, bucket, arguments, tmp_path
):
    items = [item for batch in arguments["batches"] for item in batch]
    items = [{**i, "truth": i["image"], "truth_digest": i["digest"]} for i in items]
    wanted = {"items": items, "hard_background": items[:1], "steps": 3}
    made = {
        "model/model.json": "{}",
        "model/variables/v": "1",
        "metrics": '{"validation": {}}',
    }
    root = "gs://some-bucket/runs"

    def put(where):
        for name, text in made.items():
            path = tmp_path / "made" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            bucket.put_folder(path, f"{where}/{name}")

    if target == "vertex":
        put(f"{root}/1")
        cloud.outputs = {
            ("train-segmenter", name): [f"{root}/1/{name}"] for name in ("model", "metrics")
        }
        given = {**GIVEN, "accelerator": "NVIDIA_L4"}
    else:
        cluster.succeeded = lambda run_id: put(f"{root}/training/{run_id}/train-segmenter/0")
        given = {**ON_KUBEFLOW, "host": cluster.url, "accelerator": "NVIDIA_L4"}
    folder = tmp_path / "the run"
    assert clouds.run_in_cloud(target, "training", wanted, folder, given, IMAGES) == []
    assert (folder / "model" / "variables" / "v").read_text() == "1"
    assert (folder / "metrics.json").read_text() == made["metrics"]
    if target == "vertex":
        ((_, _, _, body),) = cloud.sent("POST", "pipelineJobs$")
        parameters = json.loads(body)["runtimeConfig"]["parameterValues"]
        images = json.loads(body)["pipelineSpec"]["deploymentSpec"]["executors"]
    else:
        ((_, _, _, body),) = cluster.sent("POST", "/runs$")
        parameters = json.loads(body)["runtime_config"]["parameters"]
        spec = json.loads(body)["pipeline_spec"]["pipeline_spec"]
        images = spec["deploymentSpec"]["executors"]
    assert parameters["steps"] == 3
    sent = [i[k] for key in ("items", "hard_background") for i in parameters[key] for k in KINDS]
    assert len(sent) == 6
    assert all(uri.startswith(f"{root}/inputs/sha256-") for uri in sent)
    assert len(bucket.sent("POST", "^/upload/")) == 2, "each file once, whatever it is"
    trainer = images["exec-train-segmenter"]["container"]["image"]
    assert trainer == IMAGES["tensorflow-cuda"].reference


def test_a_store_that_tasks_do_not_share_is_refused(cloud, bucket, arguments, tmp_path):
    for target, given in (
        ("vertex", {**GIVEN, "store": "/scratch"}),
        ("kubeflow", {**ON_KUBEFLOW, "host": "http://127.0.0.1:1", "store": "/scratch"}),
    ):
        with pytest.raises(BadInput, match=r"^STORE: expected gs://"):
            clouds.prepare(target, "slide_segmentation", given, IMAGES)
    given = {**ON_KUBEFLOW, "host": "http://127.0.0.1:1", "volumes": "claim:/scratch"}
    clouds.prepare("kubeflow", "slide_segmentation", {**given, "store": "/scratch/x"}, IMAGES)
    clouds.prepare("vertex", "slide_segmentation", {**GIVEN, "store": "gs://b/x"}, IMAGES)
    assert not bucket.requests


def test_spot_machines_carry_the_account_the_network_and_the_key(
    cloud, bucket, arguments, tmp_path
):
    given = {**GIVEN, "wait": "", "spot": "1", "accelerator": "NVIDIA_L4"}
    assert run("vertex", arguments, tmp_path, given) is None
    ((_, _, _, body),) = cloud.sent("POST", "pipelineJobs$")
    parameters = json.loads(body)["pipelineSpec"]["components"]["comp-predict"]["inputDefinitions"][
        "parameters"
    ]
    told = {key: parameters[key].get("defaultValue") for key in parameters}
    assert told["strategy"] == "SPOT"
    assert told["service_account"] == GIVEN["service_account"]
    assert told["network"] == GIVEN["network"]
    assert told["encryption_spec_key_name"] == GIVEN["kms_key"]
    (pool,) = told["worker_pool_specs"]
    assert pool["machine_spec"] == {
        "machine_type": "g2-standard-8",
        "accelerator_type": "NVIDIA_L4",
        "accelerator_count": 1,
    }
    assert pool["container_spec"]["image_uri"] == IMAGES["tensorflow-cuda"].reference


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("project", ""),
        ("region", "Europe"),
        ("pipeline_root", "/tmp/here"),
        ("service_account", "me"),
        ("network", "lab"),
        ("kms_key", "k"),
        ("job_labels", "Team=1"),
        ("cache", "perhaps"),
        ("wait", "perhaps"),
        ("accelerators", "many"),
        ("accelerator", "NVIDIA_H9000"),
        ("machine_type", "g2-standard-8"),
    ],
)
def test_a_bad_setting_is_one_line_and_nothing_is_sent(
    cloud, bucket, arguments, tmp_path, key, value
):
    with pytest.raises(BadInput, match=f"^{key.upper()}:") as caught:
        run("vertex", arguments, tmp_path, {**GIVEN, key: value})
    assert "\n" not in str(caught.value)
    assert not cloud.requests
    assert not bucket.requests


def test_images_of_this_machine_are_not_sent(cloud, bucket, arguments, tmp_path, monkeypatch):
    with pytest.raises(BadInput, match="make push"):
        clouds.run_in_cloud("vertex", NAME, arguments, tmp_path / "r", GIVEN, read_lock())
    with pytest.raises(BadInput, match="make push"):
        remote.released_images(tmp_path / "none.yaml")
    (tmp_path / "old.yaml").write_text(
        "imaging: {repository: r.example/x, tag: 0.0.1, digest: 'sha256:1'}\n"
    )
    with pytest.raises(BadInput, match=f"version {__version__}"):
        remote.released_images(tmp_path / "old.yaml")
    assert not cloud.requests
    assert not bucket.requests


def test_no_credentials_is_one_line(tmp_path, monkeypatch):
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(CellmillError, match="gcloud auth application-default login") as caught:
        Bucket("gs://some-bucket/x", "some-project")
    assert "\n" not in str(caught.value)
