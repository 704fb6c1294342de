"""What is compared: `SEGMENTERS='cellmill-nuclei voronoi_otsu path/to/model'`."""

from __future__ import annotations

import shlex
from pathlib import PurePosixPath

from cellmill.errors import BadInput
from cellmill.io.uris import digest, local_path
from cellmill.models.card import ModelCard, known_cards
from cellmill.models.shipped import default_model
from launch.runs.models import model_of

Segmenter = dict[str, str]


def segmenters_of(text: str) -> list[Segmenter]:
    """Read which segmenters to compare.

    Args:
        text: names, paths or URIs of models with spaces between, quoted as a shell wants it; empty
            for what is at hand.

    Returns:
        One `{name, model, digest}` each, the names unique.

    Raises:
        BadInput: a quote is left open, or one is named twice.
    """
    try:
        models = shlex.split(text) or at_hand()
    except ValueError as error:
        raise BadInput("SEGMENTERS", expected="words, quoted in pairs", found=str(error)) from None
    if len(set(models)) != len(models):
        raise BadInput("SEGMENTERS", expected="each once", found=text)
    return [
        {"name": name, "model": model, "digest": file_digest(model)}
        for name, model in zip(_names(models), map(model_of, models), strict=True)
    ]


def at_hand() -> list[str]:
    """What needs no more than this library: its own model, and cards without a network."""
    alone = [name for name, card in known_cards().items() if not card.heads]
    return [ModelCard.load(default_model()).name, *alone]


def file_digest(uri: str) -> str:
    """The digest of a file; none of a folder, a name or a URI."""
    path = local_path(uri) if uri else None
    return digest(uri) if path is not None and path.is_file() else ""


def _names(models: list[str]) -> list[str]:
    """The last part of each path, or as much of it as tells them apart."""
    parts = [PurePosixPath(model.rstrip("/")).parts or (model,) for model in models]
    depth = 1
    while True:
        names = ["/".join(each[-depth:]) for each in parts]
        if len(set(names)) == len(names) or depth > max(map(len, parts)):
            return names
        depth += 1
