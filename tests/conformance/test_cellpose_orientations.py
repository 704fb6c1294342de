"""A volume shown to a network of Cellpose by planes across all axes, as cellpose's `run_3D`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cellmill.segmentation.methods import recipes_of
from cellmill.segmentation.orientations import depth_for, heads_of_orientations, with_depth
from tests.conformance.conformance_model import run
from tests.segmentation.test_orientations import card

pytestmark = pytest.mark.cellpose


def test_depth_and_sums_are_cellposes(cellpose_python: Path, tmp_path: Path) -> None:
    volume = np.random.default_rng(2).random((4, 19, 23, 2), np.float32)
    depth = depth_for(4, 1.0, (1.0, 0.4, 0.4))
    assert depth == 10
    np.save(tmp_path / "volume.npy", volume)
    np.save(tmp_path / "depth.npy", depth)
    run(cellpose_python, Path(__file__).with_name("run_cellpose_orientations.py"), tmp_path)
    with np.load(tmp_path / "found.npz") as found:
        deeper, combined = found["deeper"], found["combined"]
        given = [plane for axis in "zyx" for plane in found[f"planes_{axis}"]]
    ours = with_depth(volume, depth)
    np.testing.assert_allclose(ours, deeper, atol=1e-6)

    # What the network gave for each plane, in the order in which ours are asked for.
    turned = [plane for axis in range(3) for plane in np.moveaxis(deeper, axis, 0)]
    answers = iter(zip(turned, given, strict=True))

    def predict(plane: np.ndarray) -> dict[str, np.ndarray]:
        shown, answer = next(answers)
        np.testing.assert_allclose(plane, shown, atol=1e-6)
        return {"flows": answer[..., :2], "probability": answer[..., 2:]}

    heads = heads_of_orientations(ours, recipes_of(card(), ["nuclear"]), predict)
    assert next(answers, None) is None
    np.testing.assert_allclose(heads["flows"], combined[..., :3], atol=1e-5)
    np.testing.assert_allclose(heads["probability"][..., 0], combined[..., 3], atol=1e-5)
    assert np.ptp(combined) > 0.1
