"""At which scale an image is given to a network: what decides, and what follows from it.

What is told of the objects' diameter comes first, a number or `auto`, and is done exactly: `auto`
asks the network's size model if it has one, and else looks at the image's own pixels. Else a
known pixel size says how large the objects usually are: a card with a pixel size of its own
(DeepCell's) is followed exactly; one that knows its objects' diameter in microns resizes where they
would be out of the range that the network was trained over. Else the image stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from cellmill.arrays.windows import Windowed
from cellmill.errors import BadInput
from cellmill.labels.kinds import Compartment
from cellmill.models.card import ModelCard
from cellmill.models.chosen import chosen_compartments
from cellmill.preprocessing.object_size import (
    DiameterEstimate,
    StyleEstimate,
    estimate_diameter,
)
from cellmill.preprocessing.resize import scaled_shape

AUTO: Literal["auto"] = "auto"
#: What is told of the objects' diameter: pixels of the image, `auto`, or nothing.
Diameter = float | Literal["auto"] | None
SizeModelOf = Callable[[Windowed, int, str], StyleEstimate]
"""Asks a network's size model of an image `(Y, X, C)`, in so many bytes, with its name."""
#: An image is enlarged at most so many times: beyond, a number is wrong rather than unusual.
MOST_SCALING = 16.0


@dataclass(frozen=True)
class Scaling:
    """How an image is brought to a network's scale.

    Attributes:
        shape: `(Y, X)` at the network's scale.
        by: what decided: `diameter` or `auto`, as told; `mpp`, the pixel size; empty where the
            image stays as it is.
        kind: of the objects that the diameters are about; empty where none is known.
        diameter: theirs in pixels of the image, as told, estimated or expected by the pixel size;
            0 where it is unknown.
        network_diameter: what the network was trained on, in pixels at its scale; 0 if unknown.
        estimate: how the diameter was estimated; `None` where it was not asked for.
        remark: what a user should know of it; empty if nothing.
    """

    shape: tuple[int, int]
    by: Literal["diameter", "auto", "mpp", ""] = ""
    kind: Compartment = ""
    diameter: float = 0.0
    network_diameter: float = 0.0
    estimate: DiameterEstimate | StyleEstimate | None = None
    remark: str = ""

    def to_attributes(self) -> dict[str, Any]:
        """As an entry's attributes and a record have it."""
        found = asdict(self)
        del found["shape"], found["remark"]
        return found


def parsed_diameter(told: str | float | None) -> Diameter:
    """What a user said of the objects' diameter.

    Args:
        told: pixels of the image, `auto`, or nothing.

    Raises:
        BadInput: it is something else.
    """
    text = "" if told is None else str(told).strip()
    if not text:
        return None
    if text.lower() == AUTO:
        return AUTO
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise BadInput(
            "diameter", expected="the objects' diameter in pixels, or auto", found=repr(told)
        )
    return number


@dataclass(frozen=True)
class ScaleSettings:
    """What was told of scale, held against a model's card.

    Attributes:
        card: of the model.
        diameter: of the objects.
        kind: of the objects that the diameter is about.
        match_mpp: whether pixel sizes count.
    """

    card: ModelCard
    diameter: Diameter
    kind: Compartment
    match_mpp: bool = True

    @classmethod
    def of(
        cls,
        card: ModelCard,
        diameter: str | float | None,
        compartment: str = "",
        match_mpp: bool = True,
    ) -> ScaleSettings:
        """Read what a user said, before any image is opened.

        Args:
            card: of the model.
            diameter: pixels, `auto` or nothing.
            compartment: what will be segmented; empty is the card's default.
            match_mpp: whether pixel sizes count.

        Raises:
            BadInput: the diameter or the compartment is none, or the card does not say what a
                diameter is to become.
        """
        told = parsed_diameter(diameter)
        chosen = chosen_compartments(card, compartment)
        kind = card.default_compartment
        kind = kind if kind in chosen else chosen[0]
        if told is not None:
            check_diameter_known(card, kind)
        return cls(card, told, kind, match_mpp)

    def scaling(
        self,
        image: Windowed,
        *,
        mpp: tuple[float, ...] | None,
        mpp_source: str = "",
        memory: int = 256 << 20,
        what: str = "image",
        size_model: SizeModelOf | None = None,
    ) -> Scaling:
        """Choose an image's scale, as `scaling_of` does.

        Args:
            image: `(Y, X, C)`, the model's channels in its order.
            mpp: microns per pixel `(y, x)` of the image, or `(z, y, x)` of the volume that it is a
                plane of; `None` if unknown.
            mpp_source: where they came from, for messages.
            memory: bytes to estimate in.
            what: the image's name in error messages.
            size_model: see `scaling_of`.

        Raises:
            BadInput: see `scaling_of`.
        """
        return scaling_of(
            image,
            self.card,
            diameter=self.diameter,
            kind=self.kind,
            mpp=plane_mpp(mpp) if self.match_mpp else None,
            mpp_source=mpp_source,
            memory=memory,
            what=what,
            size_model=size_model,
        )


def plane_mpp(mpp: tuple[float, ...] | None) -> tuple[float, float] | None:
    """The pixel size `(y, x)` of an image, or of the planes of a volume; `None` where unknown."""
    return (mpp[-2], mpp[-1]) if mpp else None


def scaling_of(
    image: Windowed,
    card: ModelCard,
    *,
    diameter: Diameter = None,
    kind: Compartment = "",
    mpp: tuple[float, float] | None = None,
    mpp_source: str = "",
    memory: int = 256 << 20,
    what: str = "image",
    size_model: SizeModelOf | None = None,
) -> Scaling:
    """Choose the scale at which an image is given to a network.

    Args:
        image: `(Y, X, C)`, the model's channels in its order; pixels are read for `auto` alone.
        card: of the model.
        diameter: what is told of the objects' diameter, in pixels of the image.
        kind: of the objects that a told diameter is about; empty is the card's default.
        mpp: microns per pixel `(y, x)` of the image; `None` if unknown or not to be used.
        mpp_source: where they came from, for messages.
        memory: bytes to estimate in.
        what: the image's name in error messages.
        size_model: of the network, for `auto`; `None` where it has none.

    Raises:
        BadInput: the card does not say what a diameter is to become, or a diameter or a pixel size
            does not suit the image.
    """
    shape = (image.shape[0], image.shape[1])
    kind = kind or card.default_compartment
    if diameter is None:
        return _by_pixel_size(shape, card, kind, mpp, mpp_source, what)
    if not isinstance(diameter, str):
        return _by_diameter(shape, card, kind, diameter, mpp, what)
    if size_model is not None:
        check_diameter_known(card, kind)
        return _by_size_model(size_model(image, memory, what), shape, card, kind, mpp, what)
    channel, kind = _shown(card, kind)
    check_diameter_known(card, kind)
    trained = card.input.object_diameter[kind]
    estimate = estimate_diameter(image, channel, memory)
    if estimate.diameter * MOST_SCALING < trained:
        found = _by_pixel_size(shape, card, kind, mpp, mpp_source, what)
        scale = "by its pixel size" if found.by else "at its own scale"
        remark = f"diameter auto: nothing of a cell's size stands out, so segmented {scale}"
        return replace(found, estimate=estimate, remark=remark)
    found = _by_diameter(shape, card, kind, estimate.diameter, mpp, what)
    remark = (
        f"objects of about {estimate.diameter:g} px, estimated ({estimate.agreeing} of "
        f"{estimate.voting} parts of the image agree), were segmented at {trained:g} px: the image "
        f"scaled {trained / estimate.diameter:.3g} times"
    )
    return replace(found, by="auto", estimate=estimate, remark=remark)


def _by_size_model(
    estimate: StyleEstimate,
    shape: tuple[int, int],
    card: ModelCard,
    kind: Compartment,
    mpp: tuple[float, float] | None,
    what: str,
) -> Scaling:
    """Bring objects of the diameter that a size model found to the network's."""
    trained = card.input.object_diameter[kind]
    # An image that is smaller than its objects is not enlarged for it, nor shrunk to nothing.
    diameter = max(min(estimate.diameter, *shape), trained / MOST_SCALING)
    measured = f"{estimate.objects} found" if estimate.objects else "none found to measure"
    remark = (
        f"objects of about {diameter:.4g} px, by the model's size model ({measured}; "
        f"{estimate.by_style:.4g} px by style alone), were segmented at {trained:g} px: the image "
        f"scaled {trained / diameter:.3g} times"
    )
    found = _by_diameter(shape, card, kind, diameter, mpp, what)
    return replace(found, by="auto", estimate=estimate, remark=remark)


def _shown(card: ModelCard, kind: Compartment) -> tuple[int, Compartment]:
    """The channel to estimate in, and the kind of object that it shows.

    A channel that has a kind's name shows that kind; else the first channel shows what is asked.
    """
    for index, channel in enumerate(card.input.channels):
        if channel.name in card.input.object_diameter:
            return index, channel.name
    return 0, kind


def check_diameter_known(card: ModelCard, kind: Compartment) -> None:
    """Refuse a told diameter where the card does not say what it is to become.

    Args:
        card: of the model.
        kind: of the objects.

    Raises:
        BadInput: the card has no diameter of that kind.
    """
    if kind not in card.input.object_diameter:
        instead = "; MPP=… brings an image to its scale" if card.input.mpp else ""
        raise BadInput(
            "diameter",
            expected=f"none: the card of model '{card.name}' does not say on which diameter of "
            f"{kind} it was trained{instead}",
            found="one",
        )


def _by_diameter(
    shape: tuple[int, int],
    card: ModelCard,
    kind: Compartment,
    diameter: float,
    mpp: tuple[float, float] | None,
    what: str,
) -> Scaling:
    """Bring objects of a diameter to the one that the network was trained on, exactly."""
    check_diameter_known(card, kind)
    trained = card.input.object_diameter[kind]
    least, most = trained / MOST_SCALING, min(shape)
    if not least <= diameter <= most:
        raise BadInput(
            f"diameter of the objects in {what}",
            expected=f"{least:.2g} px to the image's shorter side, {most} px",
            found=f"{diameter:g} px",
        )
    # Pixels that are not square become so; the diameter is that of the circle of equal area.
    sides = mpp or (1.0, 1.0)
    mean = math.sqrt(sides[0] * sides[1])
    resized = [
        max(round(length * side / mean * trained / diameter), 1)
        for length, side in zip(shape, sides, strict=True)
    ]
    return Scaling((resized[0], resized[1]), "diameter", kind, diameter, trained)


def _by_pixel_size(
    shape: tuple[int, int],
    card: ModelCard,
    kind: Compartment,
    mpp: tuple[float, float] | None,
    mpp_source: str,
    what: str,
) -> Scaling:
    """Go by the pixel size, as far as it and the card say something."""
    trained = card.input.object_diameter.get(kind, 0.0)
    microns = card.input.object_diameter_um.get(kind, 0.0)
    own = Scaling(shape, kind=kind if trained else "", network_diameter=trained)
    if mpp is None:
        return own
    if card.input.mpp:
        return replace(own, shape=model_shape(shape, mpp, card, what, mpp_source), by="mpp")
    if not trained or not microns:
        return own
    expected = microns / math.sqrt(mpp[0] * mpp[1])
    found = replace(own, diameter=round(expected, 1))
    ratio = expected / trained
    if max(ratio, 1 / ratio) <= card.input.scale_tolerance or expected > min(shape):
        return found
    size = f"at {mpp[1]:.3g} µm/px objects should be about {expected:.2g} px across"
    if ratio * MOST_SCALING < 1:
        return replace(found, remark=f"{size}: not believed, so segmented at its own scale")
    remark = (
        f"{size}: segmented at {trained:g} px, on which the network was trained, the image scaled "
        f"{1 / ratio:.3g} times (a diameter can be given instead)"
    )
    return replace(
        found, shape=scaled_shape(shape, mpp, microns / trained), by="mpp", remark=remark
    )


def model_shape(
    shape: tuple[int, int],
    mpp: tuple[float, float],
    card: ModelCard,
    what: str = "image",
    mpp_source: str = "",
) -> tuple[int, int]:
    """The `(Y, X)` that an image has at the pixel size which a card prescribes.

    Args:
        shape: `(Y, X)` of the image.
        mpp: its microns per pixel `(y, x)`.
        card: of the model; its `input.mpp` is not 0.
        what: the image's name in error messages.
        mpp_source: where its pixel size came from, for messages.

    Raises:
        BadInput: see `scaled_shape`, or the pixel size is absurd.
    """
    target = scaled_shape(shape, mpp, card.input.mpp)
    if max(mpp) / card.input.mpp > MOST_SCALING:
        raise BadInput(
            f"pixel size of {what}",
            expected=f"at most {MOST_SCALING:g} times the model's {card.input.mpp:g} µm/px "
            "(MPP=… or `cellmill tiff_to_npz --mpp …` sets another)",
            found=f"{max(mpp):g} µm/px" + (f" ({mpp_source})" if mpp_source else ""),
        )
    return target
