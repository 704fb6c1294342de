"""One server of the network that ships, for the tests that ask it."""

import numpy as np
import pytest
import tensorstore as ts

from cellmill import Segmenter
from tests.serving.servers import Server, discs

FLAGS = ("--model", "cellmill-nuclei", "--engine", "openvino", "--threads", "2")


@pytest.fixture(scope="session")
def volume(tmp_path_factory):
    """A volume of two sections on disk, Zarr, uint8, and its values."""
    place = tmp_path_factory.mktemp("volumes") / "x.zarr"
    values = np.stack([(discs(seed=n) >> 4).astype(np.uint8) for n in (5, 6)])
    spec = {"driver": "zarr3", "kvstore": f"file://{place}", "create": True}
    ts.open(spec, dtype="uint8", shape=values.shape).result()[...] = values
    return place, values


@pytest.fixture(scope="session")
def server(volume):
    with Server(*FLAGS, "--sources", str(volume[0].parent)) as running:
        yield running


@pytest.fixture(scope="session")
def segmenter():
    return Segmenter("cellmill-nuclei", engine="openvino", threads=2)
