"""*Open a run*: a run's folder as layers; the image, its labels, the truth, what was measured.

`run.json` says which images there were and where they and their truth lie; each image has a folder
of its own beside it. A folder of one image is opened alone. What is missing or was moved is said
and left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from napari.utils.notifications import show_warning

from cellmill.arrays.groups import read_group
from cellmill.arrays.ome import read_image
from cellmill.errors import BadInput, CellmillError
from cellmill.io.images import open_file, open_image, read_pixels
from cellmill.io.suffixes import is_zarr
from cellmill.io.truth.read import read_truth
from cellmill.labels.kinds import NUCLEAR, WHOLE_CELL
from napari_cellmill.images import LayerData, image_layers
from napari_cellmill.layers import features_by_kind, label_levels, placement

#: Files of a run, as its pipeline names them.
ABOUT, LABELS, LABELS_ZARR = "run.json", "labels.tif", "labels.ome.zarr"
MEASUREMENTS = "measurements.parquet"
RESTORED = "restored.tif"
#: So many images of a run are opened at once.
MOST_IMAGES = 12
_WORDS = {WHOLE_CELL: "whole cells", NUCLEAR: "nuclei"}


@dataclass(frozen=True)
class RunImage:
    """One image of a run.

    Attributes:
        name: of the image.
        folder: that holds what the run left for it.
        image: path or URI of the image; empty where the run does not say.
        truth: of its truth; empty without.
        settings: the run's, among them which plane was read.
    """

    name: str
    folder: Path
    image: str
    truth: str
    settings: dict[str, Any]


def get_reader(path: str | list[str]) -> Callable[[str], list[LayerData]] | None:
    """Say how a path is read, for napari; None where it is neither a run nor an OME-Zarr.

    Args:
        path: of a run, its `run.json`, the folder of one of its images, or an OME-Zarr.
    """
    if not isinstance(path, str):
        return None
    place = Path(path)
    if place.name == ABOUT or (place / ABOUT).is_file() or (place.parent / ABOUT).is_file():
        return run_layers
    if is_zarr(path) and place.is_dir():
        return zarr_layers
    return None


def zarr_layers(path: str) -> list[LayerData]:
    """The channels of an OME-Zarr, and its label images, read as they are looked at.

    Raises:
        BadInput: there is neither.
    """
    name = Path(path).name.split(".")[0]
    found = list(_zarr_labels(Path(path), f"{name}: ", {}))
    try:
        volume = "z" in read_image(path).axes
        return [*image_layers(path, name, z="all" if volume else -1), *found]
    except BadInput:
        if not found:
            raise
        return found


def run_layers(path: str) -> list[LayerData]:
    """The layers of a run, or of one of its images.

    Args:
        path: of the run's folder, its `run.json`, or the folder of one image.

    Raises:
        BadInput: it is no run, or has no image with results.
    """
    images = images_of(Path(path))
    if len(images) > MOST_IMAGES:
        show_warning(
            f"{len(images)} images: the first {MOST_IMAGES} are opened; "
            f"open {Path(path).name}/NAME for another"
        )
    layers: list[LayerData] = []
    for number, image in enumerate(images[:MOST_IMAGES]):
        for data, about, kind in _layers_of(image):
            about["visible"] = about.get("visible", True) and number == 0
            layers.append((data, about, kind))
    return layers


def images_of(path: Path) -> list[RunImage]:
    """The images of a run that have results.

    Raises:
        BadInput: it is no run, or none of its images has.
    """
    place = path.parent if path.name == ABOUT else path
    only = "" if (place / ABOUT).is_file() else place.name
    run = place.parent if only else place
    try:
        about = json.loads((run / ABOUT).read_text())
        given = {each["name"]: each for each in about["images"]}
        settings = dict(about.get("arguments") or {})
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = f"{type(error).__name__}: {error}"
        raise BadInput(f"run '{run}'", expected=f"{ABOUT} of a run", found=found) from error
    folders = [run / only] if only else sorted(each for each in run.iterdir() if each.is_dir())
    images = [
        RunImage(
            folder.name,
            folder,
            str(given.get(folder.name, {}).get("image") or ""),
            str(given.get(folder.name, {}).get("truth") or ""),
            settings,
        )
        for folder in folders
        if (folder / LABELS).is_file() or (folder / LABELS_ZARR).is_dir()
    ]
    if not images:
        raise BadInput(f"run '{run}'", expected=f"folders with {LABELS}", found="none")
    return images


def _layers_of(image: RunImage) -> Iterator[LayerData]:
    """The image, what was restored of it, its truth and its labels, the last on top."""
    features = _features(image)
    labels = list(_labels(image, features))
    ndim = len(np.shape(labels[0][0][0] if labels[0][1].get("multiscale") else labels[0][0]))
    scale = labels[0][1].get("scale")
    if image.image:
        yield from _tried(image.image, lambda: _image(image, ndim, scale))
    else:
        show_warning(f"{image.name}: {ABOUT} does not say where its image lies")
    restored = image.folder / RESTORED
    if restored.is_file():
        name, z = f"{image.name}: restored", "all" if ndim == 3 else -1
        yield from _tried(str(restored), lambda: image_layers(str(restored), name, z=z, mpp=scale))
    if image.truth:
        yield from _tried(image.truth, lambda: _truth(image, ndim, scale))
    yield from labels
    for kind, table in features.items():
        yield from _centres(image, kind, table, ndim, scale)


def _tried(uri: str, layers: Callable[[], Iterator[LayerData]]) -> list[LayerData]:
    """Layers, or none and a warning where a file cannot be read."""
    try:
        return list(layers())
    except (CellmillError, OSError) as error:
        show_warning(f"left out: {uri}: {error}")
        return []


def _image(image: RunImage, ndim: int, scale: Any) -> Iterator[LayerData]:
    chosen = {name: _number(image.settings, name) for name in ("t", "series")}
    z = "all" if ndim == 3 else _number(image.settings, "z")
    yield from image_layers(image.image, image.name, z=z, mpp=scale, **chosen)


def _number(settings: Mapping[str, Any], name: str) -> int:
    """A plane's number of a run's settings; -1 where none was told."""
    given = str(settings.get(name, "")).strip()
    return int(given) if given.isdecimal() else -1


def _truth(image: RunImage, ndim: int, scale: Any) -> Iterator[LayerData]:
    kind = image.settings.get("truth_kind", "")
    with open_file(image.truth) as file:
        found = read_truth(file, image.truth, kind, volume=ndim == 3).labels
    planes = {"truth": found}
    if found.ndim > ndim:
        planes = {f"true {_WORDS[k]}": found[..., i] for i, k in enumerate((WHOLE_CELL, NUCLEAR))}
    for name, labels in planes.items():
        about = {"name": f"{image.name}: {name}", "visible": False, **placement(scale)}
        yield labels, about, "labels"


def _labels(image: RunImage, features: dict[str, Any]) -> Iterator[LayerData]:
    """Label images: from OME-Zarr as they are looked at, else from the TIFF."""
    if (image.folder / LABELS_ZARR).is_dir():
        yield from _zarr_labels(image.folder / LABELS_ZARR, f"{image.name}: ", features)
        return
    with open_image(str(image.folder / LABELS), z="all") as file:
        pixels = np.empty((*file.shape, len(file.channels)), file.stored_dtype)
        read_pixels(file, range(len(file.channels)), pixels)
        kinds, mpp = file.channels, file.mpp
    if len(pixels) == 1:
        pixels = pixels[0]
        mpp = _plane_size(image.folder / LABELS)
    for place, kind in enumerate(kinds):
        about = {"name": f"{image.name}: {kind}", **placement(mpp)}
        about["features"] = features.get(kind)
        yield np.ascontiguousarray(pixels[..., place]), about, "labels"


def _plane_size(path: Path) -> tuple[float, ...] | None:
    with open_image(str(path)) as file:
        return file.mpp


def _zarr_labels(folder: Path, prefix: str, features: dict[str, Any]) -> Iterator[LayerData]:
    try:
        kinds = read_group(f"{folder}/labels")["ome"]["labels"]
    except (BadInput, KeyError, TypeError):
        return
    for kind in map(str, kinds):
        level = read_image(f"{folder}/labels/{kind}").levels[0]
        levels = label_levels(folder, kind)
        size: tuple[float, ...] | None = level.mpp
        if size and len(levels[0].shape) == 3:
            size = (level.z_step, *size) if level.z_step else None
        about = {"name": f"{prefix}{kind}", **placement(size), "multiscale": len(levels) > 1}
        about["features"] = features.get(kind)
        yield levels if len(levels) > 1 else levels[0], about, "labels"


def _features(image: RunImage) -> dict[str, Any]:
    path = image.folder / MEASUREMENTS
    if not path.is_file():
        return {}
    return features_by_kind(pq.read_table(path))


def _centres(image: RunImage, kind: str, table: Any, ndim: int, scale: Any) -> Iterator[LayerData]:
    """Objects as points with their measurements, hidden: to be coloured by one of them."""
    names = [f"centroid_{axis}_px" for axis in "zyx"[-ndim:]]
    if not len(table) or not set(names) <= set(table.columns):
        return
    about = {
        "name": f"{image.name}: measured {_WORDS.get(kind, kind)}",
        "features": table.reset_index(drop=True),
        "size": float(np.sqrt(table["area_px"].median())) / 2 if "area_px" in table else 5,
        "visible": False,
        **placement(scale),
    }
    yield table[names].to_numpy(float), about, "points"
