"""What tests of every part share: interpreters that have the references' packages, a toy method."""

import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

from cellmill.errors import CellmillError
from cellmill.segmentation.methods import METHODS
from launch.images.environments import (
    environment,
    environment_of,
    find_python,
    wanted_python,
)

# How long an example takes depends on the machine and on what is compiled at its first call.
# One commit is tried with one set of examples, so that a failure is of the change that it follows;
# `make test-more` looks for others.
hypothesis.settings.register_profile("cellmill", deadline=None, derandomize=True)
hypothesis.settings.register_profile("more", deadline=None, max_examples=500)
hypothesis.settings.load_profile(os.environ.get("CELLMILL_HYPOTHESIS", "cellmill"))


@pytest.fixture
def agreement(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Tell, at the end of the run, how near a reference was."""
    return lambda text: record_property("agreement", text)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests found of references, whatever process they ran in."""
    told = (
        text
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, text in report.user_properties
        if name == "agreement"
    )
    for text in told:
        terminalreporter.write_line(f"\n{text}")


@pytest.fixture(scope="session")
def deepcell_python() -> Path:
    """Give deepcell's interpreter: CELLMILL_DEEPCELL_PYTHON, else one made from its lock.

    Skips, saying so, where there is no Python 3.10; with `CELLMILL_REQUIRE_DEEPCELL` set (as in
    CI) nothing is skipped.
    """
    if named := os.environ.get("CELLMILL_DEEPCELL_PYTHON", ""):
        return Path(named)
    if not os.environ.get("CELLMILL_REQUIRE_DEEPCELL"):
        try:
            find_python(wanted_python("deepcell"))
        except CellmillError as error:
            pytest.skip(f"NOT compared with deepcell: {error}")
    return environment("deepcell")


def _locked_for_linux(name: str, image: str) -> Path:
    """Give the interpreter of a package to compare with: CELLMILL_<NAME>_PYTHON, or its own.

    Skips, saying so, on other machines than Linux on x86-64, which its lock is for; with
    `CELLMILL_REQUIRE_<NAME>` set nothing is skipped.
    """
    if named := os.environ.get(f"CELLMILL_{name.upper()}_PYTHON", ""):
        return Path(named)
    machine = (sys.platform, platform.machine())
    required = os.environ.get(f"CELLMILL_REQUIRE_{name.upper()}")
    if machine != ("linux", "x86_64") and not required:
        pytest.skip(f"NOT compared with {name}, which is locked for Linux, on {machine}")
    return environment(image)


@pytest.fixture(scope="session")
def stardist_python() -> Path:
    """Give StarDist's interpreter."""
    return _locked_for_linux("stardist", "stardist")


@pytest.fixture(scope="session")
def cellpose_python() -> Path:
    """Give cellpose's interpreter."""
    return _locked_for_linux("cellpose", "cellpose3")


@pytest.fixture(scope="session")
def cellpose4_python() -> Path:
    """Give cellpose 4's interpreter."""
    return _locked_for_linux("cellpose4", "cellpose4")


@pytest.fixture(scope="session")
def readers() -> Path:
    """Give the interpreter that has the programs which exports are for."""
    return environment_of(Path(__file__).parent / "exports" / "readers.lock", "readers")


@pytest.fixture
def toy_method(monkeypatch):
    """The toy of `tests/segmentation/toy.py`, registered as any method is: by one line."""
    monkeypatch.setitem(METHODS, "toy", "tests.segmentation.toy")
