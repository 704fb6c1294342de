"""Triton's own client, in an environment of its own, is answered."""

import json
import subprocess

import numpy as np
import pytest

from cellmill.errors import CellmillError
from launch import ROOT
from launch.images.environments import environment_of
from tests.serving.servers import discs

LOCK = ROOT / "tests" / "serving" / "clients.lock"
CLIENT = """
import json, sys
import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

address, name, folder = sys.argv[1:]
client = triton.InferenceServerClient(address, network_timeout=300, connection_timeout=60)
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(name)
about = client.get_model_metadata(name)
image = np.load(f"{folder}/image.npy")
tensor = triton.InferInput("image", list(image.shape), "UINT16")
given = {"parameters": {"mpp": 0.65}}
found = []
for binary_in in (True, False):
    tensor.set_data_from_numpy(image, binary_data=binary_in)
    for binary_out in (True, False):
        outputs = [triton.InferRequestedOutput("nuclear", binary_data=binary_out)]
        found.append(client.infer(name, [tensor], outputs=outputs, **given))
tensor.set_data_from_numpy(image)
for algorithm in (None, "gzip", "deflate"):
    answer = client.infer(name, [tensor], request_compression_algorithm=algorithm, **given)
    found.append(answer)
np.save(f"{folder}/labels.npy", np.stack([each.as_numpy("nuclear") for each in found]))
try:
    client.infer(name, [tensor], parameters={"mp": 1})
    line = ""
except InferenceServerException as error:
    line = str(error)
print(json.dumps({"about": about, "line": line, "response": found[0].get_response()}))
"""


@pytest.fixture(scope="module")
def python():
    try:
        return environment_of(LOCK, "serving-clients", report=False)
    except CellmillError as error:
        pytest.skip(f"no environment of Triton's client: {error}")


def test_tritons_client_is_answered(python, server, segmenter, tmp_path):
    image = discs()
    np.save(tmp_path / "image.npy", image)
    address = server.url.removeprefix("http://")
    command = [python, "-c", CLIENT, address, "cellmill-nuclei", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["about"]["name"] == "cellmill-nuclei"
    assert "parameters: expected of mpp" in said["line"]
    expected = segmenter(image, mpp=0.65).label_image
    found = np.load(tmp_path / "labels.npy")
    assert found.dtype == np.int32
    assert all(np.array_equal(labels, expected) for labels in found)
    assert said["response"]["parameters"]["nuclear_objects"] == expected.max()
