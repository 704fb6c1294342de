"""A pixel classifier is a network to the rest of the house, and tiles change no bit of it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cellmill
from cellmill.arrays.windows import Box
from cellmill.errors import BadInput
from cellmill.inference.engines import load_network
from cellmill.inference.tiled import card_grid, predict_tiled
from cellmill.models.card import Tiling
from cellmill.models.fetch import copy_model, fetch_model
from cellmill.models.networks import network_digest
from cellmill.pixel_classification.training import train_pixel_classifier
from tests.pixel_classification.test_classifier import scribbled


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    image, _, marks = scribbled(1)
    found = train_pixel_classifier(
        image, marks, sigmas=[1, 2.5], trees=5, depth=6, classes=["background", "nuclear"]
    )
    folder = tmp_path_factory.mktemp("classifier")
    found.save(folder)
    return found, folder


def small(card, side):
    """The card with smaller tiles, so that small images have several."""
    halo = card.tiling.margin
    tiling = replace(card.tiling, overlap=(2 * halo + 2) / side)
    return replace(card, input=replace(card.input, tile=(side, side)), tiling=tiling)


@given(
    st.integers(1, 150), st.integers(1, 150), st.sampled_from([64, 96]), st.integers(1, 5),
    st.integers(0, 3),
)  # fmt: skip
@settings(max_examples=15, deadline=None)
def test_tiled_is_untiled_to_the_bit(trained, high, wide, side, batch_size, seed):
    found, folder = trained
    card = small(found.card, side)
    network = load_network(folder, card)
    assert network.effect["engine"] == "forest"
    image = np.random.default_rng(seed).random((high, wide, 1), dtype=np.float32)
    whole = found.probabilities(image)
    out = np.zeros_like(whole)
    grid = card_grid(card, (high, wide))
    predict_tiled(image, network, grid, [out], batch_size, heads=card.heads)
    assert np.array_equal(out, whole)
    part = Box(high // 3, high, 0, max(wide // 2, 1))
    again = np.zeros_like(whole)
    predict_tiled(image, network, grid, [again], batch_size, heads=card.heads, window=part)
    assert np.array_equal(again[part.slices], whole[part.slices])


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_change_no_bit(trained, threads):
    found, folder = trained
    tiles = np.random.default_rng(0).random((2, *found.card.input.tile, 1), dtype=np.float32)
    (one,) = load_network(folder, found.card, threads=threads)(tiles)
    (other,) = load_network(folder, found.card)(tiles)
    assert np.array_equal(one, other)


def test_cellmill_segments_with_it(trained):
    _, folder = trained
    image, truth, _ = scribbled(4)
    segmented = cellmill.segment(image, model=str(folder), keep_maps=True)
    assert segmented.facts.methods["nuclear"]["method"] == "probability_watershed"
    assert segmented.facts.engine["engine"] == "forest"
    assert ((segmented.label_image > 0) == truth).mean() > 0.9
    assert segmented.counts["nuclear"] > 3
    assert np.array_equal(segmented.maps["classes"], trained[0].probabilities(image))


def test_it_is_fetched_and_copied_as_any_model(trained, tmp_path):
    _, folder = trained
    fetched = fetch_model(str(folder))
    copy_model(fetched, tmp_path)
    assert network_digest(tmp_path) == network_digest(folder)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.json", "pixel_classifier.npz"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda card: replace(card, tiling=Tiling("reflect", 0.25)), "with a margin of"),
        (lambda card: replace(card, tiling=replace(card.tiling, overlap=0.01)), "an overlap of"),
        (lambda card: replace(card, tiling=replace(card.tiling, padding="constant")), "mirrored"),
        (
            lambda card: replace(card, heads=(replace(card.heads[0], placement="blended"),)),
            "cropped",
        ),
        (lambda card: replace(card, heads=(replace(card.heads[0], channels=3),)), "outputs of"),
    ],
)
def test_a_card_that_would_change_values_is_refused(trained, change, says):
    found, folder = trained
    with pytest.raises(BadInput, match=says):
        load_network(folder, change(found.card))


def test_a_classifier_of_volumes_with_a_card_of_images_is_refused_in_one_line(tmp_path):
    image, _, marks = scribbled(5, (6, 30, 34))
    found = train_pixel_classifier(
        image[..., np.newaxis], marks, sigmas=[1], trees=2, depth=3, features=["gaussian"]
    )
    found.save(tmp_path)
    load_network(tmp_path, found.card)
    planes = replace(found.card, input=replace(found.card.input, tile=(512, 512)))
    says = "expected one of images, as its card says, found one of volumes"
    with pytest.raises(BadInput, match=says):
        load_network(tmp_path, planes)
