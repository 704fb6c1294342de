"""The Open Inference Protocol, KServe's V2, over HTTP, with binary tensors.

Source: https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol. One
request is one image. Pixels come as the tensor `image`; or `uri` and `box` say where they lie.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellmill.errors import BadInput
from serving.asking import BOX, IMAGE, URI, Answer, Ask, Served
from serving.fields import a_list, a_text, a_whole, an_object, read_json
from serving.tensors import datatype_of, dtype_named, from_bytes, from_values, shape_of, to_bytes

#: Says where the JSON of a body ends and its tensors begin.
HEADER = "inference-header-content-length"
#: Parameters of a request that are the protocol's own, not the network's.
_PROTOCOLS = ("binary_data_output", "priority", "timeout")


@dataclass(frozen=True)
class V2Request:
    """One request.

    Args:
        ask: what is asked.
        id: the client's own word for it; None where there is none.
        outputs: those that are wanted, and whether as bytes; None is all, all the same way.
        binary: whether outputs of which nothing is said are wanted as bytes.
    """

    ask: Ask
    id: str | None
    outputs: Mapping[str, bool] | None
    binary: bool


def server_metadata(version: str) -> dict[str, Any]:
    """What `/v2` answers."""
    return {"name": "cellmill", "version": version, "extensions": ["binary_tensor_data"]}


def model_metadata(name: str, served: Served) -> dict[str, Any]:
    """What `/v2/models/NAME` answers."""
    return {
        "name": name,
        "versions": [served.version],
        "platform": f"cellmill_{served.effect.get('engine', 'image')}",
        "inputs": [each.to_dict() for each in served.inputs],
        "outputs": [each.to_dict() for each in served.outputs],
    }


def read_request(body: bytes, header: str | None) -> V2Request:
    """Read the body of a request.

    Args:
        body: JSON, and the binary tensors behind it.
        header: how long the JSON is, as the header of that name says; None: all of it.

    Raises:
        BadInput: it is not as the protocol says.
    """
    length = len(body)
    if header is not None:
        if not header.isdecimal() or not 0 < int(header) <= len(body):
            expected = f"1 to {len(body)}, the body's length"
            raise BadInput(HEADER, expected=expected, found=f"'{header}'")
        length = int(header)
    document = read_json(body[:length], "request")
    tensors = _tensors(document, memoryview(body)[length:])
    parameters = an_object(document.get("parameters", {}), "parameters")
    own = {name: value for name, value in parameters.items() if name not in _PROTOCOLS}
    box = tensors.get(BOX)
    uri = tensors.get(URI)
    if uri is not None and (uri.dtype != object or uri.size != 1):
        raise BadInput(
            f"input '{URI}'", expected="one text, BYTES", found=f"{uri.size} {uri.dtype}"
        )
    if box is not None and (box.dtype.kind not in "iu" or box.ndim != 1):
        raise BadInput(f"input '{BOX}'", expected="INT64 [6]", found=f"{box.dtype} {box.shape}")
    ask = Ask(
        tensors.get(IMAGE),
        "" if uri is None else str(uri.flat[0]),
        () if box is None else tuple(int(corner) for corner in box),
        own,
    )
    called = document.get("id")
    return V2Request(
        ask,
        None if called is None else a_text(called, "id"),
        _outputs(document),
        parameters.get("binary_data_output") is True,
    )


def write_answer(
    request: V2Request, name: str, version: str, answer: Answer
) -> tuple[bytes, dict[str, str]]:
    """Write an answer: its body and its headers.

    Raises:
        BadInput: an output is wanted that there is none of.
    """
    wanted = request.outputs
    if wanted is None:
        wanted = dict.fromkeys(answer.arrays, request.binary)
    outputs, pieces = [], []
    for output, binary in wanted.items():
        if output not in answer.arrays:
            expected = f"of {', '.join(answer.arrays)}"
            raise BadInput("outputs", expected=expected, found=f"'{output}'")
        array = answer.arrays[output]
        about: dict[str, Any] = {
            "name": output,
            "datatype": datatype_of(array.dtype),
            "shape": list(array.shape),
        }
        if binary:
            pieces.append(to_bytes(array))
            about["parameters"] = {"binary_data_size": len(pieces[-1])}
        else:
            about["data"] = array.ravel().tolist()
        outputs.append(about)
    document: dict[str, Any] = {"model_name": name, "model_version": version}
    if request.id is not None:
        document["id"] = request.id
    document |= {"outputs": outputs, "parameters": dict(answer.facts)}
    text = json.dumps(document, ensure_ascii=False).encode()
    if not pieces:
        return text, {"content-type": "application/json"}
    headers = {"content-type": "application/octet-stream", HEADER: f"{len(text)}"}
    return b"".join([text, *pieces]), headers


def _tensors(document: Mapping[str, Any], rest: memoryview) -> dict[str, np.ndarray]:
    """The inputs of a request; binary ones lie behind the JSON in the inputs' order."""
    found: dict[str, np.ndarray] = {}
    place = 0
    for each in a_list(document.get("inputs"), "inputs"):
        given = an_object(each, "inputs")
        name = a_text(given.get("name"), "inputs, name")
        what = f"input '{name}'"
        if name not in (IMAGE, URI, BOX) or name in found:
            raise BadInput(
                "inputs", expected=f"{IMAGE}, or {URI} and {BOX}, once", found=f"'{name}'"
            )
        dtype = dtype_named(given.get("datatype"), f"{what}, datatype")
        shape = shape_of(given.get("shape"), f"{what}, shape")
        own = an_object(given.get("parameters", {}), f"{what}, parameters")
        if "binary_data_size" in own:
            size = a_whole(own["binary_data_size"], f"{what}, binary_data_size")
            if not 0 <= size <= len(rest) - place:
                expected = f"at most {len(rest) - place}, what follows the JSON"
                raise BadInput(f"{what}, binary_data_size", expected=expected, found=f"{size}")
            found[name] = from_bytes(rest[place : place + size], shape, dtype, what)
            place += size
        else:
            found[name] = from_values(given.get("data"), shape, dtype, what)
    if place != len(rest):
        expected = f"{place} bytes behind the JSON, as its tensors say"
        raise BadInput("request", expected=expected, found=f"{len(rest)}")
    if (IMAGE in found) == (URI in found) or (BOX in found and URI not in found):
        given_names = ", ".join(found) or "nothing"
        raise BadInput("inputs", expected=f"{IMAGE}, or {URI} and {BOX}", found=given_names)
    return found


def _outputs(document: Mapping[str, Any]) -> dict[str, bool] | None:
    if not document.get("outputs"):
        return None
    wanted = {}
    for each in a_list(document["outputs"], "outputs"):
        given = an_object(each, "outputs")
        own = an_object(given.get("parameters", {}), "outputs, parameters")
        for name in ("classification", "shared_memory_region"):
            if name in own:
                raise BadInput("outputs", expected="whole tensors in the answer", found=name)
        wanted[a_text(given.get("name"), "outputs, name")] = own.get("binary_data") is True
    return wanted
