"""Each model that ships finds most cells of an image it was not trained on, in each compartment."""

import pytest

from cellmill.datasets.synthetic_cells import CHANNELS, synthetic_cells
from cellmill.inference.engines import load_network
from cellmill.labels.kinds import WELL_KNOWN
from cellmill.metrics import evaluate
from cellmill.models.card import ModelCard
from cellmill.models.shipped import shipped_models
from cellmill.preprocessing import preprocess
from cellmill.training.accuracy import segment_image


@pytest.mark.tensorflow
@pytest.mark.parametrize("folder", shipped_models().values(), ids=shipped_models())
def test_it_segments_what_its_card_says(folder):
    card = ModelCard.load(folder)
    network = load_network(folder, card, engine="tensorflow")
    made = synthetic_cells(7, (320, 320))
    channels = [CHANNELS.index(channel.name) for channel in card.input.channels]
    image = preprocess(made.pixels[..., channels], card.preprocessing)
    for compartment in card.compartments:
        truth = made.labels[..., WELL_KNOWN.index(compartment)]
        scores = evaluate(truth, segment_image(image, network, card, compartment))
        assert scores["matching"][0]["f1"] > 0.7, compartment


@pytest.mark.parametrize("folder", shipped_models().values(), ids=shipped_models())
def test_its_card_says_how_large_the_objects_are_that_it_was_trained_on(folder):
    card = ModelCard.load(folder)
    for sizes in (card.input.object_diameter, card.input.object_diameter_um):
        assert {*sizes} == {*card.compartments}
        assert all(5 < size < 100 for size in sizes.values())
    assert card.input.scale_tolerance > 1
