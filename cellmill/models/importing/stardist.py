"""Networks of StarDist: a folder with `config.json` and weights, as StarDist writes it.

The network is exported by Keras as a SavedModel of any batch and size. What the network reads
around a pixel is measured by StarDist and decides how large tiles and their overlaps are. A network
of three dimensions sees volumes: its tiles are blocks.
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
#: A block of volumes is at least so wide, and twice or four times its overlap: four times where it
#: has no more than so many voxels then.
_LEAST_BLOCK, _MOST_VOXELS = 64, 128**3
_CITATIONS = {
    2: "Schmidt et al., Cell Detection with Star-Convex Polygons, MICCAI 2018",
    3: "Weigert et al., Star-convex Polyhedra for 3D Object Detection and Segmentation in "
    "Microscopy, WACV 2020",
}
#: The rays of volumes that are known here.
_GOLDEN = "Rays_GoldenSpiral"


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
            of_dimension = {2: models.StarDist2D, 3: models.StarDist3D}[config["n_dim"]]
            model = of_dimension(None, name=folder.name, basedir=str(folder.parent))
            axes = "ZYX"[-config["n_dim"] :]
            reach = tuple(int(each) for each in model._axes_tile_overlap(axes))
            divisor = math.lcm(*model._axes_div_by(axes))
    except Exception as error:
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        raise BadInput(f"model '{source}'", expected="a network of StarDist", found=text) from error
    return StarDistNetwork(
        model.keras_model, _card(config, thresholds, reach, divisor, folder.name, said)
    )


def _card(
    config: dict[str, Any],
    thresholds: dict[str, Any],
    reach: tuple[int, ...],
    divisor: int,
    name: str,
    said: Said,
) -> ModelCard:
    kind = said.kind or NUCLEAR
    count, stride = int(config["n_channel_in"]), int(config["grid"][-1])
    channels = [kind] if count == 1 else [f"channel_{k}" for k in range(count)]
    rays = int(config["n_rays"])
    if len(reach) == 3:
        tile, part = _blocks(reach, divisor)
        stride_z, about_rays = int(config["grid"][0]), _anisotropy(config)
    else:
        side, overlap = _tiles(max(reach), divisor)
        tile, part, stride_z, about_rays = (side, side), overlap / side, 1, {}
    return ModelCard(
        name=said.name or name,
        version=said.version or "1",
        input=ModelInput(
            channels=tuple(InputChannel(each) for each in channels),
            mpp=said.mpp,
            tile=tile,
            resampling="averaged",
        ),
        heads=(
            Head("probability", kind, "pixelwise", 1, stride, "cropped", stride_z=stride_z),
            Head("distances", kind, "ray_distances", rays, stride, "cropped", stride_z=stride_z),
        ),
        postprocessing={
            kind: {
                "method": "stardist",
                "probability_head": "probability",
                "distances_head": "distances",
                "prob_threshold": float(thresholds["prob"]),
                "nms_threshold": float(thresholds["nms"]),
                **about_rays,
            }
        },
        default_compartment=kind,
        preprocessing=Preprocessing("percentile", low=1.0, high=99.8),
        tiling=Tiling("reflect", part, divisor),
        description=said.description or f"A StarDist network of {rays} rays.",
        licence=said.licence,
        citation=said.citation or _CITATIONS[len(tile)],
    )


def _tiles(reach: int, divisor: int) -> tuple[int, float]:
    """Side of tiles and their overlap, pixels: an inner half of it is seen by nothing beyond.

    Both are multiples of what the network pools, so that each tile is pooled as the image is.
    """
    step = 2 * divisor
    overlap = math.ceil(2 * reach / step) * step
    return max(math.ceil(_LEAST_TILE / step) * step, _TILES_PER_OVERLAP * overlap), overlap


def _blocks(reach: tuple[int, ...], divisor: int) -> tuple[tuple[int, ...], float]:
    """Sides of blocks along Z, Y, X, and the part of each that neighbours share.

    That part is at least twice what the network reads around a voxel.
    """
    step = 4 * divisor
    for parts in (4, 2):
        sides = tuple(
            max(parts * math.ceil(2 * each / step) * step, math.ceil(_LEAST_BLOCK / step) * step)
            for each in reach
        )
        if math.prod(sides) <= _MOST_VOXELS:
            break
    return sides, 1 / parts


def _anisotropy(config: dict[str, Any]) -> dict[str, float]:
    """Parameters that say how the rays of a network of volumes lie."""
    given = config["rays_json"]["kwargs"].get("anisotropy") or (1, 1, 1)
    return {f"anisotropy_{axis}": float(each) for axis, each in zip("zyx", given, strict=True)}


def _check(config: dict[str, Any], source: Path) -> None:
    """Refuse what cannot be brought in, and what is no configuration of StarDist."""
    what = f"config.json of '{source}'"
    missing = [key for key in ("n_dim", "n_rays", "grid", "n_channel_in") if key not in config]
    if missing:
        raise BadInput(what, expected="StarDist's configuration", found=f"no {missing[0]}")
    if config["n_dim"] not in (2, 3):
        raise BadInput(what, expected="n_dim 2 or 3", found=f"{config['n_dim']}")
    if config.get("n_classes") is not None:
        raise BadInput(what, expected="one class", found=f"n_classes {config['n_classes']}")
    if len(config["grid"]) != config["n_dim"] or len(set(config["grid"][-2:])) != 1:
        raise BadInput(what, expected="one grid for y and x", found=f"{config['grid']}")
    if config["n_dim"] == 3:
        rays = (config.get("rays_json") or {}).get("name")
        if rays != _GOLDEN:
            raise BadInput(what, expected=f"rays of {_GOLDEN}", found=f"{rays}")


FRAMEWORK = Framework(
    name="stardist",
    title="StarDist",
    package="stardist",
    image="stardist",
    files="a folder with config.json and weights_*.h5",
    recognises=_recognises,
    open=_open,
)
