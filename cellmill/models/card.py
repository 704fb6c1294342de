"""The card of a model: `model.json`, which says what the network beside it takes and gives.

A model is a folder: a TensorFlow SavedModel (`saved_model.pb`, `variables/`) and its card. Every
stage reads the card and no stage knows a model's name, so whatever differs between models is
written here. The dataclasses below mirror the JSON one to one; an unknown key is refused, because a
misspelt parameter that is ignored gives wrong cells.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from cellmill.arrays.files import write_text
from cellmill.compartments import Compartment
from cellmill.errors import BadInput
from cellmill.models.card_json import WrongField, from_json, require, to_json

FORMAT = "cellmill-model/1"
FILE_NAME = "model.json"

HeadKind = Literal["inner_distance", "outer_distance", "pixelwise"]
PreprocessingMethod = Literal["mesmer", "histogram", "percentile", "none"]
MaximaAlgorithm = Literal["h_maxima", "peak_local_max"]


@dataclass(frozen=True)
class InputChannel:
    """One channel that the network expects.

    Args:
        name: short name, a word of the field (`nuclear`, `membrane`).
        meaning: what it must show, for a person to read.
    """

    name: str
    meaning: str = ""


@dataclass(frozen=True)
class ModelInput:
    """What the network is fed: `(N, *tile, len(channels))` float32.

    Args:
        channels: in the network's order.
        mpp: microns per pixel it was trained at; 0 if it has no scale of its own (never resized).
        tile: `(Y, X)` of a tile in pixels.
    """

    channels: tuple[InputChannel, ...]
    mpp: float = 0.0
    tile: tuple[int, int] = (256, 256)


@dataclass(frozen=True)
class Head:
    """One output of the network, `(N, Y, X, channels)` float32.

    Args:
        name: unique in the card; the key of this head's array in predictions.
        compartment: what it is about.
        kind: `inner_distance` (peaks at centres), `outer_distance` (distance to the edge) or
            `pixelwise` (class probabilities).
        channels: how many.
    """

    name: str
    compartment: Compartment
    kind: HeadKind
    channels: int = 1


@dataclass(frozen=True)
class Preprocessing:
    """How pixels are normalised before the network; a field counts for the methods it names.

    Args:
        method: `mesmer` (clip, rescale, CLAHE), `histogram` (rescale, CLAHE), `percentile` (linear
            between two percentiles) or `none` (cast to float32).
        clip_percentile: mesmer: clip above this percentile of a channel's non-zero pixels; 0 does
            not clip.
        kernel_size: mesmer, histogram: CLAHE's window in pixels; 0 is an eighth of a side.
        low: percentile: this percentile of a channel becomes 0.
        high: percentile: this percentile of a channel becomes 1.
    """

    method: PreprocessingMethod = "none"
    clip_percentile: float = 99.9
    kernel_size: int = 128
    low: float = 1.0
    high: float = 99.8

    def __post_init__(self) -> None:
        require(0 <= self.low < self.high <= 100, "low", f"0 ≤ low < {self.high}", f"{self.low}")
        clip = self.clip_percentile
        require(0 <= clip <= 100, "clip_percentile", "0 to 100", f"{clip}")
        require(self.kernel_size >= 0, "kernel_size", "0 or more", f"{self.kernel_size}")


@dataclass(frozen=True)
class Tiling:
    """How an image larger than a tile is cut and put together.

    Args:
        padding: how the image is extended to whole tiles.
        overlap: part of a tile's side that it shares with its neighbour, 0 to 0.5.
    """

    padding: Literal["constant", "reflect"] = "constant"
    overlap: float = 0.25


@dataclass(frozen=True)
class PostprocessingParameters:
    """Deep watershed for one compartment: which heads, and the parameters of REFERENCE's order.

    Args:
        maxima_head: head whose maxima are the markers.
        maxima_channel: channel of that head.
        interior_head: head that is flooded and thresholded.
        interior_channel: channel of that head.
        maxima_threshold: height of a maximum (h) or its least value (`peak_local_max`).
        maxima_smooth: σ in pixels of the Gaussian on the maxima; 0 is none.
        interior_threshold: a pixel belongs to an object above this value.
        interior_smooth: σ in pixels of the Gaussian on the interior; 0 is none.
        radius: of the neighbourhood of a maximum, in pixels.
        small_objects_threshold: objects with fewer pixels are dropped.
        small_objects_fraction: objects smaller than this part of the median area of those left are
            dropped too, and below half of it if the image's border cuts them; 0 is off. Unlike
            pixels it holds at any scale.
        fill_holes_threshold: holes with fewer pixels are filled.
        pixel_expansion: how far objects grow, in pixels.
        maxima_algorithm: `h_maxima` or `peak_local_max`.
    """

    maxima_head: str
    interior_head: str
    maxima_channel: int = 0
    interior_channel: int = 0
    maxima_threshold: float = 0.1
    maxima_smooth: float = 0.0
    interior_threshold: float = 0.2
    interior_smooth: float = 2.0
    radius: int = 2
    small_objects_threshold: int = 15
    small_objects_fraction: float = 0.0
    fill_holes_threshold: int = 15
    pixel_expansion: int = 0
    maxima_algorithm: MaximaAlgorithm = "h_maxima"

    def __post_init__(self) -> None:
        for name in (
            "maxima_smooth",
            "interior_smooth",
            "small_objects_threshold",
            "fill_holes_threshold",
            "pixel_expansion",
        ):
            value = getattr(self, name)
            require(value >= 0, name, "0 or more", f"{value}")
        fraction = self.small_objects_fraction
        require(0 <= fraction <= 1, "small_objects_fraction", "0 to 1", f"{fraction}")
        require(self.radius >= 1, "radius", "at least 1", f"{self.radius}")


@dataclass(frozen=True)
class Weights:
    """Where the SavedModel of a card that does not carry it is had from.

    Args:
        source: `deepcell` (its data API, with the user's token), `url` (public) or `folder` (beside
            the card).
        location: asset name or URL.
        md5: of the archive, as its publisher gives it; `""` if unknown.
    """

    source: Literal["folder", "deepcell", "url"] = "folder"
    location: str = ""
    md5: str = ""


@dataclass(frozen=True)
class ModelCard:
    """Everything that stages know of a model; see the fields' own classes.

    Args:
        name: of the model.
        version: of the model, as text.
        input: what the network takes.
        heads: what it gives, in the order of the SavedModel's outputs.
        postprocessing: per compartment.
        default_compartment: what is segmented if nobody says: a key of `postprocessing`.
        preprocessing: pixel normalisation.
        tiling: how large images are cut.
        description: one paragraph for a person.
        licence: SPDX name or the licence's title.
        citation: what to cite.
        weights: where the SavedModel is had from.
        training: free: data, seed, code version, curve.
        accuracy: free: measured figures, each with the command that measured it.
    """

    name: str
    version: str
    input: ModelInput
    heads: tuple[Head, ...]
    postprocessing: Mapping[Compartment, PostprocessingParameters]
    default_compartment: Compartment
    preprocessing: Preprocessing = Preprocessing()
    tiling: Tiling = Tiling()
    description: str = ""
    licence: str = ""
    citation: str = ""
    weights: Weights = Weights()
    training: Mapping[str, Any] = field(default_factory=dict)
    accuracy: Mapping[str, Any] = field(default_factory=dict)
    format: str = FORMAT

    def __post_init__(self) -> None:
        _check(self)

    @property
    def compartments(self) -> tuple[Compartment, ...]:
        """The compartments that this model can segment, in the card's order."""
        return tuple(self.postprocessing)

    def head(self, name: str) -> Head:
        """The head of that name; `KeyError` if the card has none."""
        return {head.name: head for head in self.heads}[name]

    def to_dict(self) -> dict[str, Any]:
        """The card as JSON values; `from_dict` gives an equal card back."""
        plain = to_json(self)
        return {"format": plain.pop("format"), **plain}

    @classmethod
    def from_dict(cls, values: Any, where: str = "model card") -> ModelCard:
        """Read a card from JSON values.

        Args:
            values: what `json.load` gave, or what `to_dict` gave.
            where: the card's name in error messages.

        Raises:
            BadInput: a field is missing, unknown, of another type or contradicts another.
        """
        try:
            require(isinstance(values, Mapping), "", "a JSON object", type(values).__name__)
            given = values.get("format", "none")
            require(given == FORMAT, "format", f"'{FORMAT}'", repr(given))
            return from_json(cls, values, "")
        except WrongField as wrong:
            what = f"{where}, {wrong.place}" if wrong.place else where
            raise BadInput(what, expected=wrong.expected, found=wrong.found) from None

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> ModelCard:
        """Read the card of the model in `folder` (or the card file itself).

        Raises:
            BadInput: there is no such folder, no card in it, or the card is wrong.
        """
        path = Path(folder)
        if path.is_dir():
            path = path / FILE_NAME
            if not path.is_file():
                raise BadInput(
                    f"model '{folder}'", expected="model.json", found="a model without a card"
                )
        if not path.is_file():
            raise BadInput(f"model '{folder}'", expected="a model folder", found="no such folder")
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise BadInput(f"model card '{path}'", expected="JSON", found=str(error)) from None
        return cls.from_dict(values, where=f"model card '{path}'")

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the card into `folder` as `model.json`, in one rename, and return its path."""
        path = Path(folder) / FILE_NAME
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
        write_text(path, text + "\n")
        return path


def known_cards() -> dict[str, ModelCard]:
    """The cards that come with cellmill, by their models' names, in alphabetical order."""
    folder = files("cellmill.models") / "cards"
    found = {}
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".json"):
            card = ModelCard.from_dict(json.loads(entry.read_text(encoding="utf-8")), entry.name)
            found[card.name] = card
    return found


def _check(card: ModelCard) -> None:
    """Hold the card's fields against each other; raises `WrongField`."""
    require(card.format == FORMAT, "format", FORMAT, repr(card.format))
    require(bool(card.name.strip()), "name", "a name", "an empty text")
    require(bool(card.input.channels), "input.channels", "at least one channel", "none")
    names = [channel.name for channel in card.input.channels]
    require(all(n.strip() for n in names), "input.channels", "a name for each", "an empty name")
    require(len(set(names)) == len(names), "input.channels", "different names", f"{names}")
    require(card.input.mpp >= 0, "input.mpp", "microns per pixel, or 0", f"{card.input.mpp}")
    require(
        min(card.input.tile) >= 8, "input.tile", "sides of at least 8", f"{list(card.input.tile)}"
    )
    heads = {head.name: head for head in card.heads}
    require(bool(card.heads), "heads", "at least one head", "none")
    require(len(heads) == len(card.heads), "heads", "different names", f"{[*heads]}")
    for i, head in enumerate(card.heads):
        require(head.name.isidentifier(), f"heads[{i}].name", "an identifier", repr(head.name))
        require(head.channels >= 1, f"heads[{i}].channels", "at least 1", f"{head.channels}")
    require(0 <= card.tiling.overlap <= 0.5, "tiling.overlap", "0 to 0.5", f"{card.tiling.overlap}")
    require(bool(card.postprocessing), "postprocessing", "at least one compartment", "none")
    for compartment, parameters in card.postprocessing.items():
        _check_postprocessing(parameters, heads, f"postprocessing.{compartment}")
    require(
        card.default_compartment in card.postprocessing,
        "default_compartment",
        f"one of {[*card.postprocessing]}",
        repr(card.default_compartment),
    )
    require(
        card.weights.source == "folder" or bool(card.weights.location),
        "weights.location",
        "an asset name or a URL",
        "an empty text",
    )


def _check_postprocessing(
    parameters: PostprocessingParameters, heads: Mapping[str, Head], place: str
) -> None:
    for role in ("maxima", "interior"):
        name = getattr(parameters, f"{role}_head")
        channel = getattr(parameters, f"{role}_channel")
        require(name in heads, f"{place}.{role}_head", f"one of {[*heads]}", repr(name))
        count = heads[name].channels
        require(0 <= channel < count, f"{place}.{role}_channel", f"0 to {count - 1}", f"{channel}")
