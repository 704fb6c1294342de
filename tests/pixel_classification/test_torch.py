"""Pixel classification by torch: the kernels' features but for rounding, their votes to the bit."""

from pathlib import Path

import numpy as np
import pytest

from cellmill.errors import BadInput
from cellmill.pixel_classification.feature_set import FeatureSet
from cellmill.pixel_classification.features import image_features
from tests.with_torch import WITHOUT_TORCH, said_by

PROGRAM = Path(__file__).parent / "torch_program.py"


@pytest.mark.cellpose
def test_torch_computes_what_kernels_do_whatever_the_windows(cellpose_python):
    found = said_by(PROGRAM, cellpose_python)
    for name in ("image", "volume"):
        assert found[name]["features"] < 1e-6
        assert found[name]["same_votes"]
        # Where a feature lies on a threshold, rounding decides.
        assert found[name]["other_classes"] < 1e-3
        assert found[name]["near_windows"] < 1e-6
    assert found["image"]["same_windows"]
    assert found["no_gpu"] == "device: expected a GPU that torch can use, or cpu, found no GPU"


@WITHOUT_TORCH
def test_a_gpu_without_torch_is_one_line_and_auto_takes_processors():
    image, wanted = np.random.default_rng(0).random((9, 12)), FeatureSet.of(sigmas=(1.0,))
    with pytest.raises(BadInput, match=r"device: expected a GPU that torch can use \(pip install"):
        image_features(image, wanted, device="cuda")
    plain = image_features(image, wanted)
    np.testing.assert_array_equal(image_features(image, wanted, device="auto"), plain)
