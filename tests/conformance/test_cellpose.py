"""Masks from the same flows and probability against cellpose's own, on fields of real nuclei.

The truths are real, the maps are made of them by cellpose's own `masks_to_flows`, with noise. The
reference runs in an environment of its own, from `images/cellpose3`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from cellmill.datasets.samples import mnfinder, sample_image
from cellmill.labels.numbering import canonical_labels
from cellmill.segmentation.cellpose import CellposeParameters, flows_of, segment_flows
from tests.conformance.conformance_model import run

pytestmark = pytest.mark.cellpose

#: Sides, and of how many pixels one is kept: objects of other sizes.
WINDOWS = ((512, 512, 1), (384, 417, 2), (192, 217, 4), (97, 640, 1), (250, 280, 3))
NOISES = (0.5, 1.5, 3.0)
PARAMETERS: tuple[dict[str, Any], ...] = (
    {"niter": 200, "min_size": 15},
    {"niter": 200, "min_size": 90, "flow_threshold": 0.3},
    {"niter": 67, "min_size": -1, "cellprob_threshold": -1.0},
    {"niter": 351, "min_size": 30, "cellprob_threshold": 0.7, "flow_threshold": 0.0},
    {"niter": 200, "min_size": 60, "flow_threshold": 0.2, "max_size_fraction": 0.02},
    {"niter": 100, "min_size": 45},
)


@dataclass(frozen=True)
class Field:
    """One field, the maps made of it, and what cellpose found in them."""

    name: str
    own: np.ndarray
    flows: np.ndarray
    probability: np.ndarray
    parameters: dict[str, Any]
    masks: np.ndarray
    in_order: np.ndarray

    def ours(self, rule: str) -> np.ndarray:
        """What ours finds in the same maps, by a rule."""
        parameters = CellposeParameters(**self.parameters, rule=rule)
        return segment_flows(np.moveaxis(self.flows, 0, -1), self.probability, parameters)


def truths() -> Iterator[np.ndarray]:
    """Label images of real nuclei: windows of training and validation images, and the sample."""
    samples = [sample.nuclei for sample in (*mnfinder("training"), *mnfinder("validation"))]
    for k, path in enumerate([sample_image()[1], *samples, *samples[::2]]):
        labels = tifffile.imread(path)
        high, wide, each = WINDOWS[k % len(WINDOWS)]
        labels = labels[::each, ::each]
        # The window with most nuclei of a few.
        room = [
            max(0, side - wanted) for side, wanted in zip(labels.shape, (high, wide), strict=True)
        ]
        corners = [(room[0] * y // 2, room[1] * x // 2) for y in range(3) for x in range(3)]
        windows = [labels[y : y + high, x : x + wide] for y, x in corners]
        yield canonical_labels(max(windows, key=lambda window: (window > 0).sum()))


@pytest.fixture(scope="module")
def fields(cellpose_python: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Field]:
    """Have cellpose segment all fields."""
    folder = tmp_path_factory.mktemp("cellpose")
    chosen = {}
    for k, labels in enumerate(truths()):
        chosen[f"{k:02}"] = PARAMETERS[k % len(PARAMETERS)]
        np.savez(
            folder / f"{k:02}.truth.npz",
            labels=labels,
            seed=k,
            noise=NOISES[k % len(NOISES)],
            parameters=json.dumps(chosen[f"{k:02}"]),
        )
    run(cellpose_python, Path(__file__).with_name("run_cellpose.py"), folder)
    found = []
    for name, parameters in chosen.items():
        with (
            np.load(folder / f"{name}.maps.npz") as maps,
            np.load(folder / f"{name}.masks.npz") as masks,
        ):
            found.append(Field(name, **maps, parameters=parameters, **masks))
    return found


def test_masks_by_the_reference_s_rule_are_its_own(
    fields: list[Field], agreement: Callable[[str], None]
) -> None:
    assert len(fields) >= 40
    differ = []
    as_it_sorts = objects = 0
    for field in fields:
        ours = field.ours("reference")
        if not np.array_equal(ours, canonical_labels(field.in_order)):
            differ.append(field.name)
        as_it_sorts += np.array_equal(ours, canonical_labels(field.masks))
        objects += int(ours.max())
    agreement(
        f"cellpose 3.1.1.3, {len(fields)} fields, {objects} objects: masks equal in "
        f"{len(fields) - len(differ)} with seeds of equal strength in raster order, in "
        f"{as_it_sorts} as it sorts them"
    )
    assert not differ
    assert objects > 500


def test_the_fields_try_what_there_is_to_be_tried(fields: list[Field]) -> None:
    """Equal masks would say little if nothing were dropped, or dropped rightly."""
    dropped = wrongly = 0
    for field in fields:
        every = {**field.parameters, "flow_threshold": 0.0}
        flows = np.moveaxis(field.flows, 0, -1)
        found = segment_flows(flows, field.probability, CellposeParameters(**every))
        right = field.ours("right")
        dropped += int(found.max()) > int(right.max())
        wrongly += not np.array_equal(right, canonical_labels(field.in_order))
    assert dropped > 10
    assert wrongly > 3


def test_an_object_s_flows_are_the_reference_s_to_the_last_bit(fields: list[Field]) -> None:
    for field, labels in zip(fields, truths(), strict=True):
        np.testing.assert_array_equal(np.moveaxis(flows_of(labels), -1, 0), field.own)
