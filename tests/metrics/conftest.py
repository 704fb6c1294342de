"""Others' metrics to compare with: from their wheels, without installing what else they need."""

from __future__ import annotations

import importlib.util
import itertools
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from cellmill.errors import CellmillError
from launch.samples import STARDIST, Wheel, fetch_wheel

CELLPOSE = Wheel(
    "cellpose",
    "3.1.1",
    "f6d774859f761e5b90397fafb390661ebcee2def0f9da68957d02b698bc86a11",
    ("--python-version=3.11", "--platform=any"),
)


def wheel_of(wheel: Wheel) -> Path:
    """Give a pinned wheel; skip the test, visibly, where it cannot be had."""
    try:
        return fetch_wheel(wheel)
    except CellmillError as error:
        pytest.skip(str(error))


def load_module(
    wheel: Path, member: str, name: str, stand_ins: Mapping[str, Mapping[str, object]]
) -> ModuleType:
    """Run one module of a wheel; `stand_ins` takes the place of imports that it does not use."""
    with zipfile.ZipFile(wheel) as archive:
        source = archive.read(member).decode()
    spec = importlib.util.spec_from_loader(name, loader=None)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    before = {key: sys.modules.get(key) for key in stand_ins}
    try:
        for key, members in stand_ins.items():
            sys.modules[key] = ModuleType(key)
            sys.modules[key].__dict__.update(members)
        exec(compile(source, f"{wheel.name}/{member}", "exec"), module.__dict__)
    finally:
        for key, old in before.items():
            sys.modules.pop(key, None)
            if old is not None:
                sys.modules[key] = old
    return module


@pytest.fixture(scope="session")
def stardist_matching() -> ModuleType:
    """Give stardist.matching, whose csbdeep and tqdm only raise errors and draw a bar."""
    pytest.importorskip("numba", reason="stardist.matching needs numba")

    def raise_error(error: Exception) -> None:
        raise error

    return load_module(
        wheel_of(STARDIST),
        "stardist/matching.py",
        "stardist_matching",
        {
            "csbdeep": {},
            "csbdeep.utils": {"_raise": raise_error},
            "tqdm": {"tqdm": lambda items, **_: items},
        },
    )


@pytest.fixture(scope="session")
def cellpose_metrics() -> ModuleType:
    """Give cellpose.metrics; its utils and dynamics serve functions that are not compared."""
    pytest.importorskip("numba", reason="cellpose.metrics needs numba")
    return load_module(
        wheel_of(CELLPOSE),
        "cellpose/metrics.py",
        "cellpose.metrics",
        {
            "cellpose": {"utils": ModuleType("utils"), "dynamics": ModuleType("dynamics")},
            "cellpose.utils": {},
            "cellpose.dynamics": {},
        },
    )


Pair = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="session")
def random_pairs() -> Callable[[int, int], list[Pair]]:
    """Make pairs of small label images, labels 1…n, from independent to nearly equal."""

    def make(number: int, seed: int) -> list[Pair]:
        rng = np.random.default_rng(seed)
        return [_random_pair(rng, index % 4) for index in range(number)]

    return make


def _random_pair(rng: np.random.Generator, kind: int) -> Pair:
    if kind == 3:
        truth = _strips(rng)
        predicted = _strips(rng) if rng.random() < 0.5 else truth.copy()
    else:
        truth = _boxes(rng)
        shift = tuple(int(step) for step in rng.integers(-2, 3, 2))
        predicted = _boxes(rng) if kind == 0 else np.roll(truth, shift, (0, 1))
    if kind:
        for _ in range(rng.integers(0, 8)):
            y, x = rng.integers(0, 30, 2)
            height, width = rng.integers(1, 12, 2)
            predicted[y : y + height, x : x + width] = rng.integers(0, 20)
    return _sequential(truth), _sequential(predicted)


def _boxes(rng: np.random.Generator) -> np.ndarray:
    labels = np.zeros((32, 40), np.int64)
    for label in range(1, rng.integers(1, 10)):
        y, x = rng.integers(0, 32, 2)
        height, width = rng.integers(2, 14, 2)
        labels[y : y + height, x : x + width] = label
    return labels


def _strips(rng: np.random.Generator) -> np.ndarray:
    """Cut rows of strips at whole tenths, so that IoUs of exactly 0.1, 0.5 and 0.6 occur."""
    labels = np.zeros((32, 40), np.int64)
    for y in range(0, 32, 4):
        cuts = np.unique(rng.integers(0, 21, rng.integers(2, 10))) * 2
        for left, right in itertools.pairwise(cuts):
            if rng.random() < 0.8:
                labels[y : y + rng.integers(1, 5), left:right] = labels.max() + 1
    return labels


def _sequential(labels: np.ndarray) -> np.ndarray:
    return (
        np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
        if (labels == 0).any()
        else np.unique(labels, return_inverse=True)[1].reshape(labels.shape) + 1
    )
