"""A forest as arrays says what scikit-learn's says, and refuses arrays that are none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier

from cellmill.errors import BadInput
from cellmill.pixel_classification.forest import DEEPEST, Forest


def _fitted(seed, classes, trees, depth):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(400, 6)).astype(np.float32)
    # Ties: values of few digits meet thresholds between them.
    values[:, 0] = values[:, 0].round(1)
    score = values[:, 0] + 0.5 * values[:, 1] ** 2 + 0.3 * rng.normal(size=400)
    wanted = np.searchsorted(np.quantile(score, np.linspace(0, 1, classes + 1)[1:-1]), score)
    forest = RandomForestClassifier(trees, max_depth=depth, random_state=seed, n_jobs=1)
    return forest.fit(values, wanted)


@given(
    st.integers(0, 50),
    st.integers(2, 5),
    st.integers(1, 12),
    st.sampled_from([1, 4, None]),
    st.integers(0, 700),
)
@settings(max_examples=25, deadline=None)
def test_probabilities_and_classes_are_scikit_learns(seed, classes, trees, depth, count):
    fitted = _fitted(seed, classes, trees, depth)
    forest = Forest.of_trees(fitted.estimators_)
    rng = np.random.default_rng(seed + 1)
    values = rng.normal(size=(count, 6)).astype(np.float32)
    values[:, 0] = values[:, 0].round(1)
    found = forest.probabilities(values.T)
    assert found.shape == (count, classes)
    if not count:
        return
    wanted = fitted.predict_proba(values)
    assert np.abs(found - wanted).max() <= 1e-6
    two = np.sort(wanted, axis=1)[:, -2:]
    certain = two[:, 1] - two[:, 0] > 2e-6
    assert np.array_equal(found.argmax(1)[certain], wanted.argmax(1)[certain])


def test_values_at_a_threshold_go_where_scikit_learn_sends_them():
    fitted = _fitted(3, 2, 20, None)
    thresholds = np.concatenate([e.tree_.threshold for e in fitted.estimators_])
    near = thresholds.astype(np.float32)
    near = np.concatenate([near, np.nextafter(near, np.float32(9)), np.nextafter(near, -near)])
    values = np.repeat(near[:, np.newaxis], 6, axis=1).astype(np.float32)
    found = Forest.of_trees(fitted.estimators_).probabilities(values.T)
    assert np.abs(found - fitted.predict_proba(values)).max() <= 1e-6


def test_a_pixel_does_not_depend_on_its_neighbours():
    forest = Forest.of_trees(_fitted(1, 3, 7, None).estimators_)
    values = np.random.default_rng(0).normal(size=(6, 300)).astype(np.float32)
    whole = forest.probabilities(values)
    for start, stop in ((0, 1), (5, 70), (63, 65), (299, 300)):
        assert np.array_equal(forest.probabilities(values[:, start:stop]), whole[start:stop])


def test_its_arrays_give_it_back():
    forest = Forest.of_trees(_fitted(2, 3, 5, 4).estimators_)
    again = Forest.from_arrays(forest.to_arrays())
    assert all(np.array_equal(a, b) for a, b in zip(forest.arguments, again.arguments, strict=True))
    assert (again.trees, again.classes) == (5, 3)


def _chain(length):
    """A tree of one long branch."""
    left = np.arange(2 * length + 1, dtype=np.uint32)
    left[0:-1:2] = np.arange(1, 2 * length + 1, 2)
    order = np.arange(2 * length + 1)
    # Node 0 has children 1 and 2, node 2 has 3 and 4, and so on.
    left = np.where((order % 2 == 0) & (order < 2 * length), order + 1, order).astype(np.uint32)
    votes = np.tile(np.float32([0.5, 0.5]), (len(left), 1))
    return {
        "features": np.zeros(len(left), np.uint32),
        "thresholds": np.zeros(len(left), np.float32),
        "left": left,
        "votes": votes,
        "roots": np.zeros(1, np.uint32),
    }


def test_the_deepest_tree_is_run():
    forest = Forest.from_arrays(_chain(DEEPEST))
    assert np.allclose(forest.probabilities(np.ones((1, 3), np.float32)), 0.5)


def _changed(**changes):
    arrays = _chain(3)
    for name, change in changes.items():
        arrays[name] = change(arrays[name])
    return arrays


def _at(place, value):
    def change(array):
        array = array.copy()
        array[place] = value
        return array

    return change


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        (_chain(DEEPEST + 1), "depth 120 at most"),
        ({**_chain(3), "left": None}, "of 1 axes in 'left'"),
        ({k: v for k, v in _chain(3).items() if k != "votes"}, "an array 'votes'"),
        (_changed(left=_at(0, 6)), "behind their node"),
        (_changed(left=_at(2, 0)), "behind their node"),
        (_changed(left=_at(4, 2**32 - 1)), "behind their node"),
        (_changed(roots=_at(0, 1)), "ascend from 0"),
        (_changed(roots=lambda r: np.array([0, 3], np.uint32)), "behind their node"),
        (_changed(roots=lambda r: r[:0]), "ascend from 0"),
        (_changed(thresholds=_at(0, np.nan)), "finite"),
        (_changed(votes=_at((1, 0), np.inf)), "finite"),
        (_changed(votes=_at((1, 0), 0.9)), "probabilities"),
        (_changed(votes=lambda v: v[:, :1]), "two classes"),
        (_changed(features=lambda f: f[:-1]), "one length"),
        (_changed(features=lambda f: f.astype(np.int64)), "uint32"),
    ],
)
def test_arrays_that_are_no_forest_are_refused(arrays, says):
    with pytest.raises(BadInput, match=says):
        Forest.from_arrays(arrays)


def test_features_that_are_missing_are_refused():
    forest = Forest.from_arrays(_changed(features=_at(0, 2)))
    with pytest.raises(BadInput, match="at least 3"):
        forest.probabilities(np.zeros((2, 5), np.float32))
