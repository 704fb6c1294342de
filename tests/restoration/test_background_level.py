"""The level of a large image: read by slabs, and nearly that of the whole."""

import numpy as np
import pytest

from cellmill.restoration import background
from cellmill.restoration.background import background_level


class Slabs:
    """An image that remembers the most voxels of it that were read at once."""

    def __init__(self, image):
        self.image, self.most = image, 0
        self.shape, self.dtype = image.shape, image.dtype

    def __getitem__(self, window):
        found = self.image[window]
        self.most = max(self.most, found.size)
        return found


@pytest.mark.parametrize("shape", [(300, 400), (60, 40, 50)])
def test_slabs_give_the_level_of_the_whole(shape, monkeypatch):
    image = Slabs(np.random.default_rng(0).normal(100, 10, shape).astype(np.float32))
    whole = background_level(image)
    assert image.most == image.image.size
    image.most = 0
    monkeypatch.setattr(background, "_AT_ONCE", image.image.size // 10)
    assert background_level(image) == pytest.approx(whole, rel=0.02)
    assert image.most < image.image.size / 2
