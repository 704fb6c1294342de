"""Crops are the image's middle; mosaics have no edges, and objects at seams are whole."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from cellmill.benchmark.conditions import (
    MOST_CONDITIONS,
    Condition,
    Segmenter,
    Sweeps,
    conditions,
    default_sides,
)
from cellmill.benchmark.subjects import square, square_labels, thinned, with_channels
from cellmill.errors import BadInput
from cellmill.labels.numbering import canonical_labels
from tests.segmentation.maps import balls


@given(st.integers(16, 70), st.integers(16, 70), st.integers(16, 160), st.integers(0, 9))
def test_labels_go_with_pixels_and_each_piece_of_a_mosaic_is_an_object_of_its_own(h, w, side, seed):
    labels = balls(seed, (h, w), 6, 4).astype(np.int32)
    pixels = square(labels[..., None], side)[..., 0]
    found = square_labels(labels, side)
    assert found.shape == pixels.shape == (side, side)
    assert ((found > 0) == (pixels > 0)).all()
    # An object has one original: wherever it is, its pixels come from the same label.
    pairs = np.unique(np.stack([found[found > 0], pixels[found > 0]]), axis=1)
    assert len(np.unique(pairs[0])) == pairs.shape[1]
    # Touching pieces of one original, as the mirror makes at seams, are one object.
    for axis in (0, 1):
        a = np.moveaxis(found, axis, 0)
        b = np.moveaxis(pixels, axis, 0)
        same = (b[1:] == b[:-1]) & (b[1:] > 0)
        assert (a[1:] == a[:-1])[same].all()


def test_a_crop_is_the_middle():
    image = np.arange(100).reshape(10, 10, 1)
    assert square(image, 4)[..., 0].tolist() == image[3:7, 3:7, 0].tolist()


def test_a_mosaic_has_no_edge_at_its_seams():
    ramp = np.linspace(0, 1, 40)[:, None, None] * np.ones((40, 40, 1))
    mosaic = square(ramp, 130)[..., 0]
    assert np.abs(np.diff(mosaic, axis=0)).max() == pytest.approx(1 / 39)


def test_every_object_of_a_mosaic_counts():
    labels = np.zeros((20, 20), np.int32)
    labels[5:10, 5:10], labels[18:20, 2:6] = 1, 2
    found = square_labels(labels, 40)
    # Four copies of the inner one; two pairs of halves at the seam.
    assert found.max() == 6 == ndimage.label(found > 0)[1]


SEGMENTERS = (Segmenter("net", "net"), Segmenter("plain", "plain", network=False))


def test_sizes_are_swept_for_all_and_one_factor_at_a_time_for_the_first_network():
    sweeps = Sweeps(
        [100, 200], devices=["cpu", "gpu"], engines=["auto", "tensorflow"], batch_sizes=[8, 1]
    )
    found = conditions("r", SEGMENTERS, sweeps)
    sizes = [c for c in found if c.sweep == "size"]
    assert {(c.segmenter, c.side, c.device) for c in sizes} == {
        *(("net", side, device) for side in (100, 200) for device in ("cpu", "gpu")),
        ("plain", 100, "cpu"),
        ("plain", 200, "cpu"),
    }
    others = [c for c in found if c.sweep != "size"]
    assert [(c.sweep, c.segmenter, c.side) for c in others] == [
        ("engine", "net", 200),
        ("batch_size", "net", 200),
    ]
    assert (others[0].engine, others[1].batch_size) == ("tensorflow", 1)
    assert len({c.condition for c in found}) == len(found)
    assert all(Condition.of(c.to_dict()) == c for c in found)


def test_rounds_come_one_after_the_other():
    found = conditions("r", SEGMENTERS, Sweeps([100, 200], rounds=2))
    assert [c.round for c in found] == [1] * 4 + [2] * 4


def test_numbers_of_a_condition_may_come_as_floats_from_kfp():
    asked = conditions("r", SEGMENTERS, Sweeps([100]))[0]
    floats = {k: float(v) if isinstance(v, int) else v for k, v in asked.to_dict().items()}
    assert Condition.of(floats) == asked


@pytest.mark.parametrize(
    "wrong", [{"side": 3}, {"side": "big"}, {"repeats": 0}, {"batch_size": 0}, {"other": 1}]
)
def test_a_wrong_condition_is_refused_in_one_line(wrong):
    asked = conditions("r", SEGMENTERS, Sweeps([100]))[0].to_dict()
    with pytest.raises(BadInput, match="benchmark") as error:
        Condition.of({**asked, **wrong})
    assert "\n" not in str(error.value)


def test_more_conditions_than_a_loop_can_be_collected_from_are_refused():
    with pytest.raises(BadInput, match=f"at most {MOST_CONDITIONS} conditions"):
        conditions("r", SEGMENTERS, Sweeps([*range(16, 100)]))


@given(st.tuples(st.integers(8, 9000), st.integers(8, 9000)))
def test_default_sizes_hold_the_whole_image_and_rise(shape):
    found = default_sides(shape)
    assert found == sorted(set(found))
    assert min(found) >= 16 or min(shape) < 16
    assert max(found) <= 4096
    assert max(16, min(*shape, 4096)) in found


@pytest.fixture(scope="module")
def dense():
    """Give an image of balls over noise that falls off, and its labels."""
    labels = canonical_labels(balls(5, (96, 112), 14, 9))
    noise = np.random.default_rng(1).integers(0, 30, labels.shape)
    return np.where(labels > 0, 200, noise)[..., None].astype(np.uint8), labels


def test_objects_are_taken_out_and_background_is_put_in(dense):
    image, labels = dense
    count, background = int(labels.max()), image[labels == 0]
    for share in (1.0, 0.5, 0.0):
        made, left = thinned(image, labels, share)
        assert int(left.max()) == round(share * count)
        assert np.array_equal(left > 0, (left > 0) & (labels > 0))
        assert np.array_equal(made[left > 0], image[left > 0])
        assert made[left == 0].max() <= background.max()
        again = thinned(image, labels, share)
        assert np.array_equal(made, again[0])
        assert np.array_equal(left, again[1])
    # Texture stays, too: the filling is no flat patch.
    out = (labels > 0) & (left == 0)
    assert made[out].std() > 0.5 * background.std()


def test_without_background_nothing_can_be_taken_out():
    full = np.ones((20, 20), np.int32)
    with pytest.raises(BadInput, match="benchmark density: expected background"):
        thinned(full[..., None], full, 0.0)


def test_channels_are_repeated_and_none_is_lost(dense):
    image = np.concatenate([dense[0], 255 - dense[0]], axis=2)
    assert with_channels(image, 0) is image
    wide = with_channels(image, 5)
    assert wide.shape == (*image.shape[:2], 5)
    assert all(np.array_equal(wide[..., c], image[..., c % 2]) for c in range(5))
    with pytest.raises(BadInput, match="benchmark channels: expected at least 2, found 1"):
        with_channels(image, 1)
