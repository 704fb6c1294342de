"""Kernels are compiled for the best processor that an image names; results are the same."""

import os
import re
import subprocess
import sys

import pytest
from llvmlite import binding

from cellmill.compute.targets import VARIABLE, choose_target, usable_targets
from launch import ROOT

HAD = "+sse2"
LACKED = "+no_processor_has_this"
PROGRAM = """
import hashlib, os
import numpy as np
from cellmill.restoration import deconvolve
image = np.random.default_rng(3).poisson(30, (9, 20, 17)).astype(np.float32)
psf = np.random.default_rng(4).random((3, 5, 5)).astype(np.float32)
ways = {"total_variation": 1e-3}, {"accelerate": True}
made = [deconvolve(image, psf / psf.sum(), iterations=3, **way).image for way in ways]
print(os.environ["NUMBA_CPU_NAME"], hashlib.sha256(np.stack(made).tobytes()).hexdigest())
"""


@pytest.fixture(scope="module")
def named():
    """What the images' Dockerfile names."""
    text = (ROOT / "images" / "Dockerfile").read_text()
    return re.search(r'^ARG KERNEL_TARGETS="(.+)"$', text, re.MULTILINE).group(1)


@pytest.mark.parametrize(
    ("targets", "chosen"),
    [
        (f"best={LACKED} good={HAD} least={HAD}", "good"),
        (f"best={HAD},{LACKED} good={HAD}", "good"),
        (f"best={HAD} good={HAD}", "best"),
    ],
)
def test_the_first_target_is_taken_that_the_processor_can_be(targets, chosen):
    assert choose_target({VARIABLE: targets}) == {
        "NUMBA_CPU_NAME": chosen,
        "NUMBA_CPU_FEATURES": HAD,
    }


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {VARIABLE: ""},
        {VARIABLE: f"best={LACKED}"},
        {VARIABLE: f"best={HAD}", "NUMBA_CPU_NAME": "generic"},
    ],
)
def test_numba_is_told_nothing_where_nothing_fits_or_the_user_has_said_it(environ):
    assert choose_target(environ) == {}


def test_the_targets_of_images_are_processors_that_llvm_knows(named):
    targets = [target.partition("=") for target in named.split()]
    known = {f"+{name}" for name in binding.get_host_cpu_features()}
    assert [name for name, _, _ in targets] == ["x86-64-v3", "x86-64-v2"]
    for name, _, features in targets:
        assert set(features.split(",")) <= known, name
    assert set(targets[1][2].split(",")) < set(targets[0][2].split(","))


def test_results_are_the_same_to_the_bit_for_every_target(named):
    usable = [name for name, _ in usable_targets(named)]
    found = [target for target in named.split() if target.partition("=")[0] in usable]
    environ = {name: value for name, value in os.environ.items() if "NUMBA_CPU" not in name}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env={**environ, VARIABLE: target, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for target in found
    ]
    said = dict(each.communicate(timeout=300)[0].split() for each in running)
    assert sorted(said) == sorted(usable)
    assert len(set(said.values())) == 1
