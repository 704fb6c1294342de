"""The sample sets hold what DATA.md counts, and are had once however many ask."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cellmill.compute.folders import cache_folder
from cellmill.datasets import samples
from cellmill.errors import BadInput, CellmillError

ROOT = Path(__file__).parents[1]


def count(paths):
    return sum(int(tifffile.imread(path).max()) for path in paths)


def test_sample_image_has_125_labelled_nuclei():
    image, truth = samples.sample_image()
    pixels, labels = tifffile.imread(image), tifffile.imread(truth)
    assert pixels.shape == labels.shape == (512, 512)
    assert pixels.dtype == np.uint16
    assert len(np.unique(labels[labels > 0])) == 125


@pytest.mark.parametrize(
    ("split", "images", "nuclei"),
    [("training", 30, 2375), ("validation", 3, 232), ("test", 16, 606)],
)
def test_mnfinder_counts(split, images, nuclei):
    found = samples.mnfinder(split, leaked=True)
    assert len(found) == images
    assert count(sample.nuclei for sample in found) == nuclei
    for sample in found:
        with tifffile.TiffFile(sample.image) as tif:
            shape = tif.series[0].shape[:2]
        assert tifffile.imread(sample.nuclei).shape == tifffile.imread(sample.micronuclei).shape
        assert tifffile.imread(sample.nuclei).shape == shape
        assert tifffile.imread(sample.nuclei).dtype == np.int32


def test_no_training_image_is_a_test_image():
    def digests(split, leaked):
        return {
            tifffile.imread(s.image).tobytes(): s.image.stem
            for s in samples.mnfinder(split, leaked)
        }

    test = digests("test", False)
    assert not set(digests("training", False)) & set(test)
    assert not set(digests("validation", False)) & set(test)
    everything = digests("training", True)
    assert {everything[k] for k in set(everything) & set(test)} == set(samples.LEAKED["training"])


def test_the_test_split_must_be_named():
    with pytest.raises(BadInput, match="training, validation or test"):
        samples.mnfinder("all")


def test_colours_become_canonical_labels():
    painted = np.zeros((20, 40, 4), np.uint8)
    painted[2:10, 20:28] = (255, 0, 0, 255)  # one colour, two nuclei
    painted[2:10, 2:10] = (255, 0, 0, 255)
    painted[10:18, 2:10] = (0, 255, 0, 255)  # touches the one above
    painted[12:14, 30:32] = (0, 0, 255, 255)  # a speck
    painted[12:18, 20:28] = (9, 9, 9, 0)  # transparent
    labels = samples.labels_from_colours(painted)
    assert labels.max() == 3
    assert [labels[5, 5], labels[5, 24], labels[15, 5]] == [1, 2, 3]
    assert labels[13, 31] == labels[15, 24] == 0


def test_command_writes_equal_names(tmp_path):
    assert samples.main(["mnfinder-validation", "--output", str(tmp_path / "a b")]) == 0
    names = [
        sorted(p.name for p in (tmp_path / "a b" / part).iterdir())
        for part in ("images", "labels", "micronuclei")
    ]
    assert names[0] == names[1] == names[2]
    assert len(names[0]) == 3
    assert samples.main(["sample", "--output", str(tmp_path / "a b")]) == 0
    for file, count in (("labels.json", 4), ("micronuclei.json", 3)):
        items = json.loads((tmp_path / "a b" / file).read_text())
        assert len(items) == count
        for item in items:
            assert Path(item["image"]).name == Path(item["truth"]).name
            assert Path(item["image"]).is_file()
            assert Path(item["truth"]).is_file()


def test_concurrent_first_use_fills_the_cache_once(tmp_path, monkeypatch):
    samples.sample_image()
    wheels = cache_folder("samples") / "wheels"
    fresh = tmp_path / "cellmill" / "samples" / "wheels"
    fresh.mkdir(parents=True)
    for wheel in wheels.glob("stardist-*.whl"):
        (fresh / wheel.name).write_bytes(wheel.read_bytes())
    code = (
        "from cellmill.datasets.samples import sample_image; print(sample_image()[0].stat().st_ino)"
    )
    environment = {"XDG_CACHE_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, env=environment, stdout=subprocess.PIPE
        )
        for _ in range(4)
    ]
    assert len({process.communicate(timeout=60)[0] for process in running}) == 1
    assert all(process.returncode == 0 for process in running)
    left = {p.name for p in fresh.parent.iterdir()} - {"wheels"}
    assert left == {"stardist-0.9.2", "stardist-0.9.2.lock"}


def test_a_damaged_wheel_is_replaced_or_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    wheels = tmp_path / "cellmill" / "samples" / "wheels"
    wheels.mkdir(parents=True)
    with zipfile.ZipFile(wheels / "stardist-0.9.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr("stardist/data/images/img2d.tif", b"not the image")
    with pytest.raises(CellmillError, match=r"cannot download stardist 0\.9\.2") as error:
        samples.sample_image()
    assert "\n" not in str(error.value)
    assert not (tmp_path / "cellmill" / "samples" / "stardist-0.9.2").exists()
