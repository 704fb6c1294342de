"""What a benchmark measures: `SIDES='224 full 1024' SEGMENTERS=… ENGINES='auto tensorflow' …`."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, get_args

from cellmill.benchmark.conditions import SIZES, Segmenter, Sweeps, conditions, default_sides
from cellmill.errors import BadInput
from cellmill.inference.engines import AUTO
from cellmill.inference.network import Device, Precision
from cellmill.inference.registry import ENGINES
from cellmill.io.images import open_file, open_image_at
from cellmill.models.card import FILE_NAME, ModelCard, known_cards
from launch.runs.inputs import Item, plane_choice
from launch.runs.models import model_of
from launch.runs.segmenters import REFERENCE, file_digest, segmenters_of

#: The settings of a benchmark beside its pipeline's parameters, and what help says of them.
SETTINGS = {
    "segmenters": "models with spaces between; those at hand by default",
    "sides": "sizes in px with spaces between, or full; from 224 on by default",
    "batch_sizes": "tiles at a time, the first for all else; 8 1 32 by default",
    "tile_sizes": "sides of the network's tiles in px, 0 for the card's, which is the default",
    "densities": "shares of the truth's objects to keep; 1 0.5 0.25 by default where TRUTH is",
    "channel_counts": "numbers of channels of the image, 0 for its own; 0 8 by default",
    "engines": "auto or names, the first for all else",
    "devices": "auto, or cpu gpu",
    "precisions": "float32, mixed_bfloat16, mixed_float16; the first for all else",
    "repeats": "of each condition after the warm-up; 5 by default",
    "rounds": "processes under each condition; 1 by default",
}
#: The word for the whole image's shorter side.
FULL = "full"


def conditions_of(given: Mapping[str, str], items: Sequence[Item]) -> list[dict[str, Any]]:
    """Return the conditions that the settings ask for, as the pipeline's argument.

    Args:
        given: the settings by name; empty where the user said nothing.
        items: the run's images; a benchmark is of one.

    Raises:
        BadInput: a setting is none, or there are several images.
    """
    if len(items) != 1:
        raise BadInput("IMAGE", expected="one image for a benchmark", found=f"{len(items)}")
    models = [_segmenter(each) for each in segmenters_of(given.get("segmenters", ""))]
    engines = _words(given, "engines", (AUTO, *ENGINES))
    if not engines:
        # The network that ships runs on either; of others only what reads them is known to do.
        engines = [AUTO] if given.get("segmenters") else [AUTO, "tensorflow"]
    sweeps = Sweeps(
        sides=_sides(given, items[0]),
        devices=_words(given, "devices", get_args(Device)) or ["auto"],
        engines=engines,
        precisions=_words(given, "precisions", get_args(Precision)) or ["float32"],
        batch_sizes=_whole(given, "batch_sizes", 1) or [8, 1, 32],
        tiles=_whole(given, "tile_sizes", 0) or [0],
        densities=_shares(given, "densities", items[0]),
        channels=_whole(given, "channel_counts", 0) or [0, 8],
        repeats=_one(given, "repeats", 5),
        rounds=_one(given, "rounds", 1),
    )
    run = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"
    return [each.to_dict() for each in conditions(run, models, sweeps)]


def reference_conditions(measured: Sequence[Mapping[str, Any]], model: str) -> list[dict[str, Any]]:
    """Return what DeepCell's own package is measured under: the sizes of the others.

    Args:
        measured: the conditions of the others, as `conditions_of` gives them.
        model: Mesmer's network: a name, a path or a URI.
    """
    sizes = [each for each in measured if each["sweep"] == SIZES]
    rounds = max(each["round"] for each in sizes)
    first = sizes[0]
    model = model_of(model)
    segmenter = Segmenter(REFERENCE, model, file_digest(model))
    sides = [*dict.fromkeys(each["side"] for each in sizes)]
    sweeps = Sweeps(sides=sides, repeats=first["repeats"], rounds=rounds)
    asked = conditions(first["run"], [segmenter], sweeps)
    return [{**each.to_dict(), "condition": f"r{i:02d}"} for i, each in enumerate(asked, 1)]


def _one(given: Mapping[str, str], name: str, default: int) -> int:
    """A setting that is one whole number, 1 or more."""
    found = _whole(given, name, 1) or [default]
    if len(found) > 1:
        raise BadInput(name.upper(), expected="one whole number", found=repr(given[name]))
    return found[0]


def _segmenter(found: Mapping[str, str]) -> Segmenter:
    return Segmenter(found["name"], found["model"], found["digest"], _has_network(found["model"]))


def _has_network(model: str) -> bool:
    """Whether a model has a network; one that cannot be seen from here is taken to have."""
    known = known_cards().get(model)
    folder = Path(model)
    if known is None and (folder / FILE_NAME).is_file():
        known = ModelCard.load(folder)
    return known is None or bool(known.heads)


def _sides(given: Mapping[str, str], item: Item) -> list[int]:
    words = given.get("sides", "").replace(",", " ").split()
    if words and FULL not in words:
        return _whole(given, "sides", 16)
    shape = _shape(given, item)
    if not words:
        return default_sides(shape)
    asked = {"sides": " ".join(str(min(shape)) if word == FULL else word for word in words)}
    return _whole(asked, "sides", 16)


def _shape(given: Mapping[str, str], item: Item) -> tuple[int, int]:
    """The image's `(Y, X)`; its header alone is read."""
    uri, choice = item["image"], plane_choice(given)
    with open_file(uri) as file, open_image_at(uri, file, **choice) as image:
        height, width = image.shape[-2:]
    return int(height), int(width)


def _words(given: Mapping[str, str], name: str, known: Sequence[str]) -> list[str]:
    words = given.get(name, "").replace(",", " ").split()
    for word in words:
        if word not in known:
            raise BadInput(name.upper(), expected=f"of {', '.join(known)}", found=word)
    return [*dict.fromkeys(words)]


def _whole(given: Mapping[str, str], name: str, least: int) -> list[int]:
    words = given.get(name, "").replace(",", " ").split()
    try:
        numbers = [int(word) for word in words]
    except ValueError:
        numbers = [least - 1]
    if any(number < least for number in numbers):
        expected = f"whole numbers of at least {least}, with spaces between"
        raise BadInput(name.upper(), expected=expected, found=repr(given[name]))
    return [*dict.fromkeys(numbers)]


def _shares(given: Mapping[str, str], name: str, item: Item) -> list[float]:
    words = given.get(name, "").replace(",", " ").split()
    if not words:
        return [1.0, 0.5, 0.25] if item["truth"] else [1.0]
    try:
        shares = [float(word) for word in words]
    except ValueError:
        shares = [math.nan]
    if not all(0 <= share <= 1 for share in shares):
        raise BadInput(name.upper(), expected="shares, 0 to 1", found=repr(given[name]))
    if min(shares) < 1 and not item["truth"]:
        expected = "TRUTH beside it, which says what objects are"
        raise BadInput(name.upper(), expected=expected, found="none")
    return [*dict.fromkeys(shares)]


def tables_of(records: str) -> list[Path]:
    """Return the tables that `RECORDS` names: files, or folders of runs, with spaces between.

    Raises:
        BadInput: there is none, or one is not there.
    """
    found = []
    for word in records.split():
        path = Path(word)
        path = path / "benchmark.csv" if path.is_dir() else path
        if not path.is_file():
            expected = "benchmark.csv or .parquet, or a run's folder with it"
            raise BadInput("RECORDS", expected=expected, found=f"'{word}'")
        found.append(path.absolute())
    if not found:
        raise BadInput("RECORDS", expected="tables or folders of runs", found="nothing")
    return found
