"""Cellpose's 3-D steps against cellpose's own: walks in volumes, stitching, three orientations."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cellmill.labels.numbering import canonical_labels
from cellmill.labels.stitching import stitch_planes
from cellmill.segmentation.cellpose import (
    CellposeParameters,
    combine_orientations,
    segment_flows,
)
from tests.conformance.conformance_model import run
from tests.segmentation.maps import balls

pytestmark = pytest.mark.cellpose

#: Shapes, how many balls, and of which radius.
VOLUMES = (
    ((24, 60, 70), 40, 8),
    ((17, 41, 64), 60, 6),
    ((9, 80, 50), 30, 9),
    ((30, 33, 47), 25, 9),
    ((2, 50, 60), 12, 8),
    ((40, 40, 40), 80, 7),
)
PARAMETERS: tuple[dict[str, Any], ...] = (
    {"niter": 200, "min_size": 15},
    {"niter": 67, "min_size": -1, "cellprob_threshold": -1.0},
    {"niter": 351, "min_size": 60, "cellprob_threshold": 0.7, "flow_threshold": 0.0},
    {"niter": 100, "min_size": 200, "max_size_fraction": 0.05},
)
NOISES = (0.5, 2.0, 4.0)


@pytest.fixture(scope="module")
def cases(cellpose_python: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Have cellpose segment all volumes."""
    folder = tmp_path_factory.mktemp("cellpose")
    chosen = {}
    for k in range(3 * len(VOLUMES)):
        shape, count, radius = VOLUMES[k % len(VOLUMES)]
        parameters = chosen[f"{k:02}"] = PARAMETERS[k % len(PARAMETERS)]
        np.savez(
            folder / f"{k:02}.truth.npz",
            labels=canonical_labels(balls(k, shape, count, radius)),
            seed=k,
            noise=NOISES[k // len(VOLUMES)],
            parameters=json.dumps(parameters),
        )
    run(cellpose_python, Path(__file__).with_name("run_cellpose_volumes.py"), folder)
    found = []
    for name, parameters in chosen.items():
        with np.load(folder / f"{name}.found.npz") as arrays:
            found.append({**arrays, "parameters": parameters})
    return found


def test_masks_of_volumes_by_the_reference_s_rule_are_its_own(
    cases: list[dict[str, Any]], agreement: Callable[[str], None]
) -> None:
    differ, objects, otherwise = [], 0, 0
    for k, case in enumerate(cases):
        flows = np.moveaxis(case["flows"], 0, -1)
        masks = {
            rule: segment_flows(
                flows, case["probability"], CellposeParameters(**case["parameters"], rule=rule)
            )
            for rule in ("reference", "right")
        }
        expected = canonical_labels(case["masks"])
        differ += [] if np.array_equal(masks["reference"], expected) else [k]
        otherwise += not np.array_equal(masks["right"], expected)
        objects += int(expected.max())
    agreement(
        f"cellpose 3.1.1.3, {len(cases)} volumes, {objects} objects: masks equal in "
        f"{len(cases) - len(differ)}; by rule right they differ in {otherwise}"
    )
    assert not differ
    assert objects > 200
    assert otherwise


def test_planes_segmented_and_stitched_are_the_reference_s(cases: list[dict[str, Any]]) -> None:
    objects = 0
    for k, case in enumerate(cases):
        flows = np.moveaxis(case["flows"][1:], 0, -1)
        parameters = CellposeParameters(
            **case["parameters"], rule="reference", stitch_threshold=0.25
        )
        ours = segment_flows(flows, case["probability"], parameters)
        np.testing.assert_array_equal(ours, canonical_labels(case["stacked"]), err_msg=f"{k}")
        objects += int(ours.max())
    assert objects > 200


def test_three_orientations_add_up_to_the_reference_s(cases: list[dict[str, Any]]) -> None:
    for case in cases:
        flows, probability = combine_orientations(*(case[f"across_{axis}"] for axis in "zyx"))
        np.testing.assert_array_equal(flows, case["combined"][..., :3])
        np.testing.assert_array_equal(probability, case["combined"][..., 3])


def test_stacks_of_labels_are_stitched_as_the_reference_does(
    cellpose_python: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    given = {}
    for k in range(60):
        labels = balls(k, (9, 40, 45), 30, 6)
        # Each plane's numbers are its own; some planes are empty, the first among them.
        planes = [canonical_labels(np.where(rng.random() < 0.2, 0, plane)) for plane in labels]
        given[f"{k:02}"] = np.stack(planes), (0.1, 0.25, 0.5, 0.9)[k % 4]
        np.savez(
            tmp_path / f"{k:02}.stack.npz",
            labels=given[f"{k:02}"][0],
            threshold=(given[f"{k:02}"][1]),
        )
    run(cellpose_python, Path(__file__).with_name("run_cellpose_volumes.py"), tmp_path)
    merged = 0
    for name, (labels, threshold) in given.items():
        stitched = canonical_labels(np.load(tmp_path / f"{name}.stitched.npy"))
        ours = stitch_planes(labels, threshold, "reference")
        np.testing.assert_array_equal(ours, stitched, err_msg=name)
        merged += not np.array_equal(stitch_planes(labels, threshold), stitched)
    # Objects apart that the reference gives one number.
    assert merged
