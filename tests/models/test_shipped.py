"""Each model that ships finds most cells of an image it was not trained on, in each compartment."""

import pytest

from cellmill.compartments import COMPARTMENTS
from cellmill.inference.savedmodel import load
from cellmill.metrics import evaluate
from cellmill.models.card import ModelCard
from cellmill.models.shipped import shipped_models
from cellmill.preprocessing import preprocess
from cellmill.training.accuracy import segment_image
from launch.synthetic_cells import CHANNELS, synthetic_cells


@pytest.mark.tensorflow
@pytest.mark.parametrize("folder", shipped_models().values(), ids=shipped_models())
def test_it_segments_what_its_card_says(folder):
    card = ModelCard.load(folder)
    network = load(folder, card)
    made = synthetic_cells(7, (320, 320))
    channels = [CHANNELS.index(channel.name) for channel in card.input.channels]
    image = preprocess(made.pixels[..., channels], card.preprocessing)
    for compartment in card.compartments:
        truth = made.labels[..., COMPARTMENTS.index(compartment)]
        scores = evaluate(truth, segment_image(image, network, card, compartment))
        assert scores["matching"][0]["f1"] > 0.7, compartment
