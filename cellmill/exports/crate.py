"""What a run was, as an RO-Crate: files, inputs, parameters, model and versions, for machines.

Source: RO-Crate 1.1 (w3id.org/ro/crate/1.1), and its profile for runs of a program, Process Run
Crate 0.5 (w3id.org/ro/wfrun/process/0.5).
"""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

FILE_NAME = "ro-crate-metadata.json"
_CRATE = "https://w3id.org/ro/crate/1.1"
_PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
_DONE = "http://schema.org/CompletedActionStatus"
_TYPES = {
    ".csv": "text/csv",
    ".geojson": "application/geo+json",
    ".h5ad": "application/x-hdf5",
    ".parquet": "application/vnd.apache.parquet",
    ".tif": "image/tiff",
}


@dataclass(frozen=True)
class Run:
    """What is known of a run.

    Attributes:
        name: of its folder.
        pipeline: that ran.
        version: cellmill's.
        started: when, ISO 8601.
        ended: likewise.
        inputs: images and their truths, `{"uri": …, "digest": …}`.
        parameters: by name; JSON values.
        models: name, version and licence of each, as cards have them.
        libraries: versions by distribution.
        files: paths in the folder and their sizes in bytes; folders that are one thing, as a Zarr
            store, end in `/` and have none.
    """

    name: str
    pipeline: str
    version: str
    started: str
    ended: str
    inputs: Sequence[Mapping[str, str]] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    models: Sequence[Mapping[str, str]] = ()
    libraries: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, int | None] = field(default_factory=dict)


def crate(run: Run) -> dict[str, Any]:
    """Describe a run as an RO-Crate.

    Returns:
        The JSON-LD document, which lies in the run's folder as `ro-crate-metadata.json`.
    """
    files = [_file(path, size) for path, size in run.files.items()]
    inputs = [_input(each) for each in run.inputs]
    models = [_model(number, each) for number, each in enumerate(run.models)]
    parameters = [_parameter(name, value) for name, value in run.parameters.items()]
    libraries = [
        {**_program(name, version), "@id": f"#library-{quote(name)}"}
        for name, version in run.libraries.items()
    ]
    action = {
        "@id": "#run",
        "@type": "CreateAction",
        "name": f"cellmill {run.pipeline}",
        "instrument": _named([{"@id": "#cellmill"}])[0],
        "object": _named([*inputs, *models, *parameters]),
        "result": _named(files),
        "startTime": run.started,
        "endTime": run.ended,
        "actionStatus": {"@id": _DONE},
    }
    software = {**_program("cellmill", run.version), "@id": "#cellmill"}
    software["softwareRequirements"] = _named(libraries)
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": run.name,
        "description": f"Results of cellmill's pipeline {run.pipeline}.",
        "datePublished": run.ended,
        "conformsTo": {"@id": _PROFILE},
        "hasPart": _named(files),
        "mentions": {"@id": "#run"},
    }
    descriptor = {
        "@id": FILE_NAME,
        "@type": "CreativeWork",
        "conformsTo": {"@id": _CRATE},
        "about": {"@id": "./"},
    }
    profile = {
        "@id": _PROFILE,
        "@type": "CreativeWork",
        "name": "Process Run Crate",
        "version": "0.5",
    }
    graph = [descriptor, root, profile, action, software]
    graph += [*libraries, *models, *parameters, *inputs, *files]
    return {"@context": f"{_CRATE}/context", "@graph": graph}


def _named(things: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    return [{"@id": each["@id"]} for each in things]


def _program(name: str, version: str) -> dict[str, Any]:
    return {"@type": "SoftwareApplication", "name": name, "softwareVersion": version}


def _file(path: str, size: int | None) -> dict[str, Any]:
    name = path.rstrip("/").rsplit("/", 1)[-1]
    described: dict[str, Any] = {"@id": quote(path), "@type": "File", "name": name}
    if size is None:
        return described | {"@type": "Dataset"}
    end = f".{name.rsplit('.', 1)[-1]}"
    kind = _TYPES.get(end) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    return described | {"contentSize": str(size), "encodingFormat": kind}


def _input(found: Mapping[str, str]) -> dict[str, Any]:
    """An input, which is no part of the folder: a path as a URI, its digest as what it is."""
    uri = found["uri"]
    place = uri if "://" in uri else f"file://{quote(uri)}"
    described = {"@id": place, "@type": "File", "name": uri.rstrip("/").rsplit("/", 1)[-1]}
    return described | ({"identifier": found["digest"]} if found.get("digest") else {})


def _model(number: int, card: Mapping[str, str]) -> dict[str, Any]:
    described = {"@id": f"#model-{number}", "@type": "SoftwareApplication", "name": card["name"]}
    named = {"softwareVersion": card.get("version"), "license": card.get("licence")}
    return described | {key: text for key, text in named.items() if text}


def _parameter(name: str, value: Any) -> dict[str, Any]:
    plain = value if isinstance(value, str | int | float) else json.dumps(value, sort_keys=True)
    return {
        "@id": f"#parameter-{quote(name)}",
        "@type": "PropertyValue",
        "name": name,
        "value": plain,
    }
