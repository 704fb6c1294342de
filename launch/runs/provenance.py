"""Describes a run's folder as an RO-Crate: what it holds, and of what it was made."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from cellmill.arrays.files import write_text
from cellmill.exports.crate import FILE_NAME, Run, crate

#: What a run's folder holds that is no result.
_ASIDE = ("artifacts", "logs", "run.json", "job.json", FILE_NAME)


def describe_run(folder: Path, batches: Iterable[Mapping[str, Any]]) -> None:
    """Write `ro-crate-metadata.json` into a run's folder, from `run.json` and what batches say.

    Args:
        folder: the run's, its results in place. Without a `run.json` nothing is written.
        batches: attributes of batches of results: `model`, a card, and `libraries`.
    """
    path = folder / "run.json"
    if not path.is_file():
        return
    about = json.loads(path.read_text())
    models: dict[str, Mapping[str, str]] = {}
    libraries: dict[str, str] = {}
    for attributes in batches:
        card = attributes.get("model") or {}
        if card.get("name"):
            models[f"{card['name']} {card.get('version', '')}"] = card
        libraries |= attributes.get("libraries") or {}
    run = Run(
        name=folder.name,
        pipeline=about["pipeline"],
        version=about["version"],
        started=about["started"],
        ended=datetime.now().astimezone().isoformat(timespec="seconds"),
        inputs=_inputs(about["images"]),
        parameters=about["arguments"],
        models=[_facts(card) for card in models.values()],
        libraries=dict(sorted(libraries.items())),
        files=dict(_files(folder)),
    )
    write_text(folder / FILE_NAME, json.dumps(crate(run), indent=1, ensure_ascii=False) + "\n")


def _inputs(items: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for item in items:
        for uri, digest in (("image", "digest"), ("truth", "truth_digest")):
            if item.get(uri):
                found[item[uri]] = {"uri": item[uri], "digest": item.get(digest, "")}
    return list(found.values())


def _facts(card: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(card[key]) for key in ("name", "version", "licence") if card.get(key)}


def _files(folder: Path, below: str = "") -> Iterable[tuple[str, int | None]]:
    """The files of a folder by their paths; a Zarr store is one thing, a link is none."""
    for path in sorted((folder / below).iterdir()):
        name = f"{below}{path.name}"
        if path.is_symlink() or name in _ASIDE:
            continue
        if path.is_file():
            yield name, path.stat().st_size
        elif path.suffix == ".zarr":
            yield f"{name}/", None
        else:
            yield from _files(folder, f"{name}/")
