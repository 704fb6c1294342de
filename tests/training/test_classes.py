"""Classes of pixels are taught by what is labelled, and by nothing else."""

import numpy as np
import pytest

from cellmill.errors import BadInput
from cellmill.training.augmentation import Augmentation
from cellmill.training.classes import ClassObjective, class_objective, pixel_counts
from cellmill.training.extents import extents_beside, object_lengths, piece_lengths
from cellmill.training.images import TrainingImage
from cellmill.training.network import STRIDE, build_class_network, receptive_field


def drawn(seed=0, side=96):
    """Squares of a class on a background, all pixels labelled."""
    labels = np.ones((side, side), np.int32)
    labels[20:40, 30:60] = 2
    picture = (labels == 2) + np.random.default_rng(seed).normal(0, 0.1, labels.shape)
    return TrainingImage("a", picture[..., None].astype(np.float32), labels)


def test_a_crop_keeps_picture_and_classes_together():
    plain = Augmentation(scale=(1, 1), gamma=(1, 1), gain=(1, 1), offset=0, haze=0, blur=0.31)
    objective = ClassObjective((1.0, 1.0))
    for seed in range(4):
        picture, labels = objective.crop(drawn(), 48, np.random.default_rng(seed), plain)
        assert (picture.shape, labels.shape) == ((48, 48, 1), (48, 48))
        assert set(np.unique(labels)) <= {1, 2}
        inside = picture[labels == 2].mean() if (labels == 2).any() else 1
        assert inside > picture[labels == 1].mean()


def test_crops_look_for_what_is_rare():
    labels = np.ones((400, 400), np.int32)
    labels[150:180, 150:180] = 2
    image = TrainingImage("a", np.zeros((400, 400, 1), np.float32), labels)
    random = np.random.default_rng(0)
    ranges = Augmentation(scale=(1, 1))

    def hits(objective):
        crops = [objective.crop(image, 64, random, ranges)[1] for _ in range(60)]
        return sum((crop == 2).any() for crop in crops)

    assert hits(ClassObjective((1.0, 1.0), commonest=0)) > hits(ClassObjective((1.0, 1.0), 1))


def test_rare_classes_weigh_more_and_a_pixel_one_on_average():
    objective = class_objective([900, 90, 10], ["a", "b", "c"], "")
    assert list(objective.weights) == sorted(objective.weights)
    assert np.dot(objective.weights, [0.9, 0.09, 0.01]) == pytest.approx(1, abs=1e-3)
    assert objective.commonest == 0
    assert class_objective([1, 1], ["a", "b"], "1, 2.5").weights == (1.0, 2.5)
    assert pixel_counts([drawn()], 2) == [96 * 96 - 600, 600]
    for weights in ("1", "1,x", "1,0", "1,inf"):
        with pytest.raises(BadInput, match="2 numbers above 0, for a, b"):
            class_objective([1, 1], ["a", "b"], weights)
    with pytest.raises(BadInput, match="none of b"):
        class_objective([1, 0], ["a", "b"], "")


def test_only_pieces_that_are_labelled_whole_have_a_length():
    labels = np.ones((40, 40), np.int32)
    labels[5:15, 5:10] = 2
    labels[20:24, 20:32] = 2
    assert sorted(piece_lengths(labels, 2)) == [10, 12]
    labels[19, 25] = 0
    assert piece_lengths(labels, 2).tolist() == [10]
    assert object_lengths(np.where(labels == 2, 7, 0)).tolist() == [27]
    found, warnings = extents_beside({"nuclear": [np.array([10, 12])], "none": []}, 11)
    assert found == {
        "nuclear": {"objects": 2, "median": 11.0, "percentile_95": 11.9, "longest": 12}
    }
    assert len(warnings) == 1
    assert "nuclear is longer than 12 px, and the network sees 11 px" in warnings[0]
    assert extents_beside({"nuclear": [np.array([10, 12])]}, 12)[1] == []


@pytest.mark.tensorflow
def test_pixels_without_a_label_carry_no_loss():
    import tensorflow as tf

    objective = ClassObjective((1.0, 3.0))
    random = np.random.default_rng(0)
    found = tf.nn.softmax(random.normal(0, 1, (1, 16, 16, 2)).astype(np.float32))
    labels = random.integers(0, 3, (1, 16, 16)).astype(np.int32)
    with tf.GradientTape() as tape:
        tape.watch(found)
        loss = objective.loss([found], labels)
    change = np.abs(tape.gradient(loss, found).numpy()).sum(-1)
    assert (change[labels == 0] == 0).all()
    assert (change[labels > 0] > 0).all()
    assert float(objective.loss([found], np.zeros_like(labels))) == 0
    right = tf.one_hot(np.maximum(labels - 1, 0), 2)
    assert float(objective.loss([right], labels)) < 1e-4 < float(loss)


@pytest.mark.tensorflow
def test_the_receptive_field_is_what_a_pixel_depends_on():
    import tensorflow as tf

    widths = (4, 4, 4)
    wanted = receptive_field(widths, 1)
    tf.keras.utils.set_random_seed(0)
    network = build_class_network(1, "classes", 2, widths, gains=(), bottom=1)
    side = 2 * (wanted // STRIDE + 2) * STRIDE
    reach = 0
    for place in range(side // 2, side // 2 + 4):
        # Positive weights and pixels keep every path open.
        for weight in network.trainable_weights:
            weight.assign(np.abs(weight.numpy()) + 0.01)
        pictures = tf.ones((1, side, side, 1))
        with tf.GradientTape() as tape:
            tape.watch(pictures)
            # Before the softmax, which hides small differences.
            body = tf.keras.Model(network.input, network.layers[-1].input)
            value = tf.reduce_sum(body(pictures)[0, place, place])
        change = np.abs(tape.gradient(value, pictures).numpy())[0, ..., 0].sum(0)
        touched = np.flatnonzero(change)
        reach = max(reach, int(touched[-1] - touched[0]) + 1)
    assert reach == wanted
