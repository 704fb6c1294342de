"""What a server is told: flags, its own variables, and those that Vertex AI sets."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from cellmill.contract.cli import OneLineParser
from cellmill.errors import BadInput, check_least
from cellmill.inference.network import Device, Precision

#: What a variable of the server's own begins with: `CELLMILL_SERVING_MODEL`.
PREFIX = "CELLMILL_SERVING_"
#: Where KServe puts a model that an InferenceService names.
KSERVE_MODEL = Path("/mnt/models")
Endpoint = Literal["", "shared", "dedicated"]
#: Bytes of a request or an answer, and seconds, that Vertex AI lets pass.
ENDPOINTS: Mapping[str, tuple[int, float]] = {
    "shared": (1_500_000, 60.0),
    "dedicated": (10_000_000, 3600.0),
}


#: What each setting means.
TEXTS: Mapping[str, str] = {
    "model": "name, path or URI of a model",
    "name": "what clients call the model; empty is its card's name",
    "host": "address to listen at",
    "port": "port to listen at; 0 takes a free one",
    "health_route": "path of Vertex AI's health check",
    "predict_route": "path of Vertex AI's requests",
    "endpoint": "whose limits hold: shared or dedicated, of Vertex AI; empty: this server's own",
    "most_bytes": "of a request or an answer; 0: the endpoint's, or 256 MiB",
    "most_pixels": "of one image or box",
    "most_seconds": "to an answer; 0: the endpoint's, or 600",
    "workers": "images that are worked on side by side; 0: one more than CPUs",
    "most_waiting": "images that wait at most; more are refused",
    "sources": "folders and prefixes of URIs that clients may read, with spaces between",
    "destinations": "folders and prefixes of URIs that clients may have written",
    "compartment": "kind of object; empty is the card's default",
    "engine": "what runs the network",
    "device": "where it runs",
    "precision": "of the network's products",
    "batch_size": "tiles that go to the network together",
    "threads": "of the network; 0 lets the engine choose",
    "memory_mib": "that one image may take beside its pixels",
    "block": "style transfer: side of the largest block; 0 is the card's",
    "trust_model": "true: load a network even if it could do more than compute",
}
#: Variables of others that set them.
_VARIABLES: Mapping[str, tuple[str, ...]] = {
    "model": ("AIP_STORAGE_URI",),
    "port": (
        "AIP_HTTP_PORT",
        "PORT",
    ),
    "health_route": ("AIP_HEALTH_ROUTE",),
    "predict_route": ("AIP_PREDICT_ROUTE",),
}


@dataclass(frozen=True)
class Settings:
    """Settings of a server; each is a flag, and a variable in capitals behind `PREFIX`."""

    model: str = ""
    name: str = ""
    host: str = "0.0.0.0"
    port: int = 8080
    health_route: str = "/health"
    predict_route: str = "/predict"
    endpoint: Endpoint = ""
    most_bytes: int = 0
    most_pixels: int = 1 << 27
    most_seconds: float = 0.0
    workers: int = 0
    most_waiting: int = 64
    sources: str = ""
    destinations: str = ""
    compartment: str = ""
    engine: str = "auto"
    device: Device = "auto"
    precision: Precision = "float32"
    batch_size: int = 8
    threads: int = 0
    memory_mib: int = 1024
    block: int = 0
    trust_model: bool = False

    @property
    def limit(self) -> int:
        """Bytes of a request or an answer."""
        return self.most_bytes or ENDPOINTS.get(self.endpoint, (256 << 20, 0.0))[0]

    @property
    def patience(self) -> float:
        """Seconds to an answer."""
        return self.most_seconds or ENDPOINTS.get(self.endpoint, (0, 600.0))[1]

    def __post_init__(self) -> None:
        check_least(self, ("most_pixels", "batch_size", "most_waiting", "memory_mib"), 1)
        check_least(self, ("most_bytes", "most_seconds", "workers", "threads", "block"), 0)
        if not 0 <= self.port < 1 << 16:
            raise BadInput("port", expected="0 to 65535", found=f"{self.port}")
        for name in ("health_route", "predict_route"):
            if not getattr(self, name).startswith("/"):
                raise BadInput(name, expected="a path, /…", found=f"'{getattr(self, name)}'")


def settings_of(argv: Sequence[str] | None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read a server's settings: flags, then its own variables, then those of others.

    Args:
        argv: flags; None is those of this process.
        environ: variables.

    Raises:
        CellmillError: a flag is none, or a value is not what it must be.
    """
    parser = OneLineParser(prog="python -m serving", allow_abbrev=False)
    for each in fields(Settings):
        parser.add_argument(f"--{each.name.replace('_', '-')}", default="", help=TEXTS[each.name])
    given = vars(parser.parse_args(argv))
    types = get_type_hints(Settings)
    found: dict[str, Any] = {}
    for each in fields(Settings):
        own = f"{PREFIX}{each.name.upper()}"
        flag = f"--{each.name.replace('_', '-')}"
        places = [(flag, given[each.name])]
        places += [(name, environ.get(name, "")) for name in (own, *_VARIABLES.get(each.name, ()))]
        for what, text in places:
            if text:
                found[each.name] = _read(text, types[each.name], what)
                break
    if not found.get("model") and KSERVE_MODEL.is_dir():
        found["model"] = str(KSERVE_MODEL)
    return Settings(**found)


def _read(text: str, kind: Any, what: str) -> Any:
    if kind is str:
        return text
    choices = {"true": True, "false": False} if kind is bool else {c: c for c in get_args(kind)}
    if choices:
        if text not in choices:
            expected = f"one of {', '.join(choice for choice in choices if choice)}"
            raise BadInput(what, expected=expected, found=f"'{text}'")
        return choices[text]
    try:
        return kind(text)
    except ValueError:
        expected = "a whole number" if kind is int else "a number"
        raise BadInput(what, expected=expected, found=f"'{text}'") from None
