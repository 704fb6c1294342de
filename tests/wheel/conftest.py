"""The environments of the wheel, shared by all tests of a run and all of its workers."""

import pytest

from tests.wheel.environments import Environments


@pytest.fixture(scope="session")
def environments(tmp_path_factory, worker_id):
    """Where workers run side by side, their folders lie in one that they share."""
    folder = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        folder = folder.parent
    (folder / "environments").mkdir(exist_ok=True)
    return Environments(folder / "environments")
