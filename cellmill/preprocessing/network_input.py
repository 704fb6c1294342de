"""An image as a network is given it, computed as its windows are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cellmill.arrays.channels import SelectedChannels
from cellmill.arrays.windows import Windowed
from cellmill.errors import BadInput
from cellmill.models.card import ModelCard
from cellmill.preprocessing.normalisation import Normalisation, NormalisedImage, normalisation_of
from cellmill.preprocessing.resize import ResizedImage, scaled_shape

#: Beyond this the pixel size is wrong rather than the magnification unusual.
_MOST_SCALING = 16.0


def network_input(
    image: Windowed,
    card: ModelCard,
    *,
    channels: Sequence[int],
    mpp: tuple[float, float] | None,
    normalisation: Normalisation | None = None,
    memory: int = 256 << 20,
    what: str = "image",
) -> NormalisedImage:
    """Show an image as a model's card asks for: its channels, its scale, its normalisation.

    Args:
        image: `(Y, X, C)`, integer or float.
        card: of the model.
        channels: the index of each of the card's channels, `BLANK` for one of zeros.
        mpp: microns per pixel `(y, x)`; `None` does not resize.
        normalisation: what an earlier call found for the same image (`.normalisation`); `None`
            reads the image to find it.
        memory: bytes that the passes over the image may hold.
        what: the image's name in error messages.

    Returns:
        `(Y', X', len(channels))` float32, read by windows.

    Raises:
        BadInput: channels or pixel size do not suit the image, it has values that are not finite,
            or the normalisation is of another image.
    """
    selected = SelectedChannels(image, channels, what)
    shape = model_shape((image.shape[0], image.shape[1]), mpp, card, what)
    extremes = normalisation.source_extremes if normalisation else None
    resized = ResizedImage(selected, shape, extremes, what=what)
    if normalisation is None:
        found = normalisation_of(resized, card.preprocessing, memory=memory, what=what)
        normalisation = replace(found, source_extremes=resized.extremes)
    elif normalisation.parameters != card.preprocessing:
        raise BadInput(
            f"normalisation of {what}",
            expected=f"{card.preprocessing}",
            found=f"{normalisation.parameters}",
        )
    return NormalisedImage(resized, normalisation)


def model_shape(
    shape: tuple[int, int],
    mpp: tuple[float, float] | None,
    card: ModelCard,
    what: str = "image",
    mpp_source: str = "",
) -> tuple[int, int]:
    """The `(Y, X)` that an image has at a model's scale.

    Args:
        shape: `(Y, X)` of the image.
        mpp: its microns per pixel `(y, x)`; `None` if unknown.
        card: of the model.
        what: the image's name in error messages.
        mpp_source: where its pixel size came from, for messages.

    Raises:
        BadInput: see `scaled_shape`, or the pixel size is absurd.
    """
    target = scaled_shape(shape, mpp, card.input.mpp)
    if mpp and card.input.mpp and max(mpp) / card.input.mpp > _MOST_SCALING:
        raise BadInput(
            f"pixel size of {what}",
            expected=f"at most {_MOST_SCALING:g} times the model's {card.input.mpp:g} µm/px "
            "(MPP=… or `cellmill tiff_to_npz --mpp …` sets another)",
            found=f"{max(mpp):g} µm/px" + (f" ({mpp_source})" if mpp_source else ""),
        )
    return target
