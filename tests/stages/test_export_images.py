"""Images as OME-TIFF: what is read back is what was written, by the same bytes each time."""

import numpy as np
import pytest
import tifffile

import cellmill
from cellmill.contract import ImageFiles, Record
from cellmill.errors import BadInput
from cellmill.stages.export_images import export_images
from tests.stages.restoration import VOXEL, write_images


def run(folder, images):
    folder.mkdir(parents=True, exist_ok=True)
    files = ImageFiles(folder / "files")
    export_images(images, files, Record(folder / "record.json"))
    return files.path / "a µ.tif"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(30, 41, 2), (5, 30, 41, 1), (5, 30, 41, 3)])
def test_what_is_read_back_is_what_was_written(tmp_path, shape, dtype):
    image = (np.random.default_rng(0).random(shape) * 200).astype(dtype)
    names = tuple("xyz"[: shape[-1]])
    images = write_images(tmp_path / "images", {"a µ": image}, channels=names)
    path = run(tmp_path, images)
    read = cellmill.read_image(path, z="all" if len(shape) == 4 else -1)
    assert np.array_equal(read.pixels, image)
    assert read.channels == names
    assert read.mpp == pytest.approx(VOXEL[-(len(shape) - 1) :])
    assert path.read_bytes() == run(tmp_path / "again", images).read_bytes()
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_ome
        assert np.array_equal(tiff.asarray().squeeze(), np.moveaxis(image, -1, 0).squeeze())


def test_other_pixels_are_one_line(tmp_path):
    images = write_images(tmp_path / "images", {"a": np.ones((4, 5, 1), np.float64)})
    with pytest.raises(BadInput, match=r"image 'a': expected .* found float64 \(4, 5, 1\)"):
        run(tmp_path, images)
    assert not (tmp_path / "files" / "manifest.json").exists()
