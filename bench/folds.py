"""Chooses the nuclear model's post-processing on series that models in the making have not seen.

`make choose-postprocessing`: for each fold of mnfinder's training images a model is trained on
the other series, shortly and else as the one that ships; its maps of the series held out, and the
shipped model's maps of the validation images, are scored over a grid of parameters, at each of
several zooms, as the parameters must hold for small nuclei and large ones. The objective is the
mean over series and zooms, images pooled within each. Nothing here sees the test images.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from cellmill.arrays.files import write_text
from cellmill.datasets.samples import Sample, mnfinder
from cellmill.inference.engines import load_network
from cellmill.models.card import ModelCard
from cellmill.models.shipped import default_model
from cellmill.preprocessing import preprocess
from cellmill.segmentation.methods import Recipe, recipes_of
from cellmill.training.accuracy import predict_heads
from cellmill.training.augmentation import Augmentation
from cellmill.training.card import PREPROCESSING, head_names, made_with, trained_card
from cellmill.training.export import export_network
from cellmill.training.fit import FitParameters, fit, seed_everything
from cellmill.training.images import TrainingImage
from cellmill.training.network import build_network
from cellmill.training.object_sizes import trained_sizes
from cellmill.tuning.grid import ParameterGrid
from cellmill.tuning.scores import OBJECTIVES, Scores, best_point, held_out, objective_values
from cellmill.tuning.scoring import score_points
from launch import ROOT
from launch.evaluate import zoomed

FOLDS = (("2022-10-14_U2OS", "2022-05"), ("2023-05-31_misc", "2022-03", "2022-04"))
"""Series that a fold's model is not trained on; each training image is in one fold."""

VALIDATION = "validation"
"""The group of the validation images, which the shipped model was not trained on."""

ZOOMS = (0.5, 1.0, 1.5)
"""At which images are looked at."""

GRID = {
    "maxima_threshold": "0.1,0.15,0.175,0.2,0.25",
    "maxima_smooth": "1,2",
    "interior_threshold": "0.35,0.4,0.5",
    "interior_smooth": "1",
    "pixel_expansion": "0,1,2",
    "radius": "2",
    "small_objects_fraction": "0.1,0.2,0.3",
}
"""All combinations are tried. No greater part of the median area than 0.3: these images' small
objects are micronuclei and debris, but a user's may be nuclei in mitosis, or of another kind."""

OBJECTIVE = "ap_50_90"

_SEED = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Train the folds' models, unless they are there, and score the grid; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.folds", description=main.__doc__)
    parser.add_argument("--steps", type=int, default=500, help="of each fold's training")
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs" / "folds")
    parser.add_argument("--folds", type=int, default=len(FOLDS), help="the first so many")
    parser.add_argument("--model", type=Path, default=default_model(), help="validated, written")
    parser.add_argument("--write", action="store_true", help="the choice, into the model's card")
    given = parser.parse_args(argv)
    samples = mnfinder("training")
    training = [image_of(sample) for sample in samples]
    models = [
        fold_model(training, series, given.steps, given.folder / f"fold-{i}-{given.steps}-steps")
        for i, series in enumerate(FOLDS[: given.folds])
    ]
    groups: dict[str, list[Scores]] = {}
    recipe = recipes_of(ModelCard.load(given.model), ("nuclear",))["nuclear"]
    grid = ParameterGrid.around(recipe.parameters, GRID)
    points = list(grid.points())
    work = [
        (m, sample)
        for m, s in zip(models, FOLDS[: given.folds], strict=True)
        for sample, image in zip(samples, training, strict=True)
        if is_of(image, s)
    ]
    work += [(given.model, sample) for sample in mnfinder("validation")]
    networks = {
        folder: load_network(folder, ModelCard.load(folder), engine="tensorflow")
        for folder in {m for m, _ in work}
    }
    for (folder, sample), zoom in itertools.product(work, ZOOMS):
        card, image = ModelCard.load(folder), image_of(sample, zoom)
        maps = recipe.maps(predict_heads(image.image, networks[folder], card))
        group = VALIDATION if folder == given.model else series_of(image)
        scores = score_points(recipe.method, maps, image.labels, points)
        groups.setdefault(f"{group}, zoom {zoom:g}", []).append(scores)
        print(f"{image.name}, zoom {zoom:g}: {len(points)} combinations", file=sys.stderr)
    added = {group: Scores.added(each) for group, each in sorted(groups.items())}
    command = f"make choose-postprocessing BENCH='--folds {given.folds} --steps {given.steps}'"
    document = _document(added, points, grid, command)
    write_text(given.folder / "chosen.json", json.dumps(document, indent=1) + "\n")
    print(json.dumps({key: document[key] for key in ("best", "groups", "held_out")}, indent=1))
    if given.write:
        best = replace(recipe, parameters=points[document["place"]])
        _write(given.model, best, document)
    return 0


def _document(
    groups: Mapping[str, Scores],
    points: Sequence[Any],
    grid: ParameterGrid,
    command: str,
) -> dict[str, Any]:
    """The best point, how the next best and each value of a parameter do, and each group."""
    values = objective_values(groups, OBJECTIVE)
    eligible = np.ones(len(points), bool)
    best = best_point(values, eligible)
    own = {name: OBJECTIVES[OBJECTIVE](each) for name, each in groups.items()}
    own_place = points.index(grid.default) if grid.default in points else best
    chosen = held_out(groups, OBJECTIVE, eligible, own_place)
    return {
        "command": command,
        "objective": f"{OBJECTIVE}, mean over series and zooms",
        "combinations": len(points),
        "place": best,
        "best": {**grid.tuned(points[best]), "value": round(float(values[best]), 4)},
        "next": [
            {**grid.tuned(points[i]), "value": round(float(values[i]), 4)}
            for i in np.argsort(-values, kind="stable")[1:10]
        ],
        "greatest_by_value": {
            name: {
                f"{value:g}": round(
                    max(
                        float(v)
                        for p, v in zip(points, values, strict=True)
                        if getattr(p, name) == value
                    ),
                    4,
                )
                for value in sorted({getattr(p, name) for p in points})
            }
            for name in grid.axes
        },
        "groups": {
            name: {
                "objects": groups[name].true,
                "value": round(float(each[best]), 4),
                "ap_50": round(float(groups[name].average_precision(0.5)[best]), 4),
                "ap_70": round(float(groups[name].average_precision(0.7)[best]), 4),
            }
            for name, each in own.items()
        },
        "held_out": {
            name: {**grid.tuned(points[each.chosen]), "value": round(each.value, 4)}
            for name, each in chosen.items()
        },
    }


def _write(folder: Path, best: Recipe, document: Mapping[str, Any]) -> None:
    """The best parameters, and on what they were chosen, into the model's card."""
    card = ModelCard.load(folder)
    said = {key: document[key] for key in ("command", "objective", "combinations", "groups")}
    replace(
        card.with_postprocessing({"nuclear": best.plain()}),
        accuracy={**card.accuracy, "postprocessing": said},
    ).save(folder)


def series_of(image: TrainingImage) -> str:
    """`2022-10-14_U2OS` of `training_2022-10-14_U2OS_5`."""
    return image.name.partition("_")[2].rpartition("_")[0]


def image_of(sample: Sample, zoom: float = 1.0) -> TrainingImage:
    """An image with its truth, zoomed; with micronuclei as hard background where it is not."""
    picture = np.asarray(tifffile.imread(sample.image))
    labels = tifffile.imread(sample.nuclei).astype(np.int32)
    if zoom != 1:
        picture, labels = zoomed(picture, labels, zoom)
    return TrainingImage(
        sample.image.stem,
        preprocess(picture[..., np.newaxis], PREPROCESSING, what=sample.image.stem),
        labels,
        # What is zoomed is scored, not trained on.
        tifffile.imread(sample.micronuclei).astype(np.int32) if zoom == 1 else None,
    )


def is_of(image: TrainingImage, series: Sequence[str]) -> bool:
    """Whether an image is of one of some series."""
    return any(each in image.name for each in series)


def fold_model(
    images: Sequence[TrainingImage], series: Sequence[str], steps: int, folder: Path
) -> Path:
    """A model that has not seen some series; its last weights, as nothing is to choose a step.

    One that is there is kept if the code of today trained it.
    """
    if (folder / "model.json").exists() and _sources(folder) == made_with()["sources"]:
        return folder
    seen = [image for image in images if not is_of(image, series)]
    seed_everything(_SEED)
    network = build_network(1, head_names("nuclear"))
    parameters = FitParameters(steps=steps, validate_every=steps, seed=_SEED)

    def tell(step: int, loss: float) -> None:
        if step % 50 == 0:
            print(f"{folder.name}: step {step}, loss {loss:.3f}", file=sys.stderr, flush=True)

    # One look, at the end: the images looked at are some of those trained on.
    fit(network, seen, seen[:2], parameters, Augmentation(), tell)
    export_network(network, folder)
    said = {**made_with(), "images": [image.name for image in seen], "steps": steps}
    sizes = trained_sizes(seen, ("nuclear",))
    trained_card("fold", "1", ("nuclear",), ("nuclear",), said, sizes=sizes).save(folder)
    return folder


def _sources(folder: Path) -> str:
    return str(ModelCard.load(folder).training.get("sources"))


if __name__ == "__main__":
    sys.exit(main())
