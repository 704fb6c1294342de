"""Prediction by each engine against DeepCell's application, in one run on one SavedModel.

`python -m bench.predict [--sides 1024 2048] [--shipped-side 2048] [--output outputs/bench]`

The model is the conformance model: a ResNet-50 PanopticNet with Mesmer's four heads, made in
deepcell's environment. The images are mosaics of a real one in two channels. Timed is all from the
TIFF to the untiled heads: reading, preprocessing, tiling, predicting, untiling, and on our side
writing each step's arrays too (the stages tiff_to_npz, preprocess and predict); on both sides
without imports, without loading the model and without post-processing. Seconds of predict are the
stage's without loading. Heads are compared value by value with the reference's; where less than
float32 is computed, also what is segmented of them, with what is segmented of our float32.

The model that ships is timed by our engines alone: as a stage, and tiling and network in memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from scipy import ndimage

from bench.mosaic import Mosaic
from cellmill.arrays.batch import Batch
from cellmill.compute.threads import thread_count
from cellmill.contract import GroundTruth, Images, Model, Predictions, Preprocessed, Record
from cellmill.inference.engines import load_network
from cellmill.inference.registry import ENGINES
from cellmill.inference.tiled import card_grid, predict_tiled
from cellmill.labels.pairs import pair_labels
from cellmill.metrics import match
from cellmill.models.card import ModelCard
from cellmill.models.fetch import fetch_model
from cellmill.models.networks import network_form
from cellmill.morphology.hmaxima import h_maxima
from cellmill.morphology.maxima import ball_footprint
from cellmill.segmentation.methods import recipes_of, segment_one
from cellmill.stages.predict import predict
from cellmill.stages.preprocess import preprocess
from cellmill.stages.tiff_to_npz import tiff_to_npz
from launch import ROOT
from launch.images.environments import environment
from tests.conformance.conformance_model import conformance_model

#: Precision and compartment of the rows of each engine that computes so.
WAYS = (("float32", "all"), ("float32", "nuclear"), ("mixed_bfloat16", "all"))
_IOU = 0.9


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        model: which network.
        side: of the image, pixels.
        way: engine, precision and compartment.
        reference_seconds: of DeepCell's application; 0 where there is none.
        seconds: whole run, ours.
        predict_seconds: of it, the stage predict without loading the model.
        network_seconds: tiling and network alone, in memory; 0 where it was not timed.
        largest_difference: of a head's value from the reference's; -1 without one.
        f1: of objects at IoU 0.9 against our float32, by compartment; empty for float32.
        markers: found in these maps and in float32's, by compartment; empty for float32.
    """

    model: str
    side: int
    way: tuple[str, str, str]
    reference_seconds: float
    seconds: float
    predict_seconds: float
    network_seconds: float
    largest_difference: float
    f1: dict[str, float]
    markers: dict[str, tuple[int, int]]

    def __str__(self) -> str:
        pixels = self.side**2 / 1e6
        text = f"{self.model:12} {self.side:5}² {' '.join(self.way):33} {self.seconds:7.2f} s"
        text += f" predict {pixels / self.predict_seconds:6.3f} Mpx/s"
        if self.network_seconds:
            text += f", in memory {pixels / self.network_seconds:6.3f} Mpx/s"
        if self.reference_seconds:
            text += f" {self.reference_seconds / self.seconds:5.2f} × DeepCell's"
            text += f" {self.reference_seconds:.2f} s, differs by {self.largest_difference:.1e}"
        if self.f1:
            text += f", F1@{_IOU} {self.f1}, markers {self.markers}"
        return text


def write_image(path: Path, side: int, channels: int) -> None:
    """Write a mosaic, tiled and compressed."""
    planes = [np.asarray(Mosaic((side, side), 0, c)[:, :]) for c in range(channels)]
    about = {"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm"}
    about |= {"PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm"}
    tifffile.imwrite(
        path, np.stack(planes), tile=(512, 512), compression="zlib", ome=True, metadata=about
    )


def reference(
    model: Path, images: Sequence[Path], folder: Path
) -> dict[str, tuple[float, list[np.ndarray]]]:
    """DeepCell's seconds and heads of each image."""
    python = os.environ.get("CELLMILL_DEEPCELL_PYTHON") or str(environment("deepcell"))
    subprocess.run(
        [python, str(ROOT / "bench" / "deepcell_predict.py"), str(model), str(folder)]
        + [str(image) for image in images],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": ""},
    )
    seconds = json.loads((folder / "seconds.json").read_text())
    found = {}
    for image in images:
        with np.load(folder / f"{image.stem}.npz") as arrays:
            found[image.stem] = (seconds[image.stem], [arrays[name] for name in arrays.files])
    return found


def ours(
    image: Path, model: Path, way: tuple[str, str, str], channels: str, folder: Path
) -> tuple[float, float, dict[str, np.ndarray]]:
    """Seconds of the whole run and of predict, both without loading the model, and the heads."""
    engine, precision, compartment = way
    images, prepared = Images(folder / "images"), Preprocessed(folder / "prepared")
    heads = Predictions(folder / "heads")
    record = Record(folder / "record.json")
    start = time.perf_counter()
    tiff_to_npz(images, GroundTruth(folder / "truth"), record, [str(image)], channels=channels)
    preprocess(images, Model(model), prepared, record)
    middle = time.perf_counter()
    done = Record(folder / "predict.json")
    given: dict[str, Any] = {"engine": engine, "precision": precision, "compartment": compartment}
    predict(prepared, Model(model), heads, done, device="cpu", **given)
    end = time.perf_counter()
    loading = sum(step["wall_s"] for step in done.steps if step["name"] == "load model")
    batch = Batch.open(heads.path)
    (entry,) = batch.entries
    arrays = {name: np.array(batch.read(entry, name)) for name in entry.arrays}
    return end - start - loading, end - middle - loading, arrays


def in_memory(model: Path, side: int, engine: str, repeats: int = 2) -> float:
    """Best seconds of tiling and network over noise in memory."""
    card = ModelCard.load(model)
    network = load_network(model, card, engine=engine, device="cpu")
    image = np.random.default_rng(0).random((side, side, len(card.input.channels)), np.float32)
    grid = card_grid(card, (side, side))
    outputs = [np.empty(head.shape_over((side, side)), np.float32) for head in card.heads]
    times = []
    for _ in range(1 + repeats):
        start = time.perf_counter()
        predict_tiled(image, network, grid, outputs, heads=card.heads)
        times.append(time.perf_counter() - start)
    return min(times[1:])


def quality(
    card: ModelCard, heads: dict[str, np.ndarray], exact: dict[str, np.ndarray]
) -> tuple[dict[str, float], dict[str, tuple[int, int]]]:
    """F1 of objects against those of float32, and how many markers both have."""
    f1: dict[str, float] = {}
    markers: dict[str, tuple[int, int]] = {}
    for name, recipe in recipes_of(card, card.compartments).items():
        labels = [segment_one(maps, recipe) for maps in (exact, heads)]
        f1[name] = round(match(pair_labels(*labels), _IOU).f1, 4)
        found = []
        for maps in (heads, exact):
            maxima = recipe.maps(maps).read("maxima")
            footprint = ball_footprint(recipe.parameters.radius, 2)
            peaks = h_maxima(maxima, recipe.parameters.maxima_threshold, footprint)
            found.append(int(ndimage.label(peaks, np.ones((3, 3)))[1]))
        markers[name] = (found[0], found[1])
    return f1, markers


def ways(model: Path, *, whole: bool = False) -> list[tuple[str, str, str]]:
    """Engine, precision and compartment of each row: of all engines that read the network here."""
    form = network_form(model)
    return [
        (engine.name, precision, compartment)
        for precision, compartment in WAYS
        for engine in ENGINES.values()
        if form in engine.reads and engine.is_installed and precision in engine.precisions
        if not whole or (precision, compartment) == ("float32", "all")
    ]


def panopticnet(sides: Sequence[int], folder: Path) -> Iterator[Row]:
    """Every way on the conformance model, at every size."""
    model = conformance_model(environment("deepcell"))
    card = ModelCard.load(model)
    images = [folder / f"mosaic{side}.tif" for side in sides]
    for side, image in zip(sides, images, strict=True):
        write_image(image, side, 2)
    # Kernels are compiled, libraries loaded.
    write_image(folder / "small.tif", 300, 2)
    rows = ways(model)
    for way in rows:
        ours(folder / "small.tif", model, way, "0,1", folder)
    theirs = reference(model, images, folder)
    for side, image in zip(sides, images, strict=True):
        seconds, expected = theirs[image.stem]
        by_name = {head.name: array for head, array in zip(card.heads, expected, strict=True)}
        exact: dict[str, np.ndarray] = {}
        for way in rows:
            mine, alone, heads = ours(image, model, way, "0,1", folder)
            exact = exact or heads
            differs = max(float(np.abs(heads[n] - by_name[n]).max()) for n in heads)
            found = ({}, {}) if way[1] == "float32" else quality(card, heads, exact)
            yield Row("PanopticNet", side, way, seconds, mine, alone, 0.0, differs, *found)


def shipped(side: int, folder: Path) -> Iterator[Row]:
    """The model that ships, by every engine that reads it."""
    model = fetch_model("").folder
    write_image(folder / "nuclei.tif", side, 1)
    write_image(folder / "small.tif", 300, 1)
    for way in ways(model, whole=True):
        ours(folder / "small.tif", model, way, "0", folder)
        mine, alone, _ = ours(folder / "nuclei.tif", model, way, "0", folder)
        yield Row(
            "shipped", side, way, 0.0, mine, alone, in_memory(model, side, way[0]), -1, {}, {}
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print the table, write `predict.json`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="*", default=[1024, 2048])
    parser.add_argument("--shipped-side", type=int, default=2048)
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "bench")
    given = parser.parse_args(arguments)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for made in (shipped(given.shipped_side, folder), panopticnet(given.sides, folder)):
            for row in made:
                print(row, flush=True)
                rows.append(row)
    given.output.mkdir(parents=True, exist_ok=True)
    machine = {"threads": thread_count(), "load_average": os.getloadavg()[0]}
    path = given.output / "predict.json"
    table = [asdict(row) for row in rows]
    path.write_text(json.dumps({"machine": machine, "rows": table}, indent=2) + "\n")
    print(f"written to {path}; load average {machine['load_average']:.1f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
