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

#: DeepCell's own package among segmenters, with Mesmer's network or `deepcell_reference:PATH`.
REFERENCE = "deepcell_reference"
_MESMER = "Mesmer"


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
    models = _words(text) or at_hand()
    if len(set(models)) != len(models):
        raise BadInput("SEGMENTERS", expected="each once", found=text)
    return [
        {"name": name, "model": model, "digest": file_digest(model)}
        for name, model in zip(_names(models), map(model_of, models), strict=True)
    ]


def split_reference(text: str) -> tuple[str, str]:
    """Part DeepCell's own package, which has an environment of its own, from other segmenters.

    Args:
        text: what `segmenters_of` reads, and perhaps `deepcell_reference[:MODEL]`.

    Returns:
        The others, as they were written; and Mesmer's network for the package, empty where it is
        not among them.

    Raises:
        BadInput: a quote is left open, or it is named twice or alone.
    """
    words = _words(text)
    others = [word for word in words if word.partition(":")[0] != REFERENCE]
    asked = [word for word in words if word.partition(":")[0] == REFERENCE]
    if not asked:
        return text, ""
    if len(asked) > 1 or not others:
        expected = f"{REFERENCE} once, and others beside it"
        raise BadInput("SEGMENTERS", expected=expected, found=text)
    return shlex.join(others), asked[0].partition(":")[2] or _MESMER


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise BadInput("SEGMENTERS", expected="words, quoted in pairs", found=str(error)) from None


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
