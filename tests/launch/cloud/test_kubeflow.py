"""Runs on Kubeflow through its real client, against a stand-in that keeps state."""

import json

import pytest
import yaml

from cellmill.errors import BadInput, CellmillError
from launch.cloud import running as clouds
from launch.local.running import RunFailed
from tests.launch.cloud import cloud_stand_ins as stand_ins
from tests.launch.cloud.cloud_runs import (
    IMAGES,
    ON_KUBEFLOW,
    STORED,
    cached,
    check_folder,
    in_bucket,
    run,
)


@pytest.mark.parametrize("cache", ["0", "1"])
def test_what_kubeflow_is_sent_caches_what_the_rendering_does(
    cluster, bucket, arguments, tmp_path, cache
):
    given = {**ON_KUBEFLOW, "wait": "", "host": cluster.url, "cache": cache}
    ran = clouds.run_in_cloud(
        "kubeflow", "slide_segmentation", arguments, tmp_path / "r", given, IMAGES
    )
    assert ran is None
    ((_, _, _, body),) = cluster.sent("POST", "/runs$")
    found = cached(json.loads(body)["pipeline_spec"]["pipeline_spec"])
    assert ("measure" in found) == (cache == "1")
    assert found.isdisjoint(STORED)


def test_kubeflow_is_asked_for_exactly_what_was_wanted(
    cluster, bucket, arguments, tmp_path, capsys
):
    root = "gs://some-bucket/runs/deepcell-segmentation"
    cluster.succeeded = lambda run_id: in_bucket(bucket, tmp_path, f"{root}/{run_id}")
    given = {**ON_KUBEFLOW, "host": cluster.url, "accelerator": "NVIDIA_L4", "experiment": "mine"}
    assert sorted(run("kubeflow", arguments, tmp_path, given)) == ["a", "b"]
    ((_, _, _, body),) = cluster.sent("POST", "/runs$")
    sent = json.loads(body)
    documents = list(yaml.safe_load_all((tmp_path / "the run/pipeline.kubeflow.yaml").read_text()))
    assert sent.pop("pipeline_spec") == {
        "pipeline_spec": documents[0],
        "platform_spec": documents[1],
    }
    assert sent["display_name"] == "deepcell-segmentation-the-run"
    assert sent["experiment_id"] == "e0"
    assert [e["display_name"] for e in cluster.experiments.values()] == ["mine"]
    config = sent["runtime_config"]
    assert config["pipeline_root"] == "gs://some-bucket/runs"
    assert config["parameters"].keys() == {"batches", "model", "model_digest", "mpp"}
    assert all(i["image"].startswith("gs://") for b in config["parameters"]["batches"] for i in b)
    assert f"{cluster.url}/#/runs/details/r0" in capsys.readouterr().out
    check_folder(tmp_path / "the run")
    assert b"a-secret-token" not in body


def test_kubeflows_failures_are_one_line(cluster, bucket, arguments, tmp_path):
    given = {**ON_KUBEFLOW, "host": cluster.url}
    cluster.states, cluster.why = ("RUNNING", "FAILED"), "OOMKilled"
    with pytest.raises(RunFailed, match="stage 'predict': OOMKilled"):
        run("kubeflow", arguments, tmp_path, given)
    cluster.refusals = [stand_ins.Refusal(403, "User is not authorized")]
    with pytest.raises(CellmillError, match="the right to run pipelines") as caught:
        run("kubeflow", arguments, tmp_path, given, "denied")
    assert "\n" not in str(caught.value)
    cluster.refusals = [stand_ins.Refusal(503, "busy")]
    assert run("kubeflow", arguments, tmp_path, {**given, "wait": ""}, "busy") is None


@pytest.mark.parametrize(
    ("key", "value"), [("host", ""), ("host", "ftp://x"), ("pipeline_root", "x")]
)
def test_kubeflows_settings_are_checked(tmp_path, arguments, key, value):
    given = {**ON_KUBEFLOW, "host": "http://127.0.0.1:1", key: value}
    with pytest.raises(BadInput, match=f"^{key.upper()}:"):
        run("kubeflow", arguments, tmp_path, given)
