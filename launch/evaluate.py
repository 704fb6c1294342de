"""Measures a nuclear model on images with truth by the pipeline: `make evaluate-model [MODEL=…]`.

Four sets, each segmented and scored by `deepcell_segmentation` as a user's images are:
`validation` (mnfinder's, on which the training's step was chosen), `test` (mnfinder's, on which
nothing is ever chosen), `sample` (stardist's, another microscope), and `varied`, the validation
images zoomed, dimmed, blurred and in 8 bits, which say over which range the figures hold.

Two more, `validation-zooms` and `test-zooms`, are those images at zooms from 0.25 to 4, without
a pixel size, segmented in this process: as they are, with `diameter="auto"`, with the median
diameter of their true objects told, and with the pixel size told where the file says it.

What comes out is printed and lies in `outputs/evaluation/<model>.json`. With `--write` it is
written into the model's card, so that nobody types a figure.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile

from cellmill.arrays.files import write_text
from cellmill.contract.cli import OneLineParser
from cellmill.datasets import samples
from cellmill.errors import BadInput, CellmillError
from cellmill.io.images import read_image
from cellmill.labels.objects import object_diameters
from cellmill.metrics import Matching, match, pair_labels, pool
from cellmill.models.card import ModelCard
from cellmill.models.fetch import fetch_model
from cellmill.models.shipped import default_model
from cellmill.segmenter import Segmenter
from cellmill.terminal import say
from cellmill.version import __version__
from launch import ROOT, run

ZOOMED: Mapping[str, samples.Split] = {"validation-zooms": "validation", "test-zooms": "test"}
"""Sets of images at several zooms, by their names, and the splits that they are made of."""

SETS = ("validation", "sample", "varied", "test", *ZOOMED)
ZOOMS = (0.25, 0.33, 0.5, 1.0, 2.0, 3.0, 4.0)
TOLD = ("nothing", "auto", "diameter", "pixel_size")
"""What a segmentation is told of a zoomed image's scale."""
COMMAND = "make evaluate-model"
IOUS = (0.5, 0.7, 0.9)
_ERRORS = ("missed_detections", "gained_detections", "merge", "split", "catastrophe")
_POOLED = ("pooled", "per_image_mean", "series")
_ON_CARD: dict[str, tuple[str, ...]] = {"sample": ("pooled",), "varied": ("series",)}
_FOLDER = ROOT / "outputs" / "evaluation"

Picture = tuple[np.ndarray, np.ndarray]
"""An image, `(Y, X)` uint8 or uint16, and its labels, `(Y, X)` int32."""


def zoomed(image: np.ndarray, labels: np.ndarray, factor: float) -> Picture:
    """The picture as a microscope of another pixel size would take it."""
    size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    drawn = cv2.resize(image.astype(np.float32), size, interpolation=way)
    # OpenCV resizes no int32; float64 holds every int32 exactly.
    same = cv2.resize(labels.astype(np.float64), size, interpolation=cv2.INTER_NEAREST)
    limit = np.iinfo(image.dtype).max
    return np.clip(np.rint(drawn), 0, limit).astype(image.dtype), same.astype(np.int32)


def dimmed(image: np.ndarray, labels: np.ndarray, part: float = 0.05) -> Picture:
    """Every second object, by number, has `part` of its light above the image's background."""
    ground = np.percentile(image, 5)
    odd = cv2.GaussianBlur(((labels > 0) & (labels % 2 == 1)).astype(np.float32), (0, 0), 1.0)
    wide = np.maximum(odd, cv2.dilate(odd, np.ones((9, 9), np.uint8)) * (labels == 0))
    light = np.maximum(image - ground, 0) * (1 - (1 - part) * wide)
    drawn = ground + np.where(wide > 0, light, image - ground)
    return np.rint(drawn).astype(image.dtype), labels


def in_8_bits(image: np.ndarray, labels: np.ndarray) -> Picture:
    """The range from the least to the greatest value in 256 greys."""
    low, high = float(image.min()), float(image.max())
    return np.rint((image - low) / max(high - low, 1) * 255).astype(np.uint8), labels


def blurred(image: np.ndarray, labels: np.ndarray) -> Picture:
    """Out of focus: a Gaussian of σ 2 pixels."""
    drawn = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 2.0)
    return np.rint(drawn).astype(image.dtype), labels


VARIATIONS: dict[str, Callable[[np.ndarray, np.ndarray], Picture]] = {
    "zoom-0.5": lambda image, labels: zoomed(image, labels, 0.5),
    "zoom-2": lambda image, labels: zoomed(image, labels, 2),
    "every-second-object-at-0.05": dimmed,
    "8-bit": in_8_bits,
    "blur-2px": blurred,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate a model; return 0, or 2 with one line on stderr."""
    parser = OneLineParser(prog="launch.evaluate", allow_abbrev=False)
    parser.add_argument("--model", default="", help="folder or URI; the shipped model by default")
    parser.add_argument("--sets", default=",".join(SETS), help=f"of {', '.join(SETS)}")
    parser.add_argument("--write", action="store_true", help="into the card in --model's folder")
    given = parser.parse_args(argv)
    try:
        sets = [each.strip() for each in given.sets.split(",")]
        if wrong := [each for each in sets if each not in SETS]:
            raise BadInput("sets", expected=f"of {', '.join(SETS)}", found=wrong[0])
        fetched = fetch_model(given.model)
        measured = {each: _measured(each, given.model) for each in sets if each not in ZOOMED}
        segmenter = Segmenter(given.model or str(default_model())) if {*sets} & {*ZOOMED} else None
        for each in sets:
            if segmenter and each in ZOOMED:
                measured[each] = zoom_curve(samples.mnfinder(ZOOMED[each]), segmenter)
        card = fetched.card
        written = _FOLDER / f"{card.name}-{card.version}.json"
        about = {"model": card.name, "version": card.version, "code": f"cellmill {__version__}"}
        write_text(written, json.dumps({**about, **measured}, indent=1) + "\n")
        if given.write:
            folder = Path(given.model) if given.model else default_model()
            kept = ModelCard.load(folder)
            replace(kept, accuracy={**kept.accuracy, **on_card(measured)}).save(folder)
    except CellmillError as error:
        say(f"cellmill: {error}", to=sys.stderr)
        return 2
    for line in table(measured):
        say(line)
    say(f"all figures: {written.relative_to(ROOT)}")
    return 0


def on_card(measured: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What a card says of each set: the command, and figures pooled, by image and by series."""
    found: dict[str, Any] = {}
    for name, each in measured.items():
        kept = tuple(each) if name in ZOOMED else _ON_CARD.get(name, _POOLED)
        found[name] = {"command": COMMAND, "code": f"cellmill {__version__}"}
        found[name] |= {key: each[key] for key in kept}
    return found


def table(measured: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The figures as lines of text."""
    lines = [f"{'':44}{'objects':>8}{'found':>7}{'AP@0.5':>8}{'AP@0.7':>8}{'AP@0.9':>8}"]
    for name, each in measured.items():
        if name in ZOOMED:
            lines += _zoom_table(name, each)
            continue
        rows = {} if name == "varied" else {name: each["pooled"]}
        series = each["series"] if len(each["series"]) > 1 or name == "varied" else {}
        for row, figures in {**rows, **{f"  {key}": v for key, v in series.items()}}.items():
            scores = "".join(f"{figures['average_precision'][str(t)]:8.3f}" for t in IOUS)
            lines.append(f"{row:44}{figures['objects']:8}{figures['predicted']:7}{scores}")
    return lines


def _zoom_table(name: str, curve: Mapping[str, Any]) -> list[str]:
    lines = [f"{f'{name}: AP@0.5 by zoom':44}{'objects':>8}{''.join(f'{z:>7g}' for z in ZOOMS)}"]
    for told in TOLD:
        scores = "".join(f"{curve[told][f'{zoom:g}']:7.3f}" for zoom in ZOOMS)
        lines.append(f"{f'  told {told}':44}{curve['objects'][told]:8}{scores}")
    return lines


def zoom_curve(
    images: Sequence[samples.Sample], segmenter: Segmenter, zooms: Sequence[float] = ZOOMS
) -> dict[str, Any]:
    """How well nuclei are found at several zooms, by what is told of the images' scale.

    Args:
        images: with truth.
        segmenter: the model, loaded.
        zooms: by which each image is enlarged.

    Returns:
        JSON values: `measured`, what the figures are; `images`; `objects`, how many true ones there
        are at zoom 1 by what is told; and for each of `TOLD` the average precision at IoU 0.5 by
        zoom, pooled over all objects, of the images whose pixel size is known for `pixel_size`.
    """
    found: dict[tuple[str, float], list[Matching]] = {}
    for sample in images:
        read = read_image(sample.image)
        whole, truth = read.pixels[..., 0], tifffile.imread(sample.nuclei).astype(np.int32)
        diameter = float(np.median(object_diameters(truth)))
        for zoom in zooms:
            image, labels = (whole, truth) if zoom == 1 else zoomed(whole, truth, zoom)
            settings: dict[str, dict[str, Any]] = {
                "nothing": {},
                "auto": {"diameter": "auto"},
                "diameter": {"diameter": diameter * zoom},
            }
            if read.mpp:
                settings["pixel_size"] = {"mpp": (read.mpp[0] / zoom, read.mpp[1] / zoom)}
            for told, setting in settings.items():
                labelled = segmenter(image, **setting).label_image
                matching = match(pair_labels(labels, labelled), 0.5)
                found.setdefault((told, zoom), []).append(matching)

    def counted(told: str, zoom: float) -> np.ndarray:
        counts = [(each.tp, each.fp, each.fn) for each in found.get((told, zoom), [])]
        return np.sum(counts, axis=0) if counts else np.zeros(3, int)

    objects = {told: int(counted(told, 1.0)[[0, 2]].sum()) for told in TOLD}
    curves = {
        told: {
            f"{zoom:g}": round(float(counted(told, zoom)[0] / max(counted(told, zoom).sum(), 1)), 4)
            for zoom in zooms
        }
        for told in TOLD
    }
    measured = "average precision at IoU 0.5, pooled over objects, by what is told and by zoom"
    return {"measured": measured, "images": len(images), "objects": objects, **curves}


def _measured(name: str, model: str) -> dict[str, Any]:
    """Segment and score one set by the pipeline, and bring its scores together."""
    source, output = _FOLDER / "images" / name, _FOLDER / "runs" / name
    for stale in (source, output):
        shutil.rmtree(stale, ignore_errors=True)
    _write_set(name, source)
    paths = {"image": source / "images", "truth": source / "labels", "output": output}
    settings = [part for key, path in paths.items() for part in (f"--{key}", str(path))]
    settings += ["--model", model] if model else []
    if run.main(["deepcell_segmentation", *settings]):
        raise CellmillError(f"the run on set '{name}' failed")
    scores = {
        file.parent.name: json.loads(file.read_text())["nuclear"]
        for file in sorted(output.glob("*/metrics.json"))
    }
    series: dict[str, list[str]] = {}
    for image in scores:
        series.setdefault(_series_of(name, image), []).append(image)
    pooled = pool(list(scores.values()))
    return {
        "pooled": _figures(pooled["pooled"]),
        "per_image_mean": _precisions(pooled["per_image_mean"]),
        "series": {
            key: {"images": len(images), **_figures(pool([scores[i] for i in images])["pooled"])}
            for key, images in sorted(series.items())
        },
        "images": {image: _figures(each) for image, each in scores.items()},
    }


def _write_set(name: str, folder: Path) -> None:
    if name == "sample":
        samples.write_set("sample", folder)
        return
    if name != "varied":
        samples.write_set(f"mnfinder-{name}", folder)
        return
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for sample in samples.mnfinder("validation"):
        picture = tifffile.imread(sample.image), tifffile.imread(sample.nuclei)
        for variation, vary in VARIATIONS.items():
            file = f"{variation}_{sample.image.name}"
            for part, array in zip(("images", "labels"), vary(*picture), strict=True):
                tifffile.imwrite(folder / part / file, array, compression="zlib")


def _series_of(name: str, image: str) -> str:
    """The series in mnfinder's names, `<split>_<series>_<image>`; the variation of a varied one."""
    if name == "varied":
        return image.partition("_")[0]
    return image if name == "sample" else image.partition("_")[2].rpartition("_")[0]


def _figures(result: Mapping[str, Any]) -> dict[str, Any]:
    errors = result["object_errors"]
    return {
        "objects": result["n_truth"],
        "predicted": result["n_predicted"],
        "average_precision": _precisions(result),
        "panoptic_quality": round(result["panoptic_quality"], 4),
        "errors": {kind: errors[kind] for kind in _ERRORS},
    }


def _precisions(result: Mapping[str, Any]) -> dict[str, float]:
    found = {round(m["iou_threshold"], 2): m["average_precision"] for m in result["matching"]}
    return {str(iou): round(found[iou], 4) for iou in IOUS}


if __name__ == "__main__":
    sys.exit(main())
