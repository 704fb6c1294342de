"""The stage that simulates: the same seed, the same volumes; truth, unit and sizes travel on."""

import numpy as np
import pytest

from cellmill.arrays.batch import Batch
from cellmill.errors import BadInput
from tests.stages.restoration import VOXEL, WATER, made_psf, read, simulated


def test_objects_images_and_truth_belong_together(tmp_path):
    psf, _ = made_psf(tmp_path)
    images, objects, truth = simulated(
        tmp_path / "one",
        psf,
        photons=0,
        background_photons=0,
        count=3,
        read_noise=0,
        offset=0,
        bits=0,
    )
    (entry,) = Batch.open(images.path).entries
    assert entry.mpp == VOXEL
    assert entry.channels == ("520 nm",)
    image, found, labels = read(images), read(objects), read(truth, key="labels")
    assert image.shape == found.shape == (*labels.shape, 1) == (16, 40, 44, 1)
    # Light is kept but for what leaves the field; the truth is where the objects are.
    assert image.sum(dtype=np.float64) <= found.sum(dtype=np.float64) * (1 + 1e-5)
    assert image.sum(dtype=np.float64) >= found.sum(dtype=np.float64) * 0.6
    assert (found[..., 0][labels > 0] > 0).all()
    assert labels.max() == 3


def test_a_seed_gives_the_same_volumes_and_another_gives_others(tmp_path):
    psf, _ = made_psf(tmp_path)
    first, again, other = (
        read(simulated(tmp_path / name, psf, seed=seed)[0])
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    two, *_ = simulated(tmp_path / "two", psf, seed=3, volumes=2)
    assert np.array_equal(read(two, "spheres-1"), first)
    assert np.array_equal(read(two, "spheres-2"), other)


@pytest.mark.parametrize("kind", ["spheres", "beads", "filaments"])
def test_every_kind_has_a_truth(tmp_path, kind):
    psf, _ = made_psf(tmp_path)
    images, _, truth = simulated(tmp_path / kind, psf, kind=kind)
    labels = read(truth, key="labels")
    assert len(np.unique(labels)) > 1
    assert read(images).dtype == np.uint16


def test_impossible_cameras_and_planes_are_one_line(tmp_path):
    psf, _ = made_psf(tmp_path)
    with pytest.raises(BadInput, match="bits: expected 8 to 16"):
        simulated(tmp_path / "a", psf, bits=4)
    with pytest.raises(BadInput, match="volumes: expected 1 or more"):
        simulated(tmp_path / "b", psf, volumes=0)
    flat, _ = made_psf(tmp_path / "flat", **WATER, voxel_um="0.1,0.1", shape="9,9")
    with pytest.raises(BadInput, match=r"expected functions \(Z, Y, X\) of one voxel size"):
        simulated(tmp_path / "c", flat)
    assert not [*tmp_path.glob("[abc]/*/manifest.json")]
