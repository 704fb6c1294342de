"""Picture files hold the pixels they were made of, and are no larger than a library's."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from scipy import ndimage

from cellmill.reporting import pictures
from cellmill.reporting.pictures import encode_mask_png, encode_png, picture_uri

sides = array_shapes(min_dims=2, max_dims=2, max_side=20)


@given(arrays(np.uint8, sides | sides.map(lambda shape: (*shape, 3))))
def test_a_png_holds_every_pixel(pixels):
    with Image.open(io.BytesIO(encode_png(pixels))) as picture:
        assert picture.mode == ("RGB" if pixels.ndim == 3 else "L")
        assert np.array_equal(np.asarray(picture), pixels)


@given(arrays(bool, sides), st.tuples(*[st.integers(0, 255)] * 3))
def test_a_mask_is_its_colour_where_it_is_true_and_else_transparent(mask, colour):
    with Image.open(io.BytesIO(encode_mask_png(mask, colour))) as picture:
        picture.load()
        assert (picture.mode, picture.size) == ("P", mask.shape[::-1])
        rgba = np.asarray(picture.convert("RGBA"))
    assert (rgba[mask] == (*colour, 255)).all()
    assert (rgba[~mask][:, 3] == 0).all()


def test_data_in_several_chunks_is_one_picture(monkeypatch):
    monkeypatch.setattr(pictures, "_IDAT_BYTES", 100)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50), np.uint8)
    with Image.open(io.BytesIO(encode_png(pixels))) as picture:
        assert np.array_equal(np.asarray(picture), pixels)


def test_pictures_of_cells_are_no_larger_than_a_librarys(make_disks):
    cells = ndimage.gaussian_filter(120.0 * (make_disks((400, 400), step=40, radius=15) > 0), 3)
    grey = np.random.default_rng(0).poisson(10 + cells).astype(np.uint8)
    for pixels in (grey, np.stack([grey] * 3, axis=-1)):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        assert len(encode_png(pixels)) <= 1.05 * len(buffer.getvalue())


@pytest.mark.parametrize(("limit", "lossless"), [(1 << 20, True), (100, False)])
def test_a_picture_too_large_for_a_page_is_a_jpeg_and_said_to_be(monkeypatch, limit, lossless):
    monkeypatch.setattr(pictures, "PNG_LIMIT", limit)
    uri, same = picture_uri(np.random.default_rng(0).integers(0, 256, (40, 50), np.uint8))
    assert same == lossless
    assert uri.startswith("data:image/png" if lossless else "data:image/jpeg")
