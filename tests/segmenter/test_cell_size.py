"""An image is shown to a size model by windows as it is whole; conformance is elsewhere.

`tests/conformance/test_cellpose_images.py` holds diameters against cellpose's own.
"""

import numpy as np

from cellmill.arrays.windows import Box
from cellmill.segmenter.cell_size import Rescaled


def test_an_image_is_shown_by_windows_as_it_is_whole():
    image = np.random.default_rng(0).random((41, 60, 2), np.float32)
    shown = Rescaled(image, 1.7)
    whole = shown[:, :]
    assert whole.shape == (69, 102, 2)
    assert (shown[13:50, 7:99] == whole[13:50, 7:99]).all()
    assert (Rescaled(image, 1)[:, :] == image).all()


def test_a_part_has_its_share_of_the_image_s_own_pixels():
    shown = Rescaled(np.zeros((1000, 500, 1), np.float32), 2)
    assert shown.unscaled(Box(0, 400, 300, 1000)) == (200, 350)
    assert Rescaled(np.zeros((3, 500, 1), np.float32), 0.1).shape == (1, 50, 1)
