"""A pixel classifier learns from scribbles, says the same of any window, and is kept as a file."""

import json

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from cellmill import extras
from cellmill.arrays.npz import read_npz, write_npz
from cellmill.errors import BadInput
from cellmill.models.card import ModelCard
from cellmill.pixel_classification import features as windows
from cellmill.pixel_classification.classifier import (
    FILE_NAME,
    PixelClass,
    PixelClassifier,
    named_classes,
)
from cellmill.pixel_classification.feature_set import Feature, FeatureSet
from cellmill.pixel_classification.features import image_features
from cellmill.pixel_classification.forest import Forest
from cellmill.pixel_classification.training import train_pixel_classifier
from tests.segmentation.maps import balls


def scribbled(seed, shape=(90, 110), part=0.05):
    """Bright balls in noise, their truth, and scribbles on a part of both."""
    rng = np.random.default_rng(seed)
    truth = balls(seed, shape, max(int(np.prod(shape)) // 400, 1), 7) > 0
    image = (truth + rng.normal(0, 0.3, shape)).astype(np.float32)
    return image, truth, np.where(rng.random(shape) < part, truth + 1, 0)


@pytest.fixture(scope="module")
def trained():
    pairs = [scribbled(seed) for seed in (1, 2)]
    return train_pixel_classifier(
        [image for image, _, _ in pairs],
        [marks for _, _, marks in pairs],
        sigmas=[1, 2.5],
        classes=["background", "nuclear"],
        name="balls",
    )


def test_it_finds_in_another_image_what_was_scribbled(trained):
    image, truth, _ = scribbled(7)
    found = trained.class_image(image)
    assert found.dtype == np.int32
    assert ((found == 2) == truth).mean() > 0.95
    probabilities = trained.probabilities(image)
    assert np.abs(probabilities.sum(axis=-1) - 1).max() < 1e-5


def test_probabilities_are_scikit_learns_of_its_features():
    image, _, marks = scribbled(3)
    wanted = FeatureSet.of(sigmas=(1.0, 2.0))
    values = image_features(image, wanted)
    fitted = RandomForestClassifier(12, max_depth=7, random_state=0)
    fitted.fit(values[:, marks > 0].T, marks[marks > 0])
    made = PixelClassifier(wanted, Forest.of_trees(fitted.estimators_), named_classes([1, 2]))
    peer = fitted.predict_proba(values.reshape(len(values), -1).T).reshape(*image.shape, 2)
    assert np.abs(made.probabilities(image) - peer).max() <= 1e-6


@pytest.mark.parametrize("sides", [(16, 31), (64, 7), (90, 110)])
def test_no_bit_depends_on_the_windows(trained, monkeypatch, sides):
    image, _, _ = scribbled(4)
    whole = trained.probabilities(image)
    monkeypatch.setitem(windows._WINDOWS, 2, sides)
    assert np.array_equal(whole, trained.probabilities(image))


def test_volumes_are_learnt_and_cut_alike(monkeypatch):
    image, truth, marks = scribbled(5, (9, 40, 44))
    trained = train_pixel_classifier(
        image[..., np.newaxis], marks, sigmas=[1], features=["gaussian", "hessian"], z_spacing=2
    )
    whole = trained.probabilities(image)
    assert whole.shape == (*image.shape, 2)
    assert ((whole.argmax(-1) == 1) == truth).mean() > 0.9
    monkeypatch.setitem(windows._WINDOWS, 3, (4, 17, 12))
    assert np.array_equal(whole, trained.probabilities(image))


def test_several_channels_and_classes_are_learnt():
    image, truth, marks = scribbled(6)
    other = np.zeros_like(image)
    other[:, :40] = 1
    three = np.where((marks == 1) & (other > 0), 5, marks)
    trained = train_pixel_classifier(np.stack([image, other], -1), three, sigmas=[1])
    assert [each.value for each in trained.classes] == [1, 2, 5]
    assert [each.name for each in trained.classes] == ["background", "object", "class_5"]
    found = trained.class_image(np.stack([image, other], -1))
    wanted = np.where(truth, 2, np.where(other > 0, 5, 1))
    assert (found == wanted).mean() > 0.9


def test_one_seed_gives_one_classifier():
    image, _, marks = scribbled(8)
    one, again = (train_pixel_classifier(image, marks, sigmas=[1.5], seed=3) for _ in range(2))
    assert one.card == again.card
    assert np.array_equal(one.probabilities(image), again.probabilities(image))


def test_it_is_kept_without_pickle_and_comes_back(trained, tmp_path):
    trained.save(tmp_path / "model")
    with np.load(tmp_path / "model" / FILE_NAME, allow_pickle=False) as arrays:
        assert all(arrays[name].dtype != object for name in arrays)
    again = PixelClassifier.load(tmp_path / "model")
    assert (again.features, again.classes) == (trained.classifier.features, trained.classes)
    image, _, _ = scribbled(9)
    assert np.array_equal(again.probabilities(image), trained.probabilities(image))
    assert ModelCard.load(tmp_path / "model") == trained.card


def test_the_card_says_what_was_chosen_and_measured(trained):
    card = trained.card
    tried = card.training["choice"]
    (chosen,) = [each for each in tried if each["chosen"]]
    best = max(each["out_of_bag"] for each in tried)
    assert best - chosen["out_of_bag"] < 0.02
    assert chosen["nanoseconds"] < max(each["nanoseconds"] for each in tried)
    assert chosen["filters"] == len(trained.classifier.features.features)
    assert card.training["forest"]["trees"] == chosen["trees"]
    assert sum(card.training["importance"].values()) == pytest.approx(1, abs=1e-3)
    assert 0.9 < card.accuracy["out_of_bag"] <= 1
    assert 0.9 < card.accuracy["held_out_scribbles"]["accuracy"] <= 1
    by_class = card.accuracy["held_out_scribbles"]["by_class"]
    assert set(by_class) == {"background", "nuclear"}
    assert card.compartments == ("nuclear",)
    assert json.loads(json.dumps(card.to_dict())) == card.to_dict()


def test_a_single_scribble_of_a_class_is_no_measure():
    image, _, _ = scribbled(1)
    marks = np.zeros(image.shape, int)
    marks[0, :20], marks[50, :20] = 1, 2
    card = train_pixel_classifier(image, marks, sigmas=[1]).card
    assert card.accuracy["held_out_scribbles"]["accuracy"] is None


def test_few_pixels_are_learnt_from():
    """Some trees draw every one of them, and have none left that they were not shown."""
    image, truth, _ = scribbled(1)
    marks = np.zeros(image.shape, int)
    for value, place in ((1, np.argwhere(~truth)[::900]), (2, np.argwhere(truth)[::900])):
        marks[tuple(place[:3].T)] = value
    assert 2 <= (marks > 0).sum() <= 6
    probabilities = train_pixel_classifier(image, marks, sigmas=[1]).classifier.probabilities(image)
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m * 0, "at least two classes"),
        (lambda m: np.minimum(m, 1), r"found 1 \(1\)"),
        (lambda m: m - 1, "found -1"),
        (lambda m: m.astype(float), "integers"),
        (lambda m: m[:-1], "integers"),
        (lambda m: [m], "in a list"),
    ],
)
def test_scribbles_that_teach_nothing_are_refused(change, says):
    image, _, marks = scribbled(1)
    with pytest.raises(BadInput, match=says):
        train_pixel_classifier(image, change(marks))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"classes": ["a"]}, "2 names"),
        ({"classes": ["background", "two words"]}, "identifier"),
        ({"classes": ["background", "labels"]}, "kinds of object"),
        ({"classes": ["a", "a"]}, "different names"),
        ({"sigmas": [-1]}, "more than 0"),
        ({"features": ["nothing"]}, "one of gaussian"),
        ({"features": []}, "at least one"),
        ({"trees": -1}, "0 to 1000"),
    ],
)
def test_settings_that_are_none_are_refused(settings, says):
    image, _, marks = scribbled(1, (30, 30))
    with pytest.raises(BadInput, match=says):
        train_pixel_classifier(image, marks, **({"trees": 2, "depth": 2} | settings))


def test_without_scikit_learn_one_line_names_the_extra(monkeypatch):
    image, _, marks = scribbled(1, (30, 30))

    def none(name):
        raise ModuleNotFoundError(name="sklearn")

    monkeypatch.setattr(extras.importlib, "import_module", none)
    with pytest.raises(BadInput, match=r"pip install 'cellmill\[pixels\]'"):
        train_pixel_classifier(image, marks)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": np.array("other/1")}, "format"),
        ({"kinds": np.array(["nothing", "hessian"])}, "one of gaussian"),
        ({"sigmas": np.array([1.0])}, "arrays of its format"),
        ({"axes": np.array([2, 2])}, "arrays of its format"),
        ({"class_values": np.array([2, 1])}, "ascending"),
        ({"class_colours": np.array(["red", "blue"])}, "#rrggbb"),
        ({"forest_left": np.zeros(3, np.uint32)}, "forest"),
        ({"forest_votes": None}, "votes"),
    ],
)
def test_a_damaged_file_is_refused(trained, tmp_path, changes, says):
    trained.save(tmp_path)
    arrays = {k: np.array(v) for k, v in read_npz(tmp_path / FILE_NAME).items()} | changes
    write_npz(tmp_path / FILE_NAME, {k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(BadInput, match=says):
        PixelClassifier.load(tmp_path)


def test_parts_that_do_not_fit_are_refused(trained):
    classifier = trained.classifier
    few = FeatureSet((Feature("gaussian", 1.0),))
    with pytest.raises(BadInput, match="at least"):
        PixelClassifier(few, classifier.forest, classifier.classes)
    three = (*classifier.classes, PixelClass(9, "third", "#000000"))
    with pytest.raises(BadInput, match="as the forest has"):
        PixelClassifier(classifier.features, classifier.forest, three)
