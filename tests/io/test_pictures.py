"""PNG and JPEG images are read as they are, whole and by windows, or refused in one line."""

import io

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cellmill.errors import BadInput
from cellmill.io import pictures
from cellmill.io.images import channels_to_segment, open_image, read_image
from cellmill.io.listing import list_uris

COLOURS = ("red", "green", "blue")


def pixels(shape, dtype, seed=0):
    top = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, top, shape, dtype, endpoint=True)


def written(tmp_path, array, name="a.png"):
    path = tmp_path / name
    path.write_bytes(imagecodecs.png_encode(array))
    return str(path)


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    count=st.integers(1, 4),
    dtype=st.sampled_from([np.uint8, np.uint16]),
)
def test_a_png_gives_its_pixels_without_alpha(tmp_path_factory, size, count, dtype):
    array = pixels((*size, count) if count > 1 else size, dtype)
    found = read_image(written(tmp_path_factory.mktemp("png"), array))
    kept = 1 if count < 3 else 3
    assert np.array_equal(found.pixels, np.atleast_3d(array)[..., :kept])
    assert found.pixels.dtype == dtype
    assert found.channels == (COLOURS if kept == 3 else ("0",))
    assert found.mpp is None


def test_windows_are_those_of_the_whole(tmp_path):
    array = pixels((70, 90, 3), np.uint8)
    with open_image(written(tmp_path, array)) as image:
        assert image.shape == (70, 90)
        for channel, plane in enumerate(image.planes):
            assert np.array_equal(plane[10:33, 5:80], array[10:33, 5:80, channel])


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_gives_its_colours(tmp_path, bits):
    indices = pixels((20, 30), np.uint8) >> (8 - bits)
    image = Image.fromarray(indices, "P")
    palette = pixels((1 << bits, 3), np.uint8, seed=1)
    image.putpalette(palette.tobytes())
    image.save(tmp_path / "a.png", bits=bits)
    found = read_image(tmp_path / "a.png")
    assert np.array_equal(found.pixels, palette[indices])


def test_a_jpeg_gives_what_its_decoder_does_and_says_that_it_lost(tmp_path):
    array = pixels((33, 47, 3), np.uint8)
    path = tmp_path / "a.jpeg"
    path.write_bytes(imagecodecs.jpeg_encode(array, level=90))
    found = read_image(path, channels="green")
    assert np.array_equal(found.pixels[..., 0], imagecodecs.jpeg_decode(path.read_bytes())[..., 1])
    assert any("JPEG has changed the pixels" in remark for remark in found.remarks)
    assert found.mpp is None


@pytest.mark.parametrize("alpha", [False, True])
def test_grey_that_is_stored_in_colours_is_segmented_as_grey(tmp_path, alpha):
    grey = pixels((40, 50), np.uint8)
    array = np.stack([grey] * 3 + [np.full_like(grey, 255)] * alpha, axis=-1)
    with open_image(written(tmp_path, array)) as image:
        remarks = []
        assert channels_to_segment(image, "", remarks) == [0]
        assert remarks == ["grey stored as red, green and blue: one of them is taken"]
    array[-1, -1, 1] ^= 1
    with (
        open_image(written(tmp_path, array)) as image,
        pytest.raises(BadInput, match=r"expected channels=….*found a colour image"),
    ):
        channels_to_segment(image, "", [])


def test_what_is_damaged_or_too_large_is_one_line(tmp_path, monkeypatch):
    array = pixels((40, 50), np.uint16)
    path = written(tmp_path, array)
    with open(path, "r+b") as file:
        file.truncate(900)
    with pytest.raises(BadInput, match=r"^image '.*': expected a whole, readable PNG, found "):
        read_image(path)
    jpeg = imagecodecs.jpeg_encode(pixels((40, 50), np.uint8))
    for length in (150, len(jpeg) // 2, len(jpeg) - 1):
        (tmp_path / "b.jpg").write_bytes(jpeg[:length])
        with pytest.raises(BadInput, match="expected a whole, readable JPEG, found "):
            read_image(tmp_path / "b.jpg")
    monkeypatch.setattr(pictures, "_MOST_BYTES", array.nbytes - 1)
    with pytest.raises(BadInput, match=r"expected at most 1 GiB of pixels .*TIFF"):
        read_image(written(tmp_path, array))


def test_colours_that_are_no_rgb_are_refused(tmp_path):
    cmyk = io.BytesIO()
    Image.fromarray(pixels((20, 20, 4), np.uint8), "CMYK").save(cmyk, "jpeg")
    (tmp_path / "a.jpg").write_bytes(cmyk.getvalue())
    with pytest.raises(BadInput, match="expected a grey or an RGB image, found 4 colours"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("choice", [{"z": 1}, {"t": 1}, {"series": 1}])
def test_a_plane_that_is_not_there_is_refused(tmp_path, choice):
    path = written(tmp_path, pixels((8, 8), np.uint8))
    with pytest.raises(BadInput, match=r"^.*expected .*found "):
        read_image(path, **choice)


def test_they_count_where_a_folder_has_no_other_images(tmp_path):
    for name in ("a.png", "b.JPG", "c.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert list_uris(str(tmp_path)) == [str(tmp_path / "a.png"), str(tmp_path / "b.JPG")]
    assert list_uris(f"{tmp_path}/*.png") == [str(tmp_path / "a.png")]
    (tmp_path / "a.tif").write_bytes(b"x")
    assert list_uris(str(tmp_path)) == [str(tmp_path / "a.tif")]
    assert list_uris(f"{tmp_path}/a*.png") == [str(tmp_path / "a.png")]
