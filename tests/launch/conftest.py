"""What runs in clouds meet in tests: buckets, Vertex AI and Kubeflow that keep state."""

import numpy as np
import pytest
import tifffile

from launch.cloud import remote
from launch.runs.inputs import cut, find_items
from tests.launch.cloud import cloud_stand_ins as stand_ins


@pytest.fixture
def bucket(monkeypatch):
    monkeypatch.setattr(remote, "BACKOFF", (0.01, 0.01))
    monkeypatch.setattr(remote, "LOOK", 0.01)
    monkeypatch.setenv("DEEPCELL_ACCESS_TOKEN", "a-secret-token")
    with stand_ins.Bucket() as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        yield server


@pytest.fixture
def cloud(bucket, monkeypatch):
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform
    from google.cloud.aiplatform.utils import resource_manager_utils

    # The client compares the bucket's project with it; the service that knows it speaks gRPC only.
    monkeypatch.setattr(resource_manager_utils, "get_project_number", lambda *a, **k: "123")
    with stand_ins.Vertex() as server:
        aiplatform.init(
            api_endpoint=server.url, api_transport="rest", credentials=AnonymousCredentials()
        )
        yield server
        aiplatform.initializer.global_config.__init__()


@pytest.fixture
def cluster(bucket):
    with stand_ins.Kubeflow() as server:
        yield server


@pytest.fixture
def arguments(tmp_path):
    folder = tmp_path / "my images"
    folder.mkdir()
    for name in ("a", "b"):
        tifffile.imwrite(folder / f"{name}.tif", np.full((8, 8), ord(name), np.uint8))
    model = tmp_path / "model"
    (model / "variables").mkdir(parents=True)
    (model / "model.json").write_text("{}")
    (model / "variables" / "v").write_text("1")
    return {"batches": cut(find_items(str(folder)), 2), "model": str(model), "mpp": 0.5}
