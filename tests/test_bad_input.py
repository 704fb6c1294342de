"""Whatever a user hands in works, or ends in one line that names it: through all the stages."""

import numpy as np
import pytest
import tifffile

from cellmill.arrays.batch import Batch
from cellmill.contract.cli import main
from tests.by_hand import stages

pytestmark = pytest.mark.tensorflow


def count(folder):
    batch = Batch.open(folder / "labels")
    (entry,) = batch.entries
    return int(batch.read(entry, "nuclear").max())


WORKS = {
    "all zero": np.zeros((40, 50), np.uint8),
    "one pixel": np.full((1, 1), 7, np.uint16),
    "one row": np.arange(300, dtype=np.uint16)[np.newaxis],
    "constant": np.full((64, 64), 1000, np.uint16),
    "float": np.linspace(0, 1, 90 * 80, dtype=np.float32).reshape(90, 80),
}


@pytest.mark.parametrize("image", WORKS.values(), ids=WORKS.keys())
def test_images_without_cells_work_to_the_end(tmp_path, image):
    path = tmp_path / 'it\'s "an image".tif'
    tifffile.imwrite(path, image)
    assert stages(tmp_path, path) == 0
    with tifffile.TiffFile(next((tmp_path / "label_images").glob("*.tif"))) as tiff:
        assert tiff.asarray().shape == image.shape
    assert count(tmp_path) <= 1


def nan(path):
    tifffile.imwrite(path, np.where(np.eye(20), np.nan, 1).astype(np.float32))


def rgb(path):
    tifffile.imwrite(path, np.random.default_rng(0).integers(0, 255, (20, 20, 3), np.uint8))


def truncated(path):
    tifffile.imwrite(path, np.ones((200, 200), np.uint16))
    path.write_bytes(path.read_bytes()[:9000])


def empty(path):
    path.write_bytes(b"")


def text(path):
    path.write_text("not an image")


def absent(path):
    pass


BAD = {
    nan: "20 pixels that are NaN",
    rgb: "channel",
    truncated: "bad.tif",
    empty: "empty",
    text: "TIFF",
    absent: "bad.tif",
}


@pytest.mark.parametrize(("make", "words"), BAD.items(), ids=[f.__name__ for f in BAD])
def test_bad_images_are_one_line_and_leave_nothing(tmp_path, capsys, make, words):
    path = tmp_path / "bad.tif"
    make(path)
    assert stages(tmp_path, path) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert {p.name for p in tmp_path.iterdir()} <= {"bad.tif"}


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, np.arange(64 * 64, dtype=np.uint16).reshape(64, 64))
    return path


@pytest.mark.parametrize("channels", ["DAPI", "1", "0,0,0", "0,,"])
def test_wrong_channels_are_one_line(tmp_path, image, capsys, channels):
    assert stages(tmp_path, image, channels=channels) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("mpp", ["-1", "nan", "wide"])
def test_a_wrong_pixel_size_is_one_line(tmp_path, image, capsys, mpp):
    assert stages(tmp_path, image, mpp=mpp) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "mpp" in line


def test_truth_of_another_shape_is_one_line(tmp_path, image, capsys):
    tifffile.imwrite(tmp_path / "truth.tif", np.ones((64, 63), np.uint16))
    assert stages(tmp_path, image, tmp_path / "truth.tif") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "63" in line
    assert "64" in line


def test_a_corrupt_npz_is_one_line(tmp_path, image, capsys):
    assert stages(tmp_path, image) == 0
    (path,) = (tmp_path / "images").glob("*.npz")
    path.write_bytes(path.read_bytes()[:3000])
    capsys.readouterr()
    arguments = ["--images", tmp_path / "images", "--model", tmp_path / "model"]
    assert main(["preprocess", *map(str, arguments), "--preprocessed", str(tmp_path / "p")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "p").exists()


def test_a_model_without_a_card_is_one_line(tmp_path, capsys):
    assert main(["fetch_model", "--model", str(tmp_path / "model")]) == 0
    (tmp_path / "model" / "model.json").unlink()
    capsys.readouterr()
    arguments = ["--source", str(tmp_path / "model"), "--model", str(tmp_path / "other")]
    assert main(["fetch_model", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "model.json" in line
    assert not (tmp_path / "other").exists()


def test_an_output_that_cannot_be_written_is_one_line(tmp_path, image, capsys):
    arguments = ["--items", str(image), "--images", "/dev/null/images", "--truth", "/dev/null/t"]
    assert main(["tiff_to_npz", *arguments]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
