"""The card of a model: `model.json`, which says what the network beside it takes and gives.

A model is a folder: a network and its card; or a card alone, without heads, where a method finds
objects in the image itself. Stages read the card and know no model's name, so whatever differs
between models is written here. The dataclasses below mirror the JSON one to one; an unknown key is
refused, because a misspelt parameter that is ignored gives wrong cells.

How objects are found stands on the card as plain values, `{"method": …, …parameters}` for each kind
of object; whoever uses a card holds it against the registry (`cellmill.segmentation.methods`).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from cellmill.arrays.files import write_text
from cellmill.errors import BadInput
from cellmill.labels.kinds import Compartment
from cellmill.models import earlier
from cellmill.models.card_network import check_channels, check_tiles_and_heads
from cellmill.models.card_objects import check_objects
from cellmill.models.card_origin import EngineProof, Import
from cellmill.typed_json import WrongField, from_json, require, to_json

FORMAT = "cellmill-model/2"
FILE_NAME = "model.json"

HeadKind = Literal[
    "inner_distance", "outer_distance", "pixelwise", "ray_distances", "flows", "image"
]
Placement = Literal["blended", "cropped"]
Layout = Literal["strided", "tapered"]
PreprocessingMethod = Literal["mesmer", "histogram", "percentile", "none"]
Resampling = Literal["deepcell", "averaged"]
Planes = Literal["", "z", "y", "x", "zyx"]


@dataclass(frozen=True)
class InputChannel:
    """One channel that the network expects.

    Args:
        name: short name, a word of the field (`nuclear`, `membrane`).
        meaning: what it must show, for a person to read.
        optional: an image may lack it, and the network is given zeros.
    """

    name: str
    meaning: str = ""
    optional: bool = False


@dataclass(frozen=True)
class ModelInput:
    """What the network is fed: `(N, *tile, len(channels))` float32.

    Args:
        channels: in the network's order.
        mpp: microns per pixel that images are brought to; 0 if none is prescribed.
        tile: `(Y, X)` of a tile in pixels; `(Z, Y, X)` of a network that sees volumes.
        object_diameter: median diameter of the objects it was trained on, those of a circle of
            their area, by kind of object, in pixels at the network's scale. A kind that is not
            there is unknown.
        object_diameter_um: the same in microns, of those training images whose pixel size is known.
        scale_tolerance: an image is left at its own scale if by its pixel size its objects should
            be at most so many times smaller or larger than `object_diameter`: the network finds
            them there too. 1 always resizes.
        resampling: how images are brought to that scale: `deepcell`, linear as DeepCell's package
            does it; or `averaged`, linear too, but when shrinking each pixel averages what it
            covers, so that noise is not sampled.
        planes: of a volume the axes across which its planes are fed: `z`, or `zyx`, all three, and
            what comes of them is averaged. Empty: the network was not made for volumes, or sees
            them whole.
    """

    channels: tuple[InputChannel, ...]
    mpp: float = 0.0
    tile: tuple[int, ...] = (256, 256)
    object_diameter: Mapping[Compartment, float] = field(default_factory=dict)
    object_diameter_um: Mapping[Compartment, float] = field(default_factory=dict)
    scale_tolerance: float = 1.0
    resampling: Resampling = "deepcell"
    planes: Planes = ""

    def __post_init__(self) -> None:
        for name in ("object_diameter", "object_diameter_um"):
            for kind, diameter in getattr(self, name).items():
                require(diameter > 0, f"{name}.{kind}", "more than 0", f"{diameter}")
        tolerance = self.scale_tolerance
        require(tolerance >= 1, "scale_tolerance", "1 or more", f"{tolerance}")

    @property
    def fewest_channels(self) -> int:
        """How many channels an image must have; optional ones are behind them."""
        return sum(not channel.optional for channel in self.channels)

    @property
    def sees_volumes(self) -> bool:
        """Whether the network is fed `(N, Z, Y, X, C)`."""
        return len(self.tile) == 3


@dataclass(frozen=True)
class Head:
    """One output of the network, float32.

    It is `(N, (Y - 2 margin) / stride, (X - 2 margin) / stride, channels)`; of a network that sees
    volumes with `(Z - 2 margin_z) / stride_z` before Y.

    Args:
        name: unique in the card; the key of this head's array in predictions.
        compartment: what it is about; empty of an image.
        kind: `inner_distance` (peaks at centres), `outer_distance` (to the edge), `pixelwise`
            (probabilities, a logit), `ray_distances` (to the edge, px), `flows` (to the middle) or
            `image` (grey values that the network makes).
        channels: how many.
        stride: one value stands for so many pixels of the input along Y and X: value `i` is at
            pixel `i × stride`, and an image's head has `ceil(Y / stride)` rows.
        placement: how tiles are put together: `blended`, overlaps added by weight; or `cropped`,
            each tile gives its inner part alone, where values of two tiles must not be mixed.
        margin: pixels at each side of a tile along Y and X that the network reads and gives nothing
            for, as one of valid convolutions alone; of a network that sees volumes images' alone.
        stride_z: the same as `stride` along Z, of a network that sees volumes.
        margin_z: the same as `margin` along Z.
    """

    name: str
    compartment: Compartment
    kind: HeadKind
    channels: int = 1
    stride: int = 1
    placement: Placement = "blended"
    margin: int = 0
    stride_z: int = 1
    margin_z: int = 0

    def strides(self, axes: int) -> tuple[int, ...]:
        """Pixels of the input a value: of two axes along Y and X, of three along Z too."""
        return (self.stride_z, self.stride, self.stride)[3 - axes :]

    def margins(self, axes: int) -> tuple[int, ...]:
        """Pixels at each side that it gives nothing for: of two axes along Y and X, of three Z."""
        return (self.margin_z, self.margin, self.margin)[3 - axes :]

    def shape_over(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of this head, channels last, over an image or a tile `(Y, X)` or `(Z, Y, X)`."""
        axes = len(shape)
        edges = zip(shape, self.margins(axes), self.strides(axes), strict=True)
        sides = (-(-(side - 2 * margin) // step) for side, margin, step in edges)
        return (*sides, self.channels)


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
        noise_floor: percentile: what becomes 1 lies at least this many times the background's noise
            above what becomes 0, so that the noise of an almost empty image is not stretched; 0 is
            off.
        outlier_limit: percentile: what becomes 1 lies at most this many times as far above what
            becomes 0 as the 99th percentile, so that a few saturated pixels do not darken all the
            rest; 0 is off.
    """

    method: PreprocessingMethod = "none"
    clip_percentile: float = 99.9
    kernel_size: int = 128
    low: float = 1.0
    high: float = 99.8
    noise_floor: float = 0.0
    outlier_limit: float = 0.0

    def __post_init__(self) -> None:
        require(0 <= self.low < self.high <= 100, "low", f"0 ≤ low < {self.high}", f"{self.low}")
        clip = self.clip_percentile
        require(0 <= clip <= 100, "clip_percentile", "0 to 100", f"{clip}")
        for name in ("kernel_size", "noise_floor", "outlier_limit"):
            require(getattr(self, name) >= 0, name, "0 or more", f"{getattr(self, name)}")


@dataclass(frozen=True)
class Tiling:
    """How an image larger than a tile is cut and put together.

    Args:
        padding: how the image is extended to whole tiles.
        overlap: part of a tile's side that it shares with its neighbour, 0 to 0.5.
        alignment: tiles start at multiples of so many pixels, those that the network pools.
        alignment_z: the same along Z, of a network that sees volumes; 0 is `alignment`.
        margin: pixels by which tiles reach beyond the image on each side at least.
        fitted: tiles are as much smaller than `input.tile` as still covers an image with as many:
            less is computed beyond the image. For networks of planes that take any such sides.
        layout: `strided`, at equal distances; `tapered`, laid and averaged as Cellpose's.
    """

    padding: Literal["constant", "reflect"] = "constant"
    overlap: float = 0.25
    alignment: int = 1
    margin: int = 0
    fitted: bool = False
    layout: Layout = "strided"
    alignment_z: int = 0

    def alignments(self, axes: int) -> tuple[int, ...]:
        """Pixels: of two axes along Y and X, of three along Z too."""
        return (self.alignment_z or self.alignment, self.alignment, self.alignment)[3 - axes :]


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
        heads: what it gives, in the order of the network's outputs; none without a network.
        postprocessing: by kind of object how it is found: `method`, the heads and channels that it
            reads (`<role>_head`, `<role>_channel`), and the method's parameters.
        default_compartment: what is segmented if nobody says: a key of `postprocessing`, which is
            empty, as this is, of a network that makes images.
        preprocessing: pixel normalisation.
        tiling: how large images are cut.
        description: one paragraph for a person.
        licence: SPDX name or the licence's title.
        citation: what to cite.
        weights: where the SavedModel is had from.
        size_model: whether the style of the network tells how large an image's objects are, by what
            lies beside it (`cellmill.models.size_model`).
        engines: by an engine's name what `make prove-engines` found of it on CPUs.
        imported: where the network was brought in from; none of one that was not.
        training: free: data, seed, code version, curve.
        accuracy: free: measured figures, each with the command that measured it.
    """

    name: str
    version: str
    input: ModelInput
    heads: tuple[Head, ...]
    postprocessing: Mapping[Compartment, Mapping[str, Any]]
    default_compartment: Compartment
    preprocessing: Preprocessing = Preprocessing()
    tiling: Tiling = Tiling()
    description: str = ""
    licence: str = ""
    citation: str = ""
    weights: Weights = Weights()
    size_model: bool = False
    engines: Mapping[str, EngineProof] = field(default_factory=dict)
    imported: Import | None = None
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

    @property
    def alignment(self) -> int:
        """Pixels: what starts at multiples of it in the input starts at a value of every head."""
        return math.lcm(*(math.lcm(*head.strides(len(self.input.tile))) for head in self.heads))

    def with_postprocessing(self, changed: Mapping[str, Mapping[str, Any]]) -> ModelCard:
        """The card with other post-processing of some kinds of object."""
        return replace(self, postprocessing={**self.postprocessing, **changed})

    def to_dict(self) -> dict[str, Any]:
        """The card as JSON values; `from_dict` gives an equal card back."""
        plain = to_json(self)
        return {"format": plain.pop("format"), **plain}

    @classmethod
    def from_dict(cls, values: Any, where: str = "model card") -> ModelCard:
        """Read a card from JSON values, of this format or of an earlier one.

        Args:
            values: what `json.load` gave, or what `to_dict` gave.
            where: the card's name in error messages.

        Raises:
            BadInput: a field is missing, unknown, of another type or contradicts another.
        """
        try:
            require(isinstance(values, Mapping), "", "a JSON object", type(values).__name__)
            given = values.get("format", "none")
            if given == earlier.FORMAT:
                values = earlier.converted(values, FORMAT)
            else:
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
    check_channels(card.input.channels)
    require(card.input.mpp >= 0, "input.mpp", "microns per pixel, or 0", f"{card.input.mpp}")
    check_tiles_and_heads(card.input.tile, card.heads, card.tiling)
    is_image = bool(card.heads) and all(head.kind == "image" for head in card.heads)
    check_objects(card.postprocessing, card.default_compartment, is_image)
    own = card.default_compartment
    roles = {"flows_head", "probability_head"} <= {*card.postprocessing.get(own, {})}
    fits = not card.size_model or (roles and own in card.input.object_diameter)
    require(fits, "size_model", f"flows, and object_diameter.{own}, with a size model", "true")
    located = card.weights.source == "folder" or bool(card.weights.location)
    require(located, "weights.location", "an asset name or a URL", "an empty text")
