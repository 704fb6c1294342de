"""Deconvolution by torch: what kernels compute but for rounding, within what was estimated."""

from pathlib import Path

import numpy as np
import pytest

from cellmill.compute.devices import device_for
from cellmill.errors import BadInput
from cellmill.restoration import deconvolve
from cellmill.restoration.bounded import RichardsonLucySettings, plan_memory
from tests.with_torch import WITHOUT_TORCH, said_by

PROGRAM = Path(__file__).parent / "devices_program.py"


@pytest.mark.cellpose
def test_torch_computes_what_kernels_do_within_its_memory(cellpose_python):
    found = said_by(PROGRAM, cellpose_python)
    # Where what is in consensus hangs on rounding, a voxel goes on in one and not in the other.
    limits = {name: 1e-2 if "consensus" in name else 1e-4 for name in found["errors"]}
    assert len(limits) == 25
    assert not {n: e for n, e in found["errors"].items() if not e <= limits[n]}
    assert found["no_gpu"] == "device: expected a GPU that torch can use, or cpu, found no GPU"
    assert found["auto"]
    assert found["memory"]["taken"] <= found["memory"]["estimated"]


@WITHOUT_TORCH
def test_a_gpu_without_torch_is_one_line():
    with pytest.raises(BadInput, match=r"expected a GPU that torch can use \(pip install torch\)"):
        deconvolve(np.ones((9, 9)), np.ones((3, 3)), device="cuda")


@WITHOUT_TORCH
def test_auto_is_the_processors_where_there_is_no_torch():
    assert device_for("auto", 1) == "cpu"
    plan = plan_memory((20, 30, 40), (5, 5, 5), RichardsonLucySettings(), 1000, "auto")
    assert (plan.device, plan.device_mib) == ("cpu", 0)


def test_an_unknown_device_is_one_line():
    with pytest.raises(BadInput, match="device: expected one of auto, cpu, cuda, torch, found"):
        deconvolve(np.ones((9, 9)), np.ones((3, 3)), device="tpu")
