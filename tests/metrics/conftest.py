"""Others' metrics to compare with: from their wheels, without installing what else they need."""

from __future__ import annotations

import importlib.util
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from cellmill.datasets.samples import STARDIST, Wheel, fetch_wheel
from cellmill.errors import CellmillError

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
