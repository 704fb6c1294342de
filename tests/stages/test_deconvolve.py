"""The deconvolve stage: nearer to the truth, what travels on, memory, warnings, one line."""

import itertools

import numpy as np
import pytest

from cellmill.arrays.batch import Batch
from cellmill.contract import Images, PointSpread, Record
from cellmill.errors import BadInput
from cellmill.restoration import deconvolve as science
from cellmill.restoration.assessment import root_mean_square_error
from cellmill.stages.deconvolve import deconvolve
from tests.stages.restoration import WATER, made_psf, read, simulated, write_images


def run(folder, images, psf, **parameters):
    folder.mkdir(parents=True, exist_ok=True)
    restored, record = Images(folder / "restored"), Record(folder / "record.json")
    deconvolve(images, psf, restored, record, **parameters)
    return restored, record


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    folder = tmp_path_factory.mktemp("field")
    psf, _ = made_psf(folder)
    return (*simulated(folder, psf, photons=400), psf)


def test_a_volume_comes_nearer_to_its_objects(field, tmp_path):
    images, objects, _, psf = field
    true = read(objects)
    restored, record = run(tmp_path, images, psf, iterations=60, background="10", offset=100)
    before = root_mean_square_error(read(images) - np.float32(110), true)
    assert root_mean_square_error(read(restored), true) < before / 1.5
    (entry,), (source,) = Batch.open(restored.path).entries, Batch.open(images.path).entries
    assert (entry.name, entry.mpp, entry.channels) == (source.name, source.mpp, source.channels)
    assert entry.attributes["source"] == "synthetic"
    assert entry.attributes["intensity_scale"] == [1.0]
    (note,) = record.notes["restoration"]["spheres"]["channels"].values()
    divergence = note["divergence"]
    assert len(divergence) == 60
    assert all(b <= a * (1 + 1e-6) for a, b in itertools.pairwise(divergence))
    assert note["memory"]["blocks"] == 0
    assert note["noise_left"] > 0.5


def test_light_is_kept(field, tmp_path):
    images, _, _, psf = field
    restored, _ = run(tmp_path, images, psf, iterations=9, background="0", edges="circulant")
    (entry,) = Batch.open(restored.path).entries
    said = {"method": "richardson_lucy", "iterations": 9, "edges": "circulant"}
    said |= {"total_variation": 0.0, "accelerate": False, "consensus": False}
    assert entry.attributes["restored"] == said
    lit = read(images).sum(dtype=np.float64)
    assert read(restored).sum(dtype=np.float64) == pytest.approx(lit, rel=1e-5)


def test_integers_are_the_floats_scaled(field, tmp_path):
    images, _, _, psf = field
    floats, _ = run(tmp_path / "float", images, psf, iterations=5)
    integers, _ = run(tmp_path / "int", images, psf, iterations=5, dtype="uint16")
    scale = Batch.open(integers.path).entries[0].attributes["intensity_scale"]
    stored = read(integers)
    assert stored.dtype == np.uint16
    assert stored.max() == 65535
    assert np.abs(stored * scale[0] - read(floats)).max() <= scale[0]


def test_channels_have_functions_of_their_own(tmp_path):
    random = np.random.default_rng(0)
    volume = random.poisson(50, (12, 24, 26, 2)).astype(np.uint16)
    images = write_images(tmp_path / "images", {"a": volume}, channels=("blue", "red"))
    given = {**WATER, "emission_nm": "450,600", "voxel_um": "0.3,0.15,0.15", "shape": "5,7,7"}
    psf, _ = made_psf(tmp_path, **given)
    restored, record = run(tmp_path, images, psf, iterations=3, background="5,7")
    functions = Batch.open(psf.path)
    for channel, level in enumerate((5, 7)):
        own = functions.read(functions.entries[channel], "psf")
        alone = science(volume[..., channel], own, iterations=3, background=level, saturation=65535)
        assert np.array_equal(read(restored)[..., channel], alone.image)
    assert set(record.notes["restoration"]["a"]["channels"]) == {"blue", "red"}


def test_functions_of_more_channels_than_were_read_are_refused(tmp_path):
    """Which of them is for the channel that was read is not known."""
    images = write_images(tmp_path / "images", {"a": np.ones((12, 24, 26, 1))}, channels=("red",))
    given = {**WATER, "emission_nm": "450,600", "voxel_um": "0.3,0.15,0.15", "shape": "5,7,7"}
    psf, _ = made_psf(tmp_path, **given)
    with pytest.raises(BadInput, match=r"one for each channel that was read \(red\), found 2"):
        run(tmp_path, images, psf, iterations=1)


def test_a_function_of_another_microscope_is_warned_of(field, tmp_path):
    images, _, _, psf = field
    given = {**WATER, "voxel_um": "0.3,0.15,0.15", "shape": "11,15,15"}
    wrong, _ = made_psf(tmp_path, **{**given, "numerical_aperture": 0.5})
    warned = []
    for name, function in (("own", psf), ("wrong", wrong)):
        given = {"iterations": 40, "accelerate": True, "total_variation": 0.002}
        _, record = run(tmp_path / name, images, function, offset=100, **given)
        lines = record.notes["restoration"]["spheres"]["warnings"]
        warned.append(any("times the noise: the PSF" in line for line in lines))
    assert warned == [False, True]


def test_a_plane_is_restored_by_the_plane_in_focus(tmp_path):
    random = np.random.default_rng(0)
    images = write_images(tmp_path / "images", {"a": random.poisson(50, (30, 31, 1))})
    psf, _ = made_psf(tmp_path)
    restored, record = run(tmp_path, images, psf, iterations=3)
    assert read(restored).shape == (30, 31, 1)
    assert any("in focus" in line for line in record.notes["restoration"]["a"]["warnings"])


def test_what_does_not_fit_memory_is_cut_into_blocks_and_is_the_whole(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    volume = random.poisson(50, (3, 1300, 700, 1)).astype(np.uint16)
    images = write_images(tmp_path / "images", {"a": volume})
    given = {**WATER, "voxel_um": "0.3,0.15,0.15", "shape": "3,5,5"}
    psf, _ = made_psf(tmp_path, **given)
    whole, record = run(tmp_path / "whole", images, psf, iterations=2)
    parts, cut = run(tmp_path / "parts", images, psf, iterations=2, memory_mib=64)
    memory = [next(iter(r.notes["restoration"]["a"]["channels"].values())) for r in (record, cut)]
    assert memory[0]["memory"]["blocks"] == 0
    assert memory[1]["memory"]["blocks"] > 10
    assert np.abs(read(parts) - read(whole)).max() <= 1e-3 * read(whole).max()
    assert memory[1]["divergence"] == pytest.approx(memory[0]["divergence"], rel=1e-4)
    assert memory[1]["change"] == pytest.approx(memory[0]["change"], rel=2e-2)
    with pytest.raises(BadInput, match=r"memory_mib: expected .* or edges=valid, which is cut"):
        run(tmp_path / "fast", images, psf, iterations=2, memory_mib=64, edges="same")
    assert not (tmp_path / "fast" / "restored" / "manifest.json").exists()


def test_noise_that_is_taken_for_detail_is_warned_of(field, tmp_path):
    images, _, _, psf = field
    _, few = run(tmp_path / "few", images, psf, iterations=10)
    _, many = run(tmp_path / "many", images, psf, iterations=150, accelerate=True)
    warned = [
        any("noise was taken for detail" in line for line in notes["warnings"])
        for notes in (few.notes["restoration"]["spheres"], many.notes["restoration"]["spheres"])
    ]
    assert warned == [False, True]


def test_bad_images_are_skipped_and_the_rest_is_done(tmp_path):
    good = np.ones((8, 20, 20, 1), np.float32)
    bad = good.copy()
    bad[0, 0, 0] = np.nan
    images = write_images(tmp_path / "images", {"bad": bad, "good": good})
    psf, _ = made_psf(tmp_path)
    restored, _ = run(tmp_path, images, psf, iterations=2, on_bad_image="skip")
    assert [e.status for e in Batch.open(restored.path).entries] == ["skipped", "ok"]
    with pytest.raises(BadInput, match=r"image 'bad', channel 0, image: expected .*, found .*NaN"):
        run(tmp_path / "fail", images, psf, iterations=2)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"background": "dark"}, "background: expected auto, or numbers from 0"),
        ({"background": "1,2"}, "background: expected one level, or one for each of 1"),
        ({"offset": -1.0}, "offset: expected 0 or more"),
        ({"iterations": -1}, "iterations: expected 0 or more"),
        ({"total_variation": 1.0}, "total_variation: expected below"),
        ({"method": "regularised_inverse", "penalty": 0.0}, "penalty: expected above 0"),
        ({"saturation": 0.5}, "saturation: expected some voxels below it"),
    ],
)
def test_impossible_settings_are_one_line(field, tmp_path, given, line):
    images, _, _, psf = field
    with pytest.raises(BadInput, match=line):
        run(tmp_path, images, psf, **{"iterations": 2, **given})
    assert not (tmp_path / "restored" / "manifest.json").exists()


def test_a_function_for_other_voxels_is_refused(tmp_path):
    psf, _ = made_psf(tmp_path)
    volume = {"a": np.ones((8, 20, 20, 1), np.uint16)}
    coarse = write_images(tmp_path / "coarse", volume, mpp=(0.5, 0.15, 0.15))
    with pytest.raises(BadInput, match=r"for its voxels of 0\.5 × 0\.15 × 0\.15 µm, found one"):
        run(tmp_path, coarse, psf)
    unknown = write_images(tmp_path / "unknown", volume, mpp=None)
    _, record = run(tmp_path / "out", unknown, psf, iterations=1)
    assert any("not known" in line for line in record.notes["restoration"]["a"]["warnings"])


def test_the_quick_inverse_sharpens(field, tmp_path):
    images, _, _, psf = field
    restored, _ = run(tmp_path, images, psf, method="regularised_inverse", background="110")
    steep = [np.diff(read(each)[..., 0].astype(float)) for each in (images, restored)]
    assert np.abs(steep[1]).max() > 1.5 * np.abs(steep[0]).max()


def test_no_functions_are_one_line(field, tmp_path):
    images, *_ = field
    with pytest.raises(BadInput, match="expected arrays 'psf', found none"):
        run(tmp_path, images, PointSpread(images.path))


def test_consensus_ends_by_itself_and_says_by_which_gain(field, tmp_path):
    images, objects, _, psf = field
    given = {"offset": 100, "background": "10", "consensus": True, "accelerate": True}
    restored, record = run(tmp_path / "a", images, psf, iterations=90, **given)
    (note,) = record.notes["restoration"]["spheres"]["channels"].values()
    assert len(note["agreed"]) == len(note["divergence"]) < 90
    assert note["gain"] == pytest.approx(1, rel=0.2)
    true = read(objects)
    before = root_mean_square_error(read(images) - np.float32(110), true)
    assert root_mean_square_error(read(restored), true) < before / 1.3
    _, told = run(tmp_path / "b", images, psf, iterations=3, gain=2.0, **given)
    assert told.notes["restoration"]["spheres"]["channels"].popitem()[1]["gain"] == 2.0
    with pytest.raises(BadInput, match="gain: expected grey levels a photon"):
        run(tmp_path / "c", images, psf, gain=-1.0, **given)
