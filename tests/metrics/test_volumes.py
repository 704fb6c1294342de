"""Scores of volumes: those of the same voxels laid out as an image, and of planes' boundaries."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellmill.arrays.zarr import create_zarr
from cellmill.errors import BadInput
from cellmill.labels.pairs import pair_labels
from cellmill.metrics import evaluate
from tests.measurement.test_volumes import blobs


def two(seed):
    truth, predicted = blobs(seed)[0], blobs(seed)[0]
    random = np.random.default_rng(seed)
    predicted = np.roll(predicted, random.integers(-2, 3, 3), (0, 1, 2))
    return truth, predicted * (predicted != predicted.max())


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000))
def test_as_of_the_voxels_laid_out_as_an_image(seed):
    truth, predicted = two(seed)
    found = evaluate(truth, predicted)
    flat = evaluate(*(each.reshape(-1, each.shape[-1]) for each in (truth, predicted)))
    boundary = found.pop("boundary")
    # It goes by bounding boxes, which lie elsewhere in an image of all planes.
    for each in (found, flat):
        each["object_errors"].pop("deepcell_compat")
    assert flat.pop("boundary").keys() == boundary.keys()
    assert found == flat
    planes = [evaluate(*each)["boundary"] for each in zip(truth, predicted, strict=True)]
    for name in ("truth_pixels", "truth_matched", "predicted_pixels", "predicted_matched"):
        assert boundary[name] == sum(each[name] for each in planes)


def test_matching_by_hand():
    truth, predicted = np.zeros((2, 4, 6, 6), int)
    truth[0:2, :2, :2], truth[2:, 3:, 3:] = 1, 2
    predicted[0:2, :2, :2], predicted[3:, 3:, 3:] = 7, 8
    found = evaluate(truth, predicted)
    at = {each["iou_threshold"]: each["tp"] for each in found["matching"]}
    assert (at[0.5], at[0.55]) == (2, 1)
    assert pair_labels(truth, predicted).ious.tolist() == [1.0, 0.5]


def test_one_plane_is_its_image():
    truth, predicted = (each[:1] for each in two(3))
    assert evaluate(truth, predicted) == evaluate(truth[0], predicted[0])


def test_a_store_gives_the_same(tmp_path):
    truth, predicted = two(1)
    layout = {"labels": (truth.shape, np.int32, "ZYX")}
    stored = create_zarr(str(tmp_path / "a.zarr"), layout)["labels"]
    stored[...] = truth
    assert evaluate(stored, predicted) == evaluate(truth, predicted)


def test_volumes_of_two_depths_are_refused():
    truth, predicted = two(1)
    with pytest.raises(BadInput, match="the shape of the predicted labels"):
        evaluate(truth, predicted[1:])
