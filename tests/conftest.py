"""What tests of every part share: the interpreter that has the deepcell package."""

import os
from pathlib import Path

import pytest

from cellmill.errors import CellmillError
from launch.environments import environment, find_python, wanted_python


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
