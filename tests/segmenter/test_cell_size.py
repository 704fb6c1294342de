"""An image is shown to a size model by windows as it is whole; conformance is elsewhere.

`tests/conformance/test_cellpose_images.py` holds diameters against cellpose's own.
"""

from functools import partial

import numpy as np
import pytest

from cellmill.arrays.windows import Box
from cellmill.inference.predictor import Predictor
from cellmill.models.card import ModelCard
from cellmill.segmenter import cell_size
from cellmill.segmenter.cell_size import CellSize, Rescaled, asked_windows
from tests.segmenter import sized


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


@pytest.mark.parametrize("shape", [(8192, 8192), (1, 9), (60_000, 100_000), (300, 10**6)])
def test_of_a_slide_so_much_is_looked_at_and_of_an_image_all(shape):
    boxes = asked_windows(shape)
    seen = sum(box.shape[0] * box.shape[1] for box in boxes)
    if shape[0] * shape[1] <= 8192**2:
        assert boxes == [Box(0, shape[0], 0, shape[1])]
    else:
        assert seen <= 32 * 1024**2
    assert all(box == box.grown(0, shape) for box in boxes)


def test_windows_of_a_slide_stand_for_all_of_it(tmp_path, monkeypatch):
    folder = sized.save(tmp_path / "sized")
    asked = CellSize(
        folder, ModelCard.load(folder), partial(Predictor, folder, engine="onnxruntime")
    )
    image = sized.discs((900, 1100), 20)[..., np.newaxis]
    whole = asked(image, 1 << 28)
    monkeypatch.setattr(cell_size, "_WHOLE", 0)
    monkeypatch.setattr(cell_size, "_WINDOW", 256)
    monkeypatch.setattr(cell_size, "_MOST", 5)
    part = asked(image, 1 << 28)
    assert part == asked(image, 1 << 24)
    assert 20 < part.objects < whole.objects / 2
    assert part.diameter == pytest.approx(whole.diameter, rel=0.1)
    assert part.by_style == pytest.approx(whole.by_style, rel=0.1)
