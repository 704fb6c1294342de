"""Vertex AI's protocol for containers: `instances` in, `predictions` out, in their order.

Source: https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements. An
instance is an image, `{"image": {"shape": …, "dtype": …, "b64": …}}` or nested lists, or names
where one lies, `{"uri": …, "box": …}`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cellmill.errors import BadInput
from serving.asking import BOX, IMAGE, URI, Answer, Ask
from serving.fields import a_list, a_text, an_object, only, read_json, shown, wholes
from serving.tensors import Compression, from_document, to_document

_ENCODINGS = ("b64", "list")
_COMPRESSIONS = ("", "zlib")
#: Parameters of a request that are the protocol's own, not the network's.
_PROTOCOLS = ("encoding", "compression")


@dataclass(frozen=True)
class VertexRequest:
    """One request.

    Args:
        asks: what is asked, one an instance.
        encoding: how arrays are wanted: `b64` or `list`.
        compression: what makes them smaller before base64.
    """

    asks: tuple[Ask, ...]
    encoding: str
    compression: Compression


def read_request(body: bytes, most: int) -> VertexRequest:
    """Read the body of a request.

    Args:
        body: JSON.
        most: bytes that an image may have once it is unpacked.

    Raises:
        BadInput: it is not as the protocol says.
    """
    document = read_json(body, "request")
    given = a_list(document.get("instances"), "instances")
    if not given:
        raise BadInput("instances", expected="at least one", found="none")
    value = document.get("parameters")
    parameters = an_object({} if value is None else value, "parameters")
    encoding = parameters.get("encoding", "b64")
    compression = parameters.get("compression", "")
    if encoding not in _ENCODINGS:
        raise BadInput("encoding", expected=" or ".join(_ENCODINGS), found=shown(encoding))
    if compression not in _COMPRESSIONS:
        raise BadInput("compression", expected="zlib or nothing", found=shown(compression))
    own = {name: value for name, value in parameters.items() if name not in _PROTOCOLS}
    asks = tuple(_ask(each, own, most, f"instance {n}") for n, each in enumerate(given))
    return VertexRequest(asks, encoding, compression)


def write_answer(request: VertexRequest, answers: Sequence[Answer]) -> bytes:
    """Write the answers: a prediction an instance, its arrays by output and its facts."""
    predictions = [
        {
            **{
                name: to_document(array, request.encoding, request.compression)
                for name, array in answer.arrays.items()
            },
            **({"facts": dict(answer.facts)} if answer.facts else {}),
        }
        for answer in answers
    ]
    return json.dumps({"predictions": predictions}, ensure_ascii=False).encode()


def _ask(value: Any, parameters: Mapping[str, Any], most: int, what: str) -> Ask:
    instance = an_object(value, what)
    only(instance, (IMAGE, URI, BOX, "parameters"), what)
    own = {**parameters, **an_object(instance.get("parameters", {}), f"{what}, parameters")}
    if (IMAGE in instance) == (URI in instance) or (BOX in instance and URI not in instance):
        expected = f"{IMAGE}, or {URI} and {BOX}"
        raise BadInput(what, expected=expected, found=", ".join(instance) or "nothing")
    if URI in instance:
        box = wholes(instance[BOX], f"{what}, {BOX}") if BOX in instance else ()
        return Ask(None, a_text(instance[URI], f"{what}, {URI}"), box, own)
    given = instance[IMAGE]
    label = f"{what}, {IMAGE}"
    document = {"values": given} if isinstance(given, list) else an_object(given, label)
    return Ask(from_document(document, most, label), parameters=own)
