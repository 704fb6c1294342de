"""Triton's own client and KServe's, each in an environment of its own, are answered."""

import json
import subprocess

import numpy as np
import pytest

from cellmill.errors import CellmillError
from launch import ROOT
from launch.images.environments import environment_of
from tests.serving.servers import discs

LOCKS = ROOT / "tests" / "serving"
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
KSERVE = """
import asyncio, json, sys
import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

address, name, folder = sys.argv[1:]
image = np.load(f"{folder}/image.npy")


def asked(binary_in, binary_out, request_id=None, **parameters):
    tensor = InferInput("image", list(image.shape), "UINT16")
    tensor.set_data_from_numpy(image, binary_data=binary_in)
    wanted = RequestedOutput("nuclear", {"binary_data": binary_out})
    return InferRequest(
        name, [tensor], request_id, parameters=parameters, request_outputs=[wanted]
    )


async def main():
    client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=300))
    assert await client.is_server_live(address) and await client.is_server_ready(address)
    assert await client.is_model_ready(address, name)
    found = []
    for binary_in in (True, False):
        for binary_out in (True, False):
            request = asked(binary_in, binary_out, mpp=0.65)
            found.append(await client.infer(address, request, model_name=name))
    np.save(f"{folder}/labels.npy", np.stack([each.outputs[0].as_numpy() for each in found]))
    named = await client.infer(address, asked(True, True, "one", mpp=0.65), model_name=name)
    try:
        await client.infer(address, asked(True, True, mp=1), model_name=name)
        line = ""
    except httpx.HTTPStatusError as error:
        line = f"{error.response.status_code}: {error}"
    print(json.dumps({"line": line, "id": named.id, "parameters": found[0].parameters}))


asyncio.run(main())
"""


def answered(lock, client, server, folder):
    """Let a client ask for the labels of an image; give what it says, and the labels."""
    try:
        python = environment_of(LOCKS / f"{lock}.lock", f"serving-{lock}", report=False)
    except CellmillError as error:
        pytest.skip(f"no environment of the client: {error}")
    np.save(folder / "image.npy", discs())
    command = [python, "-c", client, server, "cellmill-nuclei", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), np.load(folder / "labels.npy")


def test_tritons_client_is_answered(server, segmenter, tmp_path):
    address = server.url.removeprefix("http://")
    said, found = answered("clients", CLIENT, address, tmp_path)
    assert said["about"]["name"] == "cellmill-nuclei"
    assert "parameters: expected of mpp" in said["line"]
    expected = segmenter(discs(), mpp=0.65).label_image
    assert found.dtype == np.int32
    assert all(np.array_equal(labels, expected) for labels in found)
    assert said["response"]["parameters"]["nuclear_objects"] == expected.max()


def test_kserves_client_is_answered(server, segmenter, tmp_path):
    said, found = answered("kserve", KSERVE, server.url, tmp_path)
    assert said["line"].startswith("400: parameters: expected of mpp")
    assert said["id"] == "one"
    expected = segmenter(discs(), mpp=0.65).label_image
    assert found.dtype == np.int32
    assert all(np.array_equal(labels, expected) for labels in found)
    assert said["parameters"]["nuclear_objects"] == expected.max()
