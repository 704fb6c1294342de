"""Masks from the same flows and probability against cellpose 4's own, on fields of real nuclei.

The truths are real, the maps are made of their own flows, with noise. The reference runs in an
environment of its own, from `images/cellpose4`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from cellmill.labels.numbering import canonical_labels
from cellmill.segmentation.cellpose import CellposeParameters, flows_of, segment_flows
from tests.conformance.conformance_model import run
from tests.conformance.test_cellpose import NOISES, PARAMETERS, truths
from tests.segmentation.cellpose.test_cellpose import wild_maps

pytestmark = pytest.mark.cellpose

#: Its masks step is slow: fields of fewer pixels, and of these so many.
MOST_PIXELS, FIELDS = 80_000, 16
#: Of the fields, so many are segmented by the whole of `eval`.
WHOLE = 8


def noisy_maps(labels: np.ndarray, seed: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Flows `(2, Y, X)` and a logit as a network might give them: blurred, and wrong in places."""
    rng = np.random.default_rng(seed)
    own = np.moveaxis(flows_of(labels), -1, 0)
    rough, smooth = rng.normal(0, noise, (2, *own.shape))
    smooth = ndimage.gaussian_filter(smooth, (0, 3, 3)) * 8
    flows = ndimage.gaussian_filter(5 * own + rough + smooth, (0, 0.8, 0.8))
    logit = np.where(labels > 0, 3.0, -3.0) + rng.normal(0, 2, labels.shape)
    return flows.astype(np.float32), ndimage.gaussian_filter(logit, 0.7).astype(np.float32)


@pytest.fixture(scope="module")
def fields(
    cellpose4_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, np.ndarray]]:
    """Have cellpose segment all fields: of real nuclei, and of noise."""
    folder = tmp_path_factory.mktemp("cellpose4")
    small = [each for each in truths() if each.size < MOST_PIXELS][:FIELDS]
    made = [noisy_maps(each, k, NOISES[k % len(NOISES)]) for k, each in enumerate(small)]
    for seed, shape in enumerate([(90, 131), (64, 64), (2, 300)]):
        flows, probability = wild_maps(seed, shape)
        made.append((np.moveaxis(flows, -1, 0), probability))
    for k, (flows, probability) in enumerate(made):
        told = {**PARAMETERS[k % len(PARAMETERS)]}
        held = {"flows": flows, "probability": probability, "parameters": json.dumps(told)}
        held |= {"whole": np.array(1)} if k < WHOLE else {}
        np.savez(folder / f"{k:02}.maps.npz", **held)
    run(cellpose4_python, Path(__file__).with_name("run_cellpose4_masks.py"), folder)
    found = []
    for k in range(len(made)):
        with (
            np.load(folder / f"{k:02}.maps.npz") as maps,
            np.load(folder / f"{k:02}.masks.npz") as masks,
        ):
            found.append({**maps, **masks})
    return found


def told(field: dict[str, np.ndarray]) -> CellposeParameters:
    """What a field is segmented by."""
    return CellposeParameters(**json.loads(str(field["parameters"])), rule="cellpose4")


def test_masks_by_its_rule_are_its_own(
    fields: list[dict[str, np.ndarray]], agreement: Callable[[str], None]
) -> None:
    differ = []
    as_it_sorts = objects = other = 0
    for k, field in enumerate(fields):
        flows = np.moveaxis(field["flows"], 0, -1)
        ours = segment_flows(flows, field["probability"], told(field))
        if not np.array_equal(ours, canonical_labels(field["in_order"])):
            differ.append(k)
        as_it_sorts += np.array_equal(ours, canonical_labels(field["masks"]))
        right = CellposeParameters(**json.loads(str(field["parameters"])))
        other += not np.array_equal(ours, segment_flows(flows, field["probability"], right))
        objects += int(ours.max())
    agreement(
        f"cellpose 4.2.1.1, {len(fields)} fields, {WHOLE} by its whole eval, {objects} objects: "
        f"masks equal in {len(fields) - len(differ)} with seeds of equal strength in raster order, "
        f"in {as_it_sorts} as it sorts them; in {other} they are not those of rule right"
    )
    assert not differ
    assert objects > 100
    assert other > 5
