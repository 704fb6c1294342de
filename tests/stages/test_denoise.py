"""Denoising and background: nearer to what is there, every channel by itself, one line if not."""

import numpy as np
import pytest

from cellmill.arrays.batch import Batch
from cellmill.contract import Images, Record
from cellmill.errors import BadInput
from cellmill.stages.background_subtract import background_subtract
from cellmill.stages.denoise import denoise
from tests.stages.restoration import read, write_images

STAGES = {"denoise": denoise, "background_subtract": background_subtract}


def run(folder, stage, images, **parameters):
    folder.mkdir(parents=True, exist_ok=True)
    out, record = Images(folder / "out"), Record(folder / "record.json")
    STAGES[stage](images, out, record, **parameters)
    return out


def blocks(shape):
    image = np.full(shape, 100.0)
    image[..., shape[-1] // 2 :] = 140
    return image


@pytest.mark.parametrize("shape", [(40, 44), (8, 24, 28)])
@pytest.mark.parametrize("method", ["gaussian", "median", "non_local_means"])
def test_noise_goes_and_what_travels_stays(tmp_path, method, shape):
    true = blocks(shape)
    noisy = np.stack([np.random.default_rng(s).poisson(true) for s in (0, 1)], -1)
    images = write_images(
        tmp_path / "images", {"a": noisy.astype(np.uint16)}, channels=("x", "y"), source="s"
    )
    out = run(tmp_path, "denoise", images, method=method)
    found = read(out)
    assert found.dtype == np.float32
    for channel in range(2):
        before = np.abs(noisy[..., channel] - true).mean()
        assert np.abs(found[..., channel] - true).mean() < before * 0.8
    (entry,) = Batch.open(out.path).entries
    assert (entry.channels, entry.attributes["source"]) == (("x", "y"), "s")
    assert len(entry.mpp) == len(shape)


@pytest.mark.parametrize("shape", [(60, 64), (12, 40, 44)])
@pytest.mark.parametrize("method", ["top_hat", "rolling_ball", "gaussian"])
def test_a_slope_goes_and_spots_stay(tmp_path, method, shape):
    slope = 100 + np.arange(shape[-1]) * np.ones(shape)
    image = slope.copy()
    spot = (slice(5, 8),) * (len(shape) - 2) + (slice(18, 22), slice(20, 24))
    image[spot] += 300
    images = write_images(tmp_path / "images", {"a": image[..., None].astype(np.float32)})
    found = read(run(tmp_path, "background_subtract", images, method=method, radius=12))[..., 0]
    assert found.min() >= 0
    assert found[spot].mean() > 200
    away = np.ones(shape, bool)
    away[..., :2] = away[..., -14:] = False
    away[..., 4:36, 6:38] = False
    assert found[away].mean() < 0.4 * (slope[away] - 100).mean()


@pytest.mark.parametrize(
    ("stage", "given", "line"),
    [
        ("denoise", {"size": 0.0}, "image 'a', channel 0, size: expected above 0"),
        ("denoise", {"strength": -1.0}, "strength: expected above 0"),
        ("background_subtract", {"radius": -1.0}, "radius: expected above 0"),
        ("background_subtract", {"radius_um": 1.0}, "expected a voxel size, for radius_um"),
    ],
)
def test_impossible_settings_are_one_line(tmp_path, stage, given, line):
    images = write_images(tmp_path / "images", {"a": np.ones((20, 20, 1), np.uint8)}, mpp=None)
    with pytest.raises(BadInput, match=line):
        run(tmp_path, stage, images, **given)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_constant_image_stays(tmp_path):
    images = write_images(tmp_path / "images", {"a": np.full((20, 20, 1), 7, np.uint8)})
    for method in ("gaussian", "median", "non_local_means"):
        out = run(tmp_path / method, "denoise", images, method=method)
        assert np.allclose(read(out), 7)
