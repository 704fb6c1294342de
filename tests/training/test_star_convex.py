"""A star-convex network is taught how far its objects go, and its thresholds are chosen."""

import json

import numpy as np
import pytest

from cellmill.contract import Dataset, Metrics, Model, Record
from cellmill.errors import BadInput
from cellmill.models.card import ModelCard
from cellmill.segmentation.stardist.candidates import Candidates
from cellmill.segmentation.stardist.in_memory import draw_whole
from cellmill.training.star_targets import centre_probability, edge_distances
from tests.segmentation.maps import balls
from tests.stages.test_train_segmenter import batches


def disk(radius=9, side=41):
    y, x = np.indices((side, side))
    return (np.hypot(y - side // 2, x - side // 2) <= radius).astype(np.int32) * 7


def test_rays_end_where_the_object_does():
    found = edge_distances(disk(), 32)
    np.testing.assert_allclose(found[20, 20], 9.5, atol=0.9)
    assert not found[disk() == 0].any()
    # To the right of the middle it is nearer to the right edge.
    assert found[20, 25, 0] == 4.5
    assert found[20, 25, 16] == 14.5
    assert edge_distances(np.ones((3, 4), np.int32), 8)[1, 1, 0] == 2.5


@pytest.mark.parametrize("stride", [2, 3])
def test_a_stride_asks_some_pixels(stride):
    labels = balls(3, (61, 70), 12, 8)
    for made in (lambda s: edge_distances(labels, 8, s), lambda s: centre_probability(labels, s)):
        np.testing.assert_array_equal(made(stride), made(1)[::stride, ::stride])


def test_polygons_of_the_targets_are_the_objects():
    labels = balls(5, (90, 100), 9, 10)
    probability, rays = centre_probability(labels), edge_distances(labels, 32)
    for label in np.unique(labels)[1:]:
        own = labels == label
        if own.sum() < 60:
            continue
        y, x = np.unravel_index(np.where(own, probability, 0).argmax(), labels.shape)
        drawn = np.zeros(labels.shape, np.int32)
        one = Candidates(np.array([y]), np.array([x]), np.ones(1, np.float32), rays[y, x][None])
        draw_whole(one, drawn)
        # A part that others cover may lie out of the middle's sight.
        assert (own & (drawn > 0)).sum() / (own | (drawn > 0)).sum() > 0.6


def test_probability_is_one_in_each_middle_and_none_outside():
    labels = balls(1, (60, 64), 8, 7)
    found = centre_probability(labels)
    assert not found[labels == 0].any()
    assert all(found[labels == label].max() == 1 for label in np.unique(labels)[1:])
    assert not centre_probability(np.zeros((5, 6), np.int32)).any()


@pytest.mark.tensorflow
def test_a_star_convex_model_is_trained_and_its_thresholds_chosen(tmp_path):
    from cellmill.stages.train_segmenter import train_segmenter

    # The sides of the one held out are no multiples of the heads' stride.
    batches(tmp_path, ["a", "b", "c", "d"], lambda *pair: [each[:-1, :-3] for each in pair])
    model = Model(tmp_path / "model")
    train_segmenter(
        Dataset(tmp_path / "images"),
        Dataset(tmp_path / "truth"),
        model,
        Metrics(tmp_path / "metrics.json"),
        Record(tmp_path / "record.json"),
        method="stardist",
        rays=16,
        steps=120,
        batch_size=2,
        crop=64,
        validate_every=40,
        validation="d",
        learning_rate=0.01,
    )
    card = ModelCard.load(model.path)
    assert [(head.kind, head.channels, head.stride) for head in card.heads] == [
        ("pixelwise", 1, 2),
        ("ray_distances", 16, 2),
    ]
    found = card.postprocessing["nuclear"]
    assert found["method"] == "stardist"
    tried = card.training["thresholds"]["mean_average_precision"]["nuclear"]
    assert len(tried) == 21
    pair = f"{found['prob_threshold']:g}, {found['nms_threshold']:g}"
    assert tried[pair] == max(tried.values())
    assert card.training["network"]["rays"] == 16
    accuracy = json.loads((tmp_path / "metrics.json").read_text())["validation"]
    assert accuracy["average_precision"]["0.5"] > 0.5


@pytest.mark.tensorflow
def test_a_base_of_another_method_is_refused(tmp_path):
    from cellmill.models.shipped import shipped_models
    from cellmill.stages.train_segmenter import train_segmenter

    batches(tmp_path, ["a", "b"])
    outputs = (
        Model(tmp_path / "model"),
        Metrics(tmp_path / "metrics.json"),
        Record(tmp_path / "record.json"),
    )
    given = (Dataset(tmp_path / "images"), Dataset(tmp_path / "truth"), *outputs)
    base = Model(shipped_models()["cellmill-nuclei"])
    with pytest.raises(BadInput, match=r"^base: expected a model of method stardist with 32 rays"):
        train_segmenter(*given, base=base, method="stardist")
    with pytest.raises(BadInput, match=r"^rays: expected 8 to 128, found 4"):
        train_segmenter(*given, method="stardist", rays=4)
