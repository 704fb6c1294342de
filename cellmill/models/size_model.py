"""A size model: how large an image's objects are, by the style that a network sees in it.

It is Cellpose's (Stringer et al., "Cellpose: a generalist algorithm for cellular segmentation",
Nature Methods 18, 2021): a linear regression of the logarithm of diameters on the network's style.
It lies beside the network as `size_model.json`, and the model's card says that it does.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from cellmill.arrays.files import write_text
from cellmill.errors import BadInput
from cellmill.models.card import Head, ModelCard
from cellmill.typed_json import WrongField, from_json, read_object, require, to_json

FORMAT = "cellmill-size-model/1"
FILE_NAME = "size_model.json"
OUTPUT = "style"
"""The output of a network `(N, 1, 1, values)` that is its tiles' styles."""

#: No estimate by style alone is smaller, pixels.
_LEAST_DIAMETER = 5.0
#: Of what is finite in float64; NaN is not below it.
_LARGEST_LOGARITHM = 709.0


@dataclass(frozen=True)
class SizeModel:
    """A linear model of the logarithm of diameters.

    Args:
        diameter: of objects at the scale for which `weights` were found, pixels.
        shown_diameter: an image is first shown to the network as if its objects had this diameter:
            the mean of those that the network was trained on, pixels.
        offset: added to the logarithm.
        style_mean: subtracted from a style.
        weights: of what is left of each of its values.
        source: digest of the file that it was read from; it does not make two of them differ.
    """

    diameter: float
    shown_diameter: float
    offset: float
    style_mean: tuple[float, ...]
    weights: tuple[float, ...]
    source: str = field(default="", compare=False)
    format: str = FORMAT

    def __post_init__(self) -> None:
        require(self.format == FORMAT, "format", FORMAT, repr(self.format))
        for name in ("diameter", "shown_diameter"):
            value = getattr(self, name)
            require(0 < value < math.inf, name, "more than 0", f"{value}")
        count, means = len(self.weights), len(self.style_mean)
        require(count == means > 0, "weights", f"{means} as of style_mean", f"{count}")

    def diameter_of(self, style: np.ndarray) -> float:
        """The diameter of an image's objects by its style alone, in pixels of the image.

        Args:
            style: `(values,)`.
        """
        centred = np.asarray(style, np.float64) - np.array(self.style_mean)
        logarithm = float(np.array(self.weights) @ centred) + math.log(self.diameter) + self.offset
        if not logarithm < _LARGEST_LOGARITHM:
            return self.diameter
        return max(_LEAST_DIAMETER, math.exp(logarithm))

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write it beside a network."""
        text = json.dumps(to_json(self), indent=1, allow_nan=False)
        write_text(Path(folder) / FILE_NAME, text + "\n")

    @classmethod
    def load(cls, folder: str | os.PathLike[str], model: str = "model") -> SizeModel:
        """Read the one beside a network.

        Args:
            folder: of the model.
            model: its name in error messages.

        Raises:
            BadInput: there is none, or it is wrong.
        """
        path, what = Path(folder) / FILE_NAME, f"size model of '{model}'"
        if not path.is_file():
            raise BadInput(
                what, expected=f"{FILE_NAME} beside its network, as its card says", found="none"
            )
        try:
            found: SizeModel = from_json(cls, read_object(path, what), "")
        except WrongField as wrong:
            where = f"{what}, {wrong.place}" if wrong.place else what
            raise BadInput(where, expected=wrong.expected, found=wrong.found) from None
        return found


def style_head(card: ModelCard, values: int) -> Head:
    """The style of a network's tiles as a head, one value a channel for a whole tile."""
    return Head(OUTPUT, "", "image", values, max(card.input.tile))


def style_card(card: ModelCard, values: int) -> ModelCard:
    """A model's card for its network's style alone; of its tiles the model's own card speaks."""
    return replace(
        card,
        heads=(style_head(card, values),),
        postprocessing={},
        default_compartment="",
        tiling=replace(card.tiling, layout="strided"),
        size_model=False,
    )


def with_style(card: ModelCard, values: int) -> ModelCard:
    """A model's card with its network's style behind the heads, to compare them all."""
    plain = replace(card.tiling, layout="strided")
    return replace(card, heads=(*card.heads, style_head(card, values)), tiling=plain)
