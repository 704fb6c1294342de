"""Volumes of this machine, one or several a side, go to a cloud with all that goes with them."""

import json
import shlex

import fsspec
import numpy as np
import pytest

from cellmill.style_transfer.places import volumes_named
from cellmill.style_transfer.volumes import open_volume
from launch.cloud import running as clouds
from launch.run import main
from tests.arrays.buckets import bucket_of
from tests.launch.cloud.cloud_runs import GIVEN, IMAGES, ON_KUBEFLOW
from tests.style_transfer import stored_volumes as stored

INPUTS = "gs://some-bucket/runs/inputs/sha256-"


@pytest.fixture
def places(tmp_path):
    """Grey values by place, each stored in another way; a truth and a mask."""
    random = np.random.default_rng(0)
    grey = dict(enumerate(random.integers(0, 256, (4, 12, 20, 24), np.uint8)))
    folder = tmp_path / "my volumes"
    folder.mkdir()
    return {
        stored.precomputed(folder / "p", grey[0]): grey[0],
        stored.sections(folder / "sections@2", grey[1]): grey[1],
        stored.stack(folder / "it's one.tif", grey[2]): grey[2],
        stored.zarr(folder / "y.zarr", grey[3], "zarr3"): grey[3],
        stored.zarr(folder / "truth", (grey[0] > 99).astype(np.uint8), "zarr"): grey[0] > 99,
        stored.n5(folder / "mask", (grey[1] > 9).astype(np.uint8)): grey[1] > 9,
    }


@pytest.fixture
def launched(cloud, cluster, bucket, tmp_path, monkeypatch):
    """Launch a pipeline in a cloud; give what it was sent as parameters."""
    monkeypatch.setattr(clouds, "released_images", lambda: IMAGES)

    def launch(target, name, **given):
        where = GIVEN if target == "vertex" else {**ON_KUBEFLOW, "host": cluster.url}
        output = tmp_path / f"{target}-{name}-{len(bucket.objects)}"
        asked = {**where, **given, "target": target, "output": str(output), "wait": ""}
        flags = [f"--{key.replace('_', '-')}={value}" for key, value in asked.items()]
        assert main([name, *flags]) == 0
        if target == "vertex":
            _, _, _, body = cloud.sent("POST", "pipelineJobs$")[-1]
            return json.loads(body)["runtimeConfig"]["parameterValues"]
        _, _, _, body = cluster.sent("POST", "/runs$")[-1]
        return json.loads(body)["runtime_config"]["parameters"]

    return launch


@pytest.fixture
def as_a_task(bucket, monkeypatch):
    """What was uploaded, as tasks without a mount see it: by the stores' own clients."""

    def look():
        _, server = bucket_of("gs", monkeypatch)
        server.objects.update(bucket.objects)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)

    yield look
    fsspec.get_filesystem_class("gcs").clear_instance_cache()


@pytest.mark.parametrize("target", ["vertex", "kubeflow"])
def test_lists_are_uploaded_place_by_place(target, launched, bucket, places, as_a_task):
    precomputed, sections, stack, y, truth, mask = places
    x = shlex.join([f"precomputed://{precomputed}@3", sections, f"{stack}@0.5", "gs://elsewhere/x"])
    boxes = "0,0,0,9,20,24;2,0,0,12,9,9 - - 0,0,0,4,4,4"
    sent = launched(
        target,
        "style_transfer_training",
        x=x,
        y=f"{y}",
        x_truth=shlex.join([truth, "-", "-", "-"]),
        x_masks=shlex.join(["-", mask, "-", "gs://elsewhere/mask"]),
        x_boxes=boxes,
        planes="z",
    )
    assert sent["planes"] == "z"
    found = volumes_named("x", *(sent[f"x{of}"] for of in ("", "_truth", "_masks", "_boxes")))
    told = volumes_named("x", x, "", "", boxes)
    assert [each.weight for each in found] == [3, 1, 0.5, 1]
    assert [each.boxes for each in found] == [each.boxes for each in told]
    assert found[0].place.startswith(f"precomputed://{INPUTS}")
    assert [each.place.rpartition("/")[2] for each in found[1:3]] == ["sections@2", "it's one.tif"]
    assert found[3].place == "gs://elsewhere/x"
    assert [each.mask.startswith(INPUTS) for each in found] == [False, True, False, False]
    assert found[3].mask == "gs://elsewhere/mask"
    assert [each.truth.startswith(INPUTS) for each in found] == [True, False, False, False]
    (of_y,) = volumes_named("y", sent["y"])
    as_a_task()
    places_sent = [*(each.place for each in found[:3]), of_y.place, found[0].truth, found[1].mask]
    for place, values in zip(places_sent, places.values(), strict=True):
        assert place.removeprefix("precomputed://").startswith(INPUTS)
        np.testing.assert_array_equal(open_volume(place)[...], values)


def test_a_volume_is_uploaded_once_wherever_it_stands(launched, bucket, places):
    first, *_, mask = places
    asked = {
        "x": shlex.join([first, f"{first}@2"]),
        "y": f"{first}",
        "x_masks": f"'{mask}' '{mask}'",
    }
    one = launched("vertex", "style_transfer_training", **asked)
    sent = len(bucket.sent("POST", "^/upload/"))
    again = launched("kubeflow", "style_transfer_training", **asked)
    assert {key: again[key] for key in asked} == {key: one[key] for key in asked}
    assert len(bucket.sent("POST", "^/upload/")) == sent == len(bucket.objects)


@pytest.mark.parametrize("target", ["vertex", "kubeflow"])
def test_a_volume_that_is_transferred_is_uploaded_under_its_form(
    target, launched, places, as_a_task, tmp_path
):
    model = tmp_path / "network"
    model.mkdir()
    (model / "model.json").write_text("{}")
    precomputed, *_, mask = places
    given = {"volume": f"precomputed://{precomputed}", "mask": mask}
    sent = launched(target, "style_transfer", model=model, destination="gs://b/out", **given)
    assert sent["model"].startswith(INPUTS)
    assert sent["volume"].startswith(f"precomputed://{INPUTS}")
    assert sent["destination"] == "gs://b/out"
    as_a_task()
    np.testing.assert_array_equal(open_volume(sent["volume"])[...], places[precomputed])
    np.testing.assert_array_equal(open_volume(sent["mask"])[...], places[mask])
