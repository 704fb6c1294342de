"""How large the objects are that models were trained on, and how well scale is found and borne.

`python -m bench.scale sizes [--write]`: the median diameter of the objects that each shipped
model was trained on, in pixels and microns; written into the models' cards.

`python -m bench.scale estimate`: estimated by true diameter, on mnfinder's training and
validation images at several zooms. The median of the training images calibrates
`cellmill/preprocessing/object_size.py`.

`python -m bench.scale diameters`: average precision by the diameter that nuclei have at the
network's scale, on series of the training images that the folds' models (`bench/folds.py`) were not
trained on. Over which range it holds is `scale_tolerance` on cards.

Nothing here sees the test images.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import tifffile

from bench.folds import FOLDS, fold_model, image_of, is_of, series_of
from cellmill.datasets import synthetic_cells
from cellmill.datasets.samples import Sample, mnfinder
from cellmill.io.images import read_image
from cellmill.labels.objects import object_diameters
from cellmill.metrics import Matching, match, pair_labels
from cellmill.models.card import ModelCard
from cellmill.models.shipped import shipped_models
from cellmill.preprocessing import estimate_diameter
from cellmill.segmenter import Segmenter
from cellmill.training.card import SCALE_TOLERANCE
from cellmill.training.images import TrainingImage
from cellmill.training.object_sizes import trained_sizes
from launch import ROOT
from launch.evaluate import zoomed

ZOOMS = (0.25, 0.5, 1.0, 2.0, 4.0)
DIAMETERS = (10, 13, 18, 22, 27, 33, 40, 54, 66, 80)
SYNTHETIC = ("--count", "40", "--seed", "1000", "--prefix", "training")
"""As `make train-synthetic-model` makes its training images."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what is asked for and print it; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=main.__doc__)
    parser.add_argument("what", choices=("sizes", "estimate", "diameters"))
    parser.add_argument("--write", action="store_true", help="sizes, into the models' cards")
    parser.add_argument("--steps", type=int, default=500, help="of each fold's training")
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs" / "folds")
    given = parser.parse_args(argv)
    if given.what == "sizes":
        write_sizes(given.write)
    elif given.what == "estimate":
        print_estimates()
    else:
        print_diameters(given.folder, given.steps)
    return 0


def write_sizes(write: bool) -> None:
    """Measure the shipped models' training objects; write them into the cards if asked to."""
    images = [_with_truth(sample.image, sample.nuclei) for sample in mnfinder("training")]
    found = {"cellmill-nuclei": trained_sizes(images, ("nuclear",))}
    with tempfile.TemporaryDirectory() as folder:
        synthetic_cells.main([*SYNTHETIC, "--output", folder])
        files = sorted((Path(folder) / "images").iterdir())
        images = [_with_truth(file, Path(folder) / "labels" / file.name) for file in files]
    kinds = synthetic_cells.COMPARTMENTS
    found["cellmill-synthetic-cells"] = trained_sizes(images, kinds)
    for name, sizes in found.items():
        print(f"{name}: {sizes}")
        if write:
            model = shipped_models()[name]
            card = ModelCard.load(model)
            scaled = replace(card.input, **sizes, scale_tolerance=SCALE_TOLERANCE)
            replace(card, input=replace(scaled, resampling="averaged")).save(model)


def _with_truth(image: Path, labels: Path) -> TrainingImage:
    """An image's truth, `(Y, X)` or `(Y, X, K)`, and pixel size; its pixels count for nothing."""
    planes = tifffile.imread(labels).astype(np.int32)
    if planes.ndim == 3:
        planes = np.moveaxis(planes, 0, -1)
    return TrainingImage(image.stem, np.zeros((1, 1, 1), np.float32), planes, None, _mpp(image))


def _mpp(image: Path) -> tuple[float, ...] | None:
    return read_image(image).mpp


def print_estimates() -> None:
    """Print the ratio of estimated and true diameter by split and zoom."""
    for split in ("training", "validation"):
        ratios: dict[float, list[float]] = {zoom: [] for zoom in ZOOMS}
        for sample in mnfinder(split):
            picture, truth = _picture(sample)
            for zoom in ZOOMS:
                image, labels = zoomed(picture, truth, zoom)
                true = float(np.median(object_diameters(labels)))
                ratios[zoom].append(estimate_diameter(image[..., np.newaxis]).diameter / true)
        rows = {f"zoom {zoom:g}": each for zoom, each in ratios.items()}
        rows["all zooms"] = [ratio for each in ratios.values() for ratio in each]
        for row, each in rows.items():
            median, least, most = np.median(each), min(each), max(each)
            print(f"{split}, {row}: median {median:.3f}, {least:.2f} to {most:.2f}")


def print_diameters(folder: Path, steps: int) -> None:
    """Print average precision at IoU 0.5 by diameter at the network's scale, by series held out."""
    samples = mnfinder("training")
    training = [image_of(sample) for sample in samples]
    found: dict[tuple[str, int], list[Matching]] = {}
    for number, series in enumerate(FOLDS):
        place = fold_model(training, series, steps, folder / f"fold-{number}-{steps}-steps")
        segmenter = Segmenter(str(place))
        trained = segmenter.card.input.object_diameter["nuclear"]
        for sample, image in zip(samples, training, strict=True):
            if not is_of(image, series):
                continue
            picture, truth = _picture(sample)
            true = float(np.median(object_diameters(truth)))
            for diameter in DIAMETERS:
                # Told a diameter, the objects become as large as the network's: here `diameter`.
                labels = segmenter(picture, diameter=true * trained / diameter).label_image
                matching = match(pair_labels(truth, labels), 0.5)
                for group in (series_of(image), "all"):
                    found.setdefault((group, diameter), []).append(matching)
    print(f"{'series':20}" + "".join(f"{diameter:7}" for diameter in DIAMETERS))
    for group in sorted({group for group, _ in found}):
        scores = [_average_precision(found[group, diameter]) for diameter in DIAMETERS]
        print(f"{group:20}" + "".join(f"{score:7.3f}" for score in scores))


def _picture(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(tifffile.imread(sample.image)), tifffile.imread(sample.nuclei).astype(
        np.int32
    )


def _average_precision(matchings: Sequence[Matching]) -> float:
    hits = sum(each.tp for each in matchings)
    return hits / max(hits + sum(each.fp + each.fn for each in matchings), 1)


if __name__ == "__main__":
    sys.exit(main())
