"""Arrays that a public function cannot work on are one line, whatever is wrong with them."""

import numpy as np
import pytest

import cellmill

IMAGE = np.random.default_rng(0).random((8, 8)).astype(np.float32)
LABELS = np.where(IMAGE > 0.8, np.arange(64).reshape(8, 8), 0)
MASK = IMAGE > 0.2
WITH_NAN = np.where(IMAGE > 0.9, np.nan, IMAGE)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: cellmill.h_maxima(WITH_NAN, 0.1), "image: expected finite pixel values"),
        (lambda: cellmill.h_maxima(IMAGE[0], 0.1), "image: expected .*, found shape"),
        (lambda: cellmill.h_maxima(IMAGE.astype(object), 0.1), "expected real numbers"),
        (lambda: cellmill.h_maxima(IMAGE, 0), "expected more than 0"),
        (
            lambda: cellmill.watershed(IMAGE, LABELS[:4], MASK),
            "expected integers of shape",
        ),
        (lambda: cellmill.watershed(IMAGE, LABELS, MASK[:4]), "mask to flood: expected shape"),
        (lambda: cellmill.watershed(IMAGE, LABELS * 0.5, MASK), "markers: expected integers"),
        (lambda: cellmill.watershed(IMAGE, LABELS - 1, MASK), "markers: expected 0 to"),
        (lambda: cellmill.watershed(IMAGE, LABELS << 30, MASK), "markers: expected 0 to"),
        (lambda: cellmill.watershed(WITH_NAN, LABELS, MASK), "height to flood: expected finite"),
        (
            lambda: cellmill.reconstruct(WITH_NAN, IMAGE),
            "seed .*: expected finite",
        ),
        (lambda: cellmill.reconstruct(IMAGE[:4], IMAGE), "expected one shape and dtype"),
        (lambda: cellmill.reconstruct(IMAGE + 1, IMAGE), "expected nowhere above the mask"),
        (lambda: cellmill.fill_holes(IMAGE, 4), "labels: expected integers"),
        (lambda: cellmill.fill_holes(LABELS - 1, 4), "labels: expected 0 or more"),
        (lambda: cellmill.fill_holes(LABELS[None], 4), r"expected \(Y, X\)"),
        (lambda: cellmill.canonical_labels(IMAGE), "labels: expected integers"),
        (lambda: cellmill.deep_watershed([IMAGE, IMAGE]), "outputs: expected"),
        (lambda: cellmill.measure_labels(LABELS, IMAGE[:4]), "labels: expected the image's Y, X"),
        (lambda: cellmill.measure_labels(IMAGE, IMAGE), "labels: expected integers"),
        (lambda: cellmill.evaluate(LABELS, LABELS[:4]), "expected the shape of the predicted"),
        (lambda: cellmill.pair_labels(IMAGE, LABELS), "expected integers"),
    ],
)
def test_it_is_one_line(call, said):
    with pytest.raises(cellmill.BadInput, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16, ">f4", np.float64])
def test_numbers_of_any_kind_are_taken(dtype):
    image = np.round(IMAGE * 9).astype(dtype)
    exact = image.astype(np.float64)
    np.testing.assert_array_equal(cellmill.h_maxima(image, 1), cellmill.h_maxima(exact, 1))
    np.testing.assert_array_equal(
        cellmill.watershed(image, LABELS, image.astype(int)),
        cellmill.watershed(exact, LABELS, image != 0),
    )
    seed = np.minimum(image, image[::-1])
    np.testing.assert_array_equal(
        cellmill.reconstruct(seed, image), cellmill.reconstruct(seed.astype(float), exact)
    )


def test_a_mask_is_filled_as_one_object():
    ring = np.ones((3, 3), bool)
    ring[1, 1] = False
    filled = cellmill.fill_holes(ring, 2)
    assert filled.dtype == bool
    assert filled.all()


def test_an_image_of_one_channel_needs_no_axis_of_channels():
    table = cellmill.measure_labels(LABELS, IMAGE)
    assert table.equals(cellmill.measure_labels(LABELS, IMAGE[..., None]))
