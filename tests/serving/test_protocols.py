"""What a server answers, in both protocols, is what `cellmill.Segmenter` gives."""

import base64
import gzip
import json
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.serving.servers import Server, discs, wait_until

INFER = "/v2/models/cellmill-nuclei/infer"
MPP = {"mpp": 0.65}


def v2_body(image, **more):
    """A binary request: JSON and the bytes behind it, and its header."""
    about = {"name": "image", "datatype": "UINT16", "shape": list(image.shape)}
    about["parameters"] = {"binary_data_size": image.nbytes}
    document = {"inputs": [about], "parameters": {"binary_data_output": True, **MPP}, **more}
    text = json.dumps(document).encode()
    return text + image.tobytes(), {"Inference-Header-Content-Length": f"{len(text)}"}


def v2_labels(answer):
    assert answer.status_code == 200, answer.text
    length = int(answer.headers["inference-header-content-length"])
    (output,) = json.loads(answer.content[:length])["outputs"]
    assert output["name"], output["datatype"] == ("nuclear", "INT32")
    assert output["parameters"]["binary_data_size"] == len(answer.content) - length
    return np.frombuffer(answer.content[length:], "<i4").reshape(output["shape"])


def array_of(document):
    data = base64.b64decode(document["b64"])
    if document.get("compression"):
        data = zlib.decompress(data)
    return np.frombuffer(data, document["dtype"]).reshape(document["shape"])


def b64(image, compress=False):
    data = zlib.compress(image.tobytes()) if compress else image.tobytes()
    found = {"shape": list(image.shape), "dtype": f"{image.dtype}"}
    found["b64"] = base64.b64encode(data).decode()
    return {**found, "compression": "zlib"} if compress else found


@pytest.fixture(scope="module")
def image():
    return discs()


@pytest.fixture(scope="module")
def expected(segmenter, image):
    labels = segmenter(image, **MPP).label_image
    assert labels.max() > 5
    return labels


def test_it_says_what_it_is(server):
    assert server.get("/v2/health/live").json() == {"live": True}
    assert server.get("/v2/health/ready").status_code == 200
    assert server.get("/health").status_code == 200
    assert "binary_tensor_data" in server.get("/v2").json()["extensions"]
    about = server.get("/v2/models/cellmill-nuclei").json()
    assert about["inputs"] == [{"name": "image", "datatype": "UINT16", "shape": [-1, -1, 1]}]
    assert about["outputs"] == [{"name": "nuclear", "datatype": "INT32", "shape": [-1, -1]}]
    version = about["versions"][0]
    path = f"/v2/models/cellmill-nuclei/versions/{version}"
    assert server.get(f"{path}/ready").json()["ready"]
    assert server.get(path).json() == about


def test_binary_tensors_come_and_go_as_bytes(server, image, expected):
    body, headers = v2_body(image, id="some")
    answer = server.post(INFER, body, **headers)
    assert np.array_equal(v2_labels(answer), expected)
    length = int(answer.headers["inference-header-content-length"])
    about = json.loads(answer.content[:length])
    assert about["id"] == "some"
    assert about["parameters"]["nuclear_objects"] == expected.max()


@pytest.mark.parametrize("compress", [zlib.compress, gzip.compress])
def test_a_request_may_be_made_smaller(server, image, expected, compress):
    body, headers = v2_body(image)
    encoding = "gzip" if compress is gzip.compress else "deflate"
    answer = server.post(INFER, compress(body), **headers, **{"Content-Encoding": encoding})
    assert np.array_equal(v2_labels(answer), expected)


@pytest.mark.parametrize("nested", [True, False])
def test_tensors_may_be_json(server, image, expected, nested):
    data = image.tolist() if nested else image.ravel().tolist()
    tensor = {"name": "image", "datatype": "UINT16", "shape": [*image.shape], "data": data}
    answer = server.post(INFER, {"inputs": [tensor], "parameters": MPP}).json()
    assert "id" not in answer
    (output,) = answer["outputs"]
    assert np.array_equal(np.reshape(output["data"], output["shape"]), expected)


@pytest.mark.parametrize("form", ["b64", "zlib", "lists", "protobuf"])
def test_vertex_gets_a_prediction_an_instance(server, image, expected, form):
    forms = {
        "b64": b64(image),
        "zlib": b64(image, compress=True),
        "lists": image.tolist(),
        # Vertex AI's protobuf turns whole numbers into floats.
        "protobuf": {**b64(image), "shape": [float(side) for side in image.shape]},
    }
    parameters = {**MPP, "compression": "zlib" if form == "zlib" else ""}
    instances = [{"image": forms[form]}, {"image": b64(image[:100])}]
    answer = server.post("/predict", {"instances": instances, "parameters": parameters}).json()
    first, second = answer["predictions"]
    assert np.array_equal(array_of(first["nuclear"]), expected)
    assert first["facts"]["nuclear_objects"] == expected.max()
    assert array_of(second["nuclear"]).shape == (100, 200)


def test_lists_are_answered_where_lists_are_asked_for(server, image, expected):
    body = {"instances": [{"image": image.tolist()}], "parameters": {**MPP, "encoding": "list"}}
    (found,) = server.post("/predict", body).json()["predictions"]
    assert found["nuclear"]["values"] == expected.tolist()


def test_a_box_of_a_stored_volume_is_read_where_it_lies(server, volume, segmenter):
    place, values = volume
    wanted = segmenter(values[1, 20:140, 30:190], **MPP).label_image
    instance = {"uri": f"zarr3://{place}", "box": [1, 20, 30, 2, 140, 190]}
    body = {"instances": [instance], "parameters": MPP}
    (found,) = server.post("/predict", body).json()["predictions"]
    assert np.array_equal(array_of(found["nuclear"]), wanted)
    inputs = [
        {"name": "uri", "datatype": "BYTES", "shape": [1], "data": [str(place)]},
        {"name": "box", "datatype": "INT64", "shape": [6], "data": instance["box"]},
    ]
    (output,) = server.post(INFER, {"inputs": inputs, "parameters": MPP}).json()["outputs"]
    assert np.array_equal(np.reshape(output["data"], output["shape"]), wanted)


def test_images_that_come_at_once_are_segmented_as_if_alone(server, segmenter):
    images = [discs(seed=seed) for seed in range(8)]
    wanted = [segmenter(each, **MPP).label_image for each in images]

    def ask(each):
        body, headers = v2_body(each)
        return v2_labels(server.post(INFER, body, **headers))

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, images))
    assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_what_was_asked_is_counted(server, image):
    def count(status):
        families = text_string_to_metric_families(server.get("/metrics").text)
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == "cellmill_requests_total"
            and sample.labels == {"protocol": "v2", "status": status}
        )

    good, bad = count("200"), count("400")
    body, headers = v2_body(image)
    server.post(INFER, body, **headers)
    server.post(INFER, {"inputs": []})
    assert (count("200"), count("400")) == (good + 1, bad + 1)


def tensor(**changed):
    whole = {"name": "image", "datatype": "UINT8", "shape": [2, 2], "data": [1, 2, 3, 4]}
    return {"inputs": [{**whole, **changed}]}


BAD = {
    "no JSON": (INFER, b"x", 400, "request: expected JSON"),
    "NaN": (INFER, b'{"inputs": [NaN]}', 400, "found NaN"),
    "nothing": (INFER, {}, 400, "inputs: expected a list"),
    "another name": (INFER, tensor(name="pixels"), 400, "found 'pixels'"),
    "another type": (INFER, tensor(datatype="BF16"), 400, "datatype: expected one of BOOL"),
    "too few": (INFER, tensor(data=[1]), 400, "values of shape (2, 2), found (1,)"),
    "ragged": (INFER, tensor(data=[[1, 2], [3]]), 400, "found ragged lists"),
    "too great": (INFER, tensor(data=[1, 2, 3, 256]), 400, "values of uint8, found 256"),
    "a half": (INFER, tensor(data=[1, 2, 3, 0.5]), 400, "values of uint8, found 0.5"),
    "texts": (INFER, tensor(data=list("abcd")), 400, "uint8 numbers"),
    "no axes": (INFER, tensor(shape=[]), 400, "1 to 4 axes"),
    "a parameter": (INFER, {**tensor(), "parameters": {"mp": 1}}, 400, "found 'mp'"),
    "no size": (INFER, {**tensor(), "parameters": {"mpp": -1}}, 400, "mpp: expected"),
    "a volume": (INFER, tensor(shape=[1, 2, 2, 1]), 400, "image: expected (Y, X)"),
    "channels": (INFER, tensor(shape=[1, 2, 2]), 400, "channels of image: expected 1"),
    "an output": (INFER, {**tensor(), "outputs": [{"name": "x"}]}, 400, "outputs: expected"),
    "another model": ("/v2/models/x/infer", tensor(), 404, "expected 'cellmill-nuclei'"),
    "a page": ("/v3", tensor(), 404, "path: expected"),
    "no instances": ("/predict", {"instances": []}, 400, "instances: expected at least one"),
    "no image": ("/predict", {"instances": [{}]}, 400, "instance 0: expected image"),
    "no base64": (
        "/predict",
        {"instances": [{"image": {"shape": [1, 1], "b64": "?"}}]},
        400,
        "b64: expected base64",
    ),
    "elsewhere": (
        "/predict",
        {"instances": [{"uri": "/etc", "box": [0, 0, 0, 1, 1, 1]}]},
        403,
        "place: expected below one of",
    ),
    "a server inside": ("/predict", {"instances": [{"uri": "http://a.b/c"}]}, 403, "place"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_said_in_one_line(server, case):
    path, body, status, line = BAD[case]
    answer = server.post(path, body)
    found = answer.json()["error"]
    assert (answer.status_code, "\n" in found) == (status, False), found
    assert line in found


def test_a_box_outside_its_volume_is_refused(server, volume):
    instance = {"uri": str(volume[0]), "box": [0, 0, 0, 3, 10, 10]}
    answer = server.post("/predict", {"instances": [instance]})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("box: expected z, y, x, z, y, x within")


@pytest.mark.parametrize(
    ("length", "line"), [("0", "1 to"), ("x", "1 to"), ("99999999", "1 to"), ("9", "JSON")]
)
def test_a_wrong_length_of_the_json_is_refused(server, image, length, line):
    body, _ = v2_body(image)
    answer = server.post(INFER, body, **{"Inference-Header-Content-Length": length})
    assert answer.status_code == 400
    assert line in answer.json()["error"]


def test_bytes_that_no_tensor_asks_for_are_refused(server, image):
    body, headers = v2_body(image)
    for changed in (body + b"x", body[:-1]):
        answer = server.post(INFER, changed, **headers)
        assert answer.status_code == 400, answer.text


def test_what_is_unpacked_is_bounded(server):
    bomb = zlib.compress(bytes(300 << 20), 9)
    answer = server.post(INFER, bomb, **{"Content-Encoding": "deflate"})
    assert (answer.status_code, "at most" in answer.text) == (413, True)


def test_vertex_says_where_it_listens_and_its_endpoint_what_passes(image, expected, tmp_path):
    """A shared endpoint's limit holds both ways; a server that is killed comes back."""
    environ = {
        "AIP_HEALTH_ROUTE": "/v1/health",
        "AIP_PREDICT_ROUTE": "/v1/predict",
        "AIP_STORAGE_URI": "cellmill-nuclei",
        "CELLMILL_SERVING_ENGINE": "openvino",
        "CELLMILL_SERVING_ENDPOINT": "shared",
        "CELLMILL_SERVING_MOST_PIXELS": f"{2 << 20}",
    }
    with Server(environ=environ) as running:
        large = {"instances": [{"image": b64(discs((800, 800)))}], "parameters": MPP}
        assert running.post("/v1/predict", large).status_code == 413
        empty = np.zeros((800, 800), np.uint16)
        small = {"instances": [{"image": b64(empty, compress=True)}], "parameters": MPP}
        refused = running.post("/v1/predict", small)
        assert (refused.status_code, refused.json()["error"][:7]) == (413, "answer:")
        small["parameters"] = {**MPP, "compression": "zlib"}
        assert running.post("/v1/predict", small).status_code == 200
        huge = {"instances": [{"image": b64(np.zeros((2000, 2000), np.uint8), compress=True)}]}
        assert running.post("/v1/predict", huge).status_code == 413

        port = running.port
        running.process.kill()
        running.process.wait()
        running.process.stderr.close()
        running.start(port)
        wait_until(lambda: running.get("/v1/health").status_code == 200)
        body = {"instances": [{"image": b64(image)}], "parameters": MPP}
        (found,) = running.post("/v1/predict", body).json()["predictions"]
        assert np.array_equal(array_of(found["nuclear"]), expected)
