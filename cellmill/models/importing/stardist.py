"""Networks of StarDist: a folder with `config.json` and weights, as StarDist writes it.

The network is exported by Keras as a SavedModel of any batch and size. What the network reads
around a pixel is measured by StarDist and decides how large tiles and their overlaps are.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cellmill.errors import BadInput
from cellmill.labels.kinds import NUCLEAR
from cellmill.models.card import (
    Head,
    InputChannel,
    ModelCard,
    ModelInput,
    Preprocessing,
    Tiling,
)
from cellmill.models.importing.interface import Framework, Original, Said, quiet
from cellmill.typed_json import read_object

#: StarDist's own where a folder has none.
_THRESHOLDS = {"prob": 0.5, "nms": 0.4}
#: A tile is at least so many times as wide as its overlap, and so wide.
_TILES_PER_OVERLAP, _LEAST_TILE = 4, 256
_CITATION = "Schmidt et al., Cell Detection with Star-Convex Polygons, MICCAI 2018"


@dataclass(frozen=True)
class StarDistNetwork:
    """A network that StarDist opened.

    Attributes:
        keras_model: the network.
        card: what is said of it.
        tiles: its files have none to compare on.
    """

    keras_model: Any
    card: ModelCard
    tiles: None = None

    def export(self, folder: Path) -> None:
        """Write it as a SavedModel."""
        with quiet():
            self.keras_model.export(str(folder))

    def predict(self, tiles: np.ndarray, /) -> Sequence[np.ndarray]:
        """Its heads by Keras."""
        with quiet():
            return [np.asarray(head) for head in self.keras_model.predict(tiles, verbose=0)]


def _recognises(source: Path) -> bool:
    return (source / "config.json").is_file() and any(source.glob("weights_*.h5"))


def _open(source: Path, said: Said) -> Original:
    config = read_object(source / "config.json", "file")
    _check(config, source)
    thresholds = _THRESHOLDS
    if (source / "thresholds.json").is_file():
        thresholds = read_object(source / "thresholds.json", "file")
    models = importlib.import_module("stardist.models")
    folder = source.resolve()
    try:
        with quiet():
            model = models.StarDist2D(None, name=folder.name, basedir=str(folder.parent))
            reach = max(model._axes_tile_overlap("YX"))
            divisor = math.lcm(*model._axes_div_by("YX"))
    except Exception as error:
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        raise BadInput(f"model '{source}'", expected="a network of StarDist", found=text) from error
    return StarDistNetwork(
        model.keras_model, _card(config, thresholds, reach, divisor, folder.name, said)
    )


def _card(
    config: dict[str, Any],
    thresholds: dict[str, Any],
    reach: int,
    divisor: int,
    name: str,
    said: Said,
) -> ModelCard:
    kind = said.kind or NUCLEAR
    count, stride = int(config["n_channel_in"]), int(config["grid"][0])
    channels = [kind] if count == 1 else [f"channel_{k}" for k in range(count)]
    tile, overlap = _tiles(reach, divisor)
    tiling = Tiling("reflect", overlap / tile, divisor)
    return ModelCard(
        name=said.name or name,
        version=said.version or "1",
        input=ModelInput(
            channels=tuple(InputChannel(each) for each in channels),
            mpp=said.mpp,
            tile=(tile, tile),
            resampling="averaged",
        ),
        heads=(
            Head("probability", kind, "pixelwise", 1, stride, "cropped"),
            Head("distances", kind, "ray_distances", int(config["n_rays"]), stride, "cropped"),
        ),
        postprocessing={
            kind: {
                "method": "stardist",
                "probability_head": "probability",
                "distances_head": "distances",
                "prob_threshold": float(thresholds["prob"]),
                "nms_threshold": float(thresholds["nms"]),
            }
        },
        default_compartment=kind,
        preprocessing=Preprocessing("percentile", low=1.0, high=99.8),
        tiling=tiling,
        description=said.description or f"A StarDist network of {config['n_rays']} rays.",
        licence=said.licence,
        citation=said.citation or _CITATION,
    )


def _tiles(reach: int, divisor: int) -> tuple[int, float]:
    """Side of tiles and their overlap, pixels: an inner half of it is seen by nothing beyond.

    Both are multiples of what the network pools, so that each tile is pooled as the image is.
    """
    step = 2 * divisor
    overlap = math.ceil(2 * reach / step) * step
    return max(math.ceil(_LEAST_TILE / step) * step, _TILES_PER_OVERLAP * overlap), overlap


def _check(config: dict[str, Any], source: Path) -> None:
    """Refuse what cannot be brought in, and what is no configuration of StarDist."""
    what = f"config.json of '{source}'"
    missing = [key for key in ("n_dim", "n_rays", "grid", "n_channel_in") if key not in config]
    if missing:
        raise BadInput(what, expected="StarDist's configuration", found=f"no {missing[0]}")
    if config["n_dim"] != 2:
        raise BadInput(what, expected="n_dim 2", found=f"{config['n_dim']}")
    if config.get("n_classes") is not None:
        raise BadInput(what, expected="one class", found=f"n_classes {config['n_classes']}")
    if len(set(config["grid"])) != 1:
        raise BadInput(what, expected="one grid for y and x", found=f"{config['grid']}")


FRAMEWORK = Framework(
    name="stardist",
    title="StarDist",
    package="stardist",
    image="stardist",
    files="a folder with config.json and weights_*.h5",
    recognises=_recognises,
    open=_open,
)
