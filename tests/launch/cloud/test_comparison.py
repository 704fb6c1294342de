"""A comparison in a cloud: its images and each segmenter's model go there, its page comes back."""

import json

import pytest

from launch.cloud import running as clouds
from launch.runs.segmenters import segmenters_of
from tests.launch.cloud.cloud_runs import GIVEN, IMAGES, ON_KUBEFLOW

NAME = "segmenter_comparison"
ROOT = "gs://some-bucket/runs"
MADE = {"comparison": "a page", "table": "a,b\n", "numbers": '{"kinds": {}, "segmenters": []}'}


@pytest.mark.parametrize("target", ["vertex", "kubeflow"])
def test_models_of_this_machine_and_names_are_sent(
    target, cloud, cluster, bucket, arguments, tmp_path
):
    items = [item for batch in arguments["batches"] for item in batch]
    segmenters = segmenters_of(f"voronoi_otsu {tmp_path}/model gs://elsewhere/other")
    wanted = {"items": items, "segmenters": segmenters}

    def put(where):
        for name, text in MADE.items():
            path = tmp_path / "made" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            bucket.put_folder(path, f"{where}/{name}")

    if target == "vertex":
        put(f"{ROOT}/1")
        cloud.outputs = {("compare-segmenters", name): [f"{ROOT}/1/{name}"] for name in MADE}
        given = GIVEN
    else:
        cluster.succeeded = lambda run_id: put(
            f"{ROOT}/segmenter-comparison/{run_id}/compare-segmenters/0"
        )
        given = {**ON_KUBEFLOW, "host": cluster.url}
    folder = tmp_path / "the run"
    assert clouds.run_in_cloud(target, NAME, wanted, folder, given, IMAGES) == []
    assert (folder / "comparison.html").read_text() == "a page"
    if target == "vertex":
        ((_, _, _, body),) = cloud.sent("POST", "pipelineJobs$")
        sent = json.loads(body)["runtimeConfig"]["parameterValues"]["segmenters"]
    else:
        ((_, _, _, body),) = cluster.sent("POST", "/runs$")
        sent = json.loads(body)["runtime_config"]["parameters"]["segmenters"]
    assert [each["name"] for each in sent] == ["voronoi_otsu", "model", "other"]
    for each in sent[:2]:
        assert each["model"].startswith(f"{ROOT}/inputs/sha256-")
        assert each["digest"].startswith("sha256:")
    assert sent[2]["model"] == "gs://elsewhere/other"
