"""A network learns blobs, repeats itself to the bit, and survives being written and read."""

import dataclasses

import numpy as np
import pytest

from cellmill.errors import BadInput
from cellmill.inference.engines import load_network
from cellmill.training.accuracy import measure_accuracy
from cellmill.training.augmentation import Augmentation
from cellmill.training.card import head_names, trained_card
from cellmill.training.export import export_network, trainable_network
from cellmill.training.fit import FitParameters, fit, seed_everything
from cellmill.training.images import TrainingImage
from cellmill.training.network import BOTTOM, GAINS, build_network

pytestmark = pytest.mark.tensorflow

WIDTHS = (8, 12, 16)
PARAMETERS = FitParameters(steps=100, batch_size=2, crop=64, validate_every=20, learning_rate=0.01)


def blobs(seed, shape=(96, 112)):
    random = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int32)
    y, x = np.mgrid[: shape[0], : shape[1]]
    for label in range(1, 9):
        cy, cx = random.uniform(8, shape[0] - 8), random.uniform(8, shape[1] - 8)
        disc = (y - cy) ** 2 + (x - cx) ** 2 < random.uniform(5, 8) ** 2
        if not labels[disc].any():
            labels[disc] = label
    noise = random.normal(0, 0.05, shape)
    image = ((labels > 0) * 0.9 + noise).astype(np.float32)
    return TrainingImage(f"blobs{seed}", image[..., None], labels)


def trained(parameters=PARAMETERS):
    seed_everything(parameters.seed)
    network = build_network(1, head_names("nuclear"), WIDTHS)
    images = [blobs(i) for i in range(3)]
    alike = {"gain": (0.8, 1.2), "object_gain": (0.8, 1.2), "cytoplasm": 0, "condensed": 0}
    mild = Augmentation(scale=(0.9, 1.1), haze=0.1, **alike)
    return network, fit(network, images, [blobs(9)], parameters, mild)


@pytest.fixture(scope="module")
def model():
    return trained()


def test_loss_falls_and_the_best_weights_are_kept(model):
    _, done = model
    losses = [look.validation_loss for look in done.curve]
    assert [look.step for look in done.curve] == [0, 20, 40, 60, 80, 100]
    assert done.stopped == "steps"
    assert done.curve[-1].loss < 0.6 * done.curve[1].loss
    assert done.best_step == done.curve[int(np.argmin(losses))].step


def test_one_seed_one_model(model):
    short = dataclasses.replace(PARAMETERS, steps=6, validate_every=3)
    (first, curve), (again, same) = trained(short), trained(short)
    assert curve == same
    for a, b in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_written_and_read_back_it_is_the_same(model, tmp_path):
    network, _ = model
    training = {"network": {"widths": list(WIDTHS), "gains": list(GAINS), "bottom": BOTTOM}}
    card = trained_card("m", "1", ("nuclear",), ("nuclear",), training, sizes={})
    export_network(network, tmp_path)
    served = load_network(tmp_path, card, engine="tensorflow")
    tiles = blobs(4).image[None, :64, :80]
    expected = [np.asarray(head) for head in network(tiles, training=False)]
    for found, head, described in zip(served(tiles), expected, card.heads, strict=True):
        assert found.shape == (1, 64, 80, described.channels)
        np.testing.assert_allclose(found, head, atol=1e-5)
    again = trainable_network(tmp_path, card)
    for a, b in zip(again.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    foreign = dataclasses.replace(card, training={})
    with pytest.raises(BadInput, match="train_segmenter"):
        trainable_network(tmp_path, foreign)
    with pytest.raises(BadInput, match="weights of its network"):
        trainable_network(
            tmp_path, dataclasses.replace(card, training={"network": {"widths": [4, 4]}})
        )


def test_it_finds_blobs_it_has_not_seen(model, tmp_path):
    network, _ = model
    card = trained_card("m", "1", ("nuclear",), ("nuclear",), {}, sizes={})
    export_network(network, tmp_path)
    network = load_network(tmp_path, card, engine="tensorflow")
    measured = measure_accuracy([blobs(11), blobs(12)], network, card, "nuclear")
    assert measured["images"] == 2
    assert measured["average_precision"]["0.5"] > 0.7
    assert set(measured["average_precision_0.5_by_image"]) == {"blobs11", "blobs12"}


def test_patience_and_time_limit_end_a_fit():
    # At this learning rate the loss cannot keep falling.
    wild = dataclasses.replace(
        PARAMETERS, steps=40, validate_every=1, patience=2, learning_rate=0.5
    )
    _, done = trained(wild)
    assert done.stopped == "patience"
    assert done.curve[-1].step == done.best_step + 2
    _, done = trained(dataclasses.replace(PARAMETERS, time_limit_s=1e-6))
    assert (done.stopped, len(done.curve)) == ("time limit", 2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("crop", 100),
        ("crop", 0),
        ("batch_size", 0),
        ("patience", -1),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("seed", -1),
    ],
)
def test_parameters_out_of_range(name, value):
    with pytest.raises(BadInput, match=name):
        FitParameters(**{name: value})


def test_nothing_to_learn_from():
    empty = dataclasses.replace(blobs(0), labels=np.zeros((96, 112), np.int32))
    network = build_network(1, head_names("nuclear"), WIDTHS)
    with pytest.raises(BadInput, match="training images"):
        fit(network, [empty], [blobs(1)], PARAMETERS, Augmentation())
    with pytest.raises(BadInput, match="validation images"):
        fit(network, [blobs(1)], [empty], PARAMETERS, Augmentation())


def test_one_seed_one_model_of_two_compartments():
    # Large enough that TensorFlow works on several terms of a sum at once.
    parameters = FitParameters(steps=5, validate_every=5, batch_size=8, crop=192)
    cells = dataclasses.replace(blobs(0), labels=np.stack([blobs(0).labels] * 2, -1))
    ranges = Augmentation(cytoplasm=0, condensed=0)
    losses: list[list[float]] = [[], [], []]
    for found in losses:
        seed_everything(0)
        network = build_network(1, head_names("whole_cell") + head_names("nuclear"))
        fit(
            network, [cells], [cells], parameters, ranges, lambda _, loss, to=found: to.append(loss)
        )
    assert losses[0] == losses[1] == losses[2]
