"""Our preprocess → predict → postprocess against Mesmer of the deepcell package, step by step.

`make conformance` runs this. Every step is fed what the reference's own step was fed, so that a
difference shows where it arises; then the whole chain is compared end to end. Each stage runs as a
process of its own, ours in this interpreter's environment, the reference in deepcell's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from cellmill.arrays.batch import Batch
from cellmill.errors import CellmillError
from cellmill.models.card import ModelCard, known_cards
from tests.conformance.agreement import largest_difference, object_f1
from tests.conformance.cases import ALONE, CASES, CRASHES, Case, write_images
from tests.conformance.conformance_model import conformance_model, run

pytestmark = [pytest.mark.deepcell, pytest.mark.tensorflow]

CASES_OF = {"both": CASES, "whole-cell": ALONE, "nuclear": ALONE}
NAMES = [case.name for case in CASES]
RUNS = [(case.name, compartment) for compartment, cases in CASES_OF.items() for case in cases]


@dataclass(frozen=True)
class Runs:
    """Every batch that was made, by what made it.

    Attributes:
        model: the conformance model's folder.
        folder: where the batches are.
    """

    model: Path
    folder: Path

    def array(self, batch: str, name: str, key: str) -> np.ndarray:
        """Read one array of one image of a batch."""
        opened = Batch.open(self.folder / batch)
        return np.asarray(opened.read(opened.entry(name), key))

    def heads(self) -> list[str]:
        """Give the names of the network's heads."""
        return [head.name for head in ModelCard.load(self.model).heads]


def labels_in(compartment: str) -> tuple[str, ...]:
    """Give the label images that a compartment's choice makes."""
    return ("whole_cell", "nuclear") if compartment == "both" else (compartment.replace("-", "_"),)


@pytest.fixture(scope="module")
def runs(deepcell_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Make the model if need be and run everything; that a run fails is said in short."""
    try:
        made = Runs(conformance_model(deepcell_python), tmp_path_factory.mktemp("conformance"))
        run_all(deepcell_python, made.model, made.folder)
    except CellmillError as error:
        pytest.fail(str(error), pytrace=False)
    return made


def run_all(reference_python: Path, model_folder: Path, folder: Path) -> None:
    """Run the reference and ours on all images, and ours on what the reference gave."""
    model = ("--model", model_folder)
    write_images(folder / "images-both", CASES)
    write_images(folder / "images-alone", (*ALONE, CRASHES))

    for compartment, cases in CASES_OF.items():
        images = "images-both" if cases is CASES else "images-alone"
        run(
            reference_python,
            *("-m", "cellmill", "deepcell_reference", "--images", folder / images, *model),
            *("--labels", folder / f"reference-{compartment}"),
            *("--predictions", folder / f"reference-{compartment}-predictions"),
            *("--preprocessed", folder / f"reference-{compartment}-preprocessed"),
            *("--record", folder / f"record-{compartment}.json", "--compartment", compartment),
            *("--on-bad-image", "fail" if cases is CASES else "skip"),
        )

    def ours(stage: str, *flags: str | Path) -> None:
        run(Path(sys.executable), "-m", "cellmill", stage, *flags)

    def predict(source: str, result: str) -> None:
        ours("predict", *model, "--preprocessed", folder / source, "--predictions", folder / result)

    def postprocess(source: str, result: str, compartment: str) -> None:
        ours(
            "postprocess",
            *("--predictions", folder / source),
            *("--labels", folder / f"{result}-{compartment}", "--compartment", compartment),
        )

    ours(
        *("preprocess", *model, "--images", folder / "images-both"),
        *("--preprocessed", folder / "preprocessed"),
    )
    predict("reference-both-preprocessed", "predictions-of-same")
    predict("preprocessed", "predictions")
    for compartment in CASES_OF:
        postprocess(f"reference-{compartment}-predictions", "labels-of-same", compartment)
        postprocess("predictions", "labels", compartment)


def test_the_shipped_cards_parameters_are_mesmers_own(runs: Runs) -> None:
    card = known_cards()["Mesmer"].to_dict()
    record = json.loads((runs.folder / "record-both.json").read_text())
    for compartment, parameters in record["notes"]["postprocessing"].items():
        ours = card["postprocessing"][compartment]
        assert {key: ours[key] for key in parameters} == parameters


@pytest.mark.parametrize("name", NAMES)
def test_preprocessing_agrees(runs: Runs, name: str) -> None:
    ours = runs.array("preprocessed", name, "image")
    reference = runs.array("reference-both-preprocessed", name, "image")
    assert largest_difference(ours, reference) <= 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_predictions_from_the_same_input_agree(runs: Runs, name: str) -> None:
    for head in runs.heads():
        ours = runs.array("predictions-of-same", name, head)
        reference = runs.array("reference-both-predictions", name, head)
        assert largest_difference(ours, reference) <= 1e-5, head


@pytest.mark.parametrize("name", NAMES)
def test_predictions_agree_from_the_image_on(runs: Runs, name: str) -> None:
    for head in runs.heads():
        ours = runs.array("predictions", name, head)
        reference = runs.array("reference-both-predictions", name, head)
        assert largest_difference(ours, reference) <= 1e-4, head


@pytest.mark.parametrize(("name", "compartment"), RUNS)
def test_labels_from_the_same_predictions_are_identical(
    runs: Runs, name: str, compartment: str
) -> None:
    for labels in labels_in(compartment):
        ours = runs.array(f"labels-of-same-{compartment}", name, labels)
        reference = runs.array(f"reference-{compartment}", name, labels)
        assert ours.dtype == np.int32
        np.testing.assert_array_equal(ours, reference)


@pytest.mark.parametrize(("name", "compartment"), RUNS)
def test_the_same_cells_are_found_end_to_end(runs: Runs, name: str, compartment: str) -> None:
    for labels in labels_in(compartment):
        ours = runs.array(f"labels-{compartment}", name, labels)
        reference = runs.array(f"reference-{compartment}", name, labels)
        assert object_f1(reference, ours, threshold=0.95) >= 0.999


def test_what_deepcell_crashes_on_is_skipped_with_one_line(runs: Runs) -> None:
    for compartment in ("whole-cell", "nuclear"):
        entry = Batch.open(runs.folder / f"reference-{compartment}").entry(CRASHES.name)
        assert entry.status == "skipped"
        assert "deepcell crashes" in entry.error


def test_there_are_cells_to_compare(runs: Runs) -> None:
    """Agreement on empty images would say nothing."""
    for labels, least in (("whole_cell", 20), ("nuclear", 20)):
        counts = {name: runs.array("reference-both", name, labels).max() for name in NAMES}
        full = [case.name for case in CASES if min(case.shape) >= 256 and not case.real]
        sparse = {name: count for name, count in counts.items() if name in full and count < least}
        assert not sparse, labels


def test_every_image_is_in_the_table(runs: Runs, agreement: Callable[[str], None]) -> None:
    """Print how near ours came to deepcell's on each image."""
    rows = [row(runs, case) for case in CASES]
    agreement("\n".join([HEADER, *rows]))
    assert len(rows) == len(Batch.open(runs.folder / "reference-both").entries)


HEADER = (
    f"{'image':<30} {'pixels':>9} {'dtype':>7} {'µm/px':>6} {'cells':>5} {'nuclei':>6} "
    f"{'preprocess':>10} {'predict':>8} {'chained':>8} {'labels ≠':>8} {'F1@0.95':>8}"
)


def row(runs: Runs, case: Case) -> str:
    """Give one line of the table: the largest differences over heads and compartments."""

    def predictions(batch: str) -> float:
        return max(
            largest_difference(
                runs.array(batch, case.name, head),
                runs.array("reference-both-predictions", case.name, head),
            )
            for head in runs.heads()
        )

    def pairs(batch: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for compartment in (c for c, cases in CASES_OF.items() if case in cases):
            for labels in labels_in(compartment):
                yield (
                    runs.array(f"reference-{compartment}", case.name, labels),
                    runs.array(f"{batch}-{compartment}", case.name, labels),
                )

    preprocessed = largest_difference(
        runs.array("preprocessed", case.name, "image"),
        runs.array("reference-both-preprocessed", case.name, "image"),
    )
    cells, nuclei = (
        int(runs.array("reference-both", case.name, labels).max())
        for labels in ("whole_cell", "nuclear")
    )
    differing = max(int((one != other).sum()) for one, other in pairs("labels-of-same"))
    f1 = min(object_f1(one, other, threshold=0.95) for one, other in pairs("labels"))
    return (
        f"{case.name:<30} {case.shape[0]:>4}×{case.shape[1]:<4} {np.dtype(case.dtype).name:>7} "
        f"{case.mpp or '–':>6} {cells:>5} {nuclei:>6} {preprocessed:>10.1e} "
        f"{predictions('predictions-of-same'):>8.1e} {predictions('predictions'):>8.1e} "
        f"{differing:>8} {f1:>8.4f}"
    )
