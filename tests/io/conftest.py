"""What tests of reading share."""

import fsspec
import pytest


@pytest.fixture
def store():
    """A store that fsspec serves from memory, as it would serve a bucket."""
    filesystem = fsspec.filesystem("memory")
    filesystem.store.clear()
    for name in ("p/a.tif", "p/b [1].TIF", "p/c#d.txt", "p/deep/e.tiff", "plate1_x.tif"):
        filesystem.pipe(f"/bucket/{name}", name.encode())
    yield filesystem
    filesystem.store.clear()
