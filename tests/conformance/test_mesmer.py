"""Our preprocess → predict → postprocess against Mesmer of the deepcell package, step by step.

`make conformance` runs this. Every step is fed what the reference's own step was fed, so that a
difference shows where it arises; then the whole chain is compared end to end. Each stage runs as a
process of its own, ours in this interpreter's environment, the reference in deepcell's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from cellmill.arrays.batch import Batch
from cellmill.errors import CellmillError
from cellmill.models.card import ModelCard, known_cards
from launch.environments import find_python
from tests.conformance.agreement import largest_difference, object_f1
from tests.conformance.cases import CASES, Case, write_images
from tests.conformance.conformance_model import conformance_model, deepcell_python, run

pytestmark = [pytest.mark.deepcell, pytest.mark.tensorflow]

COMPARTMENTS = ("whole_cell", "nuclear", "both")
NAMES = [case.name for case in CASES]


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
    return ("whole_cell", "nuclear") if compartment == "both" else (compartment,)


@pytest.fixture(scope="module")
def reference_python() -> Path:
    try:
        python = deepcell_python()
    except CellmillError as error:
        try:
            find_python("3.10")
        except CellmillError:
            pytest.skip(f"conformance with deepcell was NOT checked: {error}")
        raise
    return python


@pytest.fixture(scope="module")
def runs(reference_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Run the reference and ours on all images, and ours on what the reference gave."""
    made = Runs(conformance_model(reference_python), tmp_path_factory.mktemp("conformance"))
    folder = made.folder
    model = ("--model", made.model)
    ours = Path(sys.executable)
    write_images(folder / "images", CASES)

    for compartment in COMPARTMENTS:
        run(
            reference_python,
            *("-m", "cellmill", "deepcell_reference", "--images", folder / "images", *model),
            *("--labels", folder / f"reference-{compartment}"),
            *("--predictions", folder / "reference-predictions"),
            *("--preprocessed", folder / "reference-preprocessed"),
            *("--record", folder / f"record-{compartment}.json", "--compartment", compartment),
        )

    def stage(name: str, **paths: str) -> None:
        flags = [
            part
            for flag, batch in paths.items()
            for part in (f"--{flag}", batch if flag == "compartment" else folder / batch)
        ]
        run(ours, "-m", "cellmill", name, *([] if name == "postprocess" else model), *flags)

    stage("preprocess", images="images", preprocessed="preprocessed")
    stage("predict", preprocessed="reference-preprocessed", predictions="predictions-of-same")
    stage("predict", preprocessed="preprocessed", predictions="predictions")
    for compartment in COMPARTMENTS:
        for source, result in (
            ("reference-predictions", "labels-of-same"),
            ("predictions", "labels"),
        ):
            stage(
                "postprocess",
                predictions=source,
                labels=f"{result}-{compartment}",
                compartment=compartment,
            )
    return made


def test_the_cards_defaults_are_mesmers_own(runs: Runs) -> None:
    record = json.loads((runs.folder / "record-both.json").read_text())
    card = ModelCard.load(runs.model)
    for compartment, parameters in record["notes"]["postprocessing"].items():
        ours = card.to_dict()["postprocessing"][compartment]
        assert {key: ours[key] for key in parameters} == parameters
        shipped = known_cards()["Mesmer"].to_dict()["postprocessing"][compartment]
        assert {key: shipped[key] for key in parameters} == parameters


@pytest.mark.parametrize("name", NAMES)
def test_preprocessing_agrees(runs: Runs, name: str) -> None:
    ours = runs.array("preprocessed", name, "image")
    reference = runs.array("reference-preprocessed", name, "image")
    assert largest_difference(ours, reference) <= 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_predictions_from_the_same_input_agree(runs: Runs, name: str) -> None:
    for head in runs.heads():
        ours = runs.array("predictions-of-same", name, head)
        reference = runs.array("reference-predictions", name, head)
        assert largest_difference(ours, reference) <= 1e-5, head


@pytest.mark.parametrize("name", NAMES)
def test_predictions_agree_from_the_image_on(runs: Runs, name: str) -> None:
    for head in runs.heads():
        ours = runs.array("predictions", name, head)
        reference = runs.array("reference-predictions", name, head)
        assert largest_difference(ours, reference) <= 1e-4, head


@pytest.mark.parametrize("compartment", COMPARTMENTS)
@pytest.mark.parametrize("name", NAMES)
def test_labels_from_the_same_predictions_are_identical(
    runs: Runs, name: str, compartment: str
) -> None:
    for labels in labels_in(compartment):
        ours = runs.array(f"labels-of-same-{compartment}", name, labels)
        reference = runs.array(f"reference-{compartment}", name, labels)
        assert ours.dtype == np.int32
        np.testing.assert_array_equal(ours, reference)


@pytest.mark.parametrize("compartment", COMPARTMENTS)
@pytest.mark.parametrize("name", NAMES)
def test_the_same_cells_are_found_end_to_end(runs: Runs, name: str, compartment: str) -> None:
    for labels in labels_in(compartment):
        ours = runs.array(f"labels-{compartment}", name, labels)
        reference = runs.array(f"reference-{compartment}", name, labels)
        assert object_f1(reference, ours, threshold=0.95) >= 0.999


def test_there_are_cells_to_compare(runs: Runs) -> None:
    """Agreement on empty images would say nothing."""
    for labels, least in (("whole_cell", 20), ("nuclear", 20)):
        counts = {name: runs.array("reference-both", name, labels).max() for name in NAMES}
        full = [case.name for case in CASES if min(case.shape) >= 256 and not case.real]
        sparse = {name: count for name, count in counts.items() if name in full and count < least}
        assert not sparse, labels


def test_every_image_is_in_the_table(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    """Print how near ours came to deepcell's on each image."""
    rows = [row(runs, case) for case in CASES]
    with capsys.disabled():
        print("\n" + "\n".join([HEADER, *rows]))
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
                runs.array("reference-predictions", case.name, head),
            )
            for head in runs.heads()
        )

    def pairs(batch: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for compartment in COMPARTMENTS:
            for labels in labels_in(compartment):
                yield (
                    runs.array(f"reference-{compartment}", case.name, labels),
                    runs.array(f"{batch}-{compartment}", case.name, labels),
                )

    preprocessed = largest_difference(
        runs.array("preprocessed", case.name, "image"),
        runs.array("reference-preprocessed", case.name, "image"),
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
