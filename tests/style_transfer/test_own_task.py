"""A network of the user's finds in the gate's planes what it finds in images."""

from dataclasses import replace

import numpy as np
import pytest

from cellmill import extras
from cellmill.errors import BadInput
from cellmill.models.card import Head, InputChannel, ModelCard, ModelInput, Preprocessing, Tiling
from cellmill.models.fetch import fetch_model
from cellmill.models.savedmodel import write_savedmodel
from cellmill.style_transfer.gate import Planes, best_threshold, score
from cellmill.style_transfer.own_task import load_task

pytestmark = pytest.mark.tensorflow
CARD = ModelCard(
    name="finds",
    version="1",
    input=ModelInput((InputChannel("grey"), InputChannel("more", optional=True)), tile=(64, 64)),
    heads=(Head("found", "", "image", channels=2, stride=2), Head("sum", "", "image")),
    tiling=Tiling(overlap=0.0),
    preprocessing=Preprocessing("percentile", low=0.0, high=100.0),
    postprocessing={},
    default_compartment="",
)


@pytest.fixture(scope="module")
def fetched(tmp_path_factory):
    """Logits of what is bright, one for each 2 × 2 pixels: the first of them; and both channels."""
    tf = extras.load("tensorflow", "a test")

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 2), tf.float32, name="image")])
    def serve(image):
        few = image[:, ::2, ::2, :1]
        return {"found": tf.concat([few, 12 * few - 6], -1), "sum": image[..., :1] + image[..., 1:]}

    folder = tmp_path_factory.mktemp("task")
    write_savedmodel(folder, serve)
    CARD.save(folder)
    return fetch_model(str(folder))


@pytest.fixture(scope="module")
def known():
    grey = np.random.default_rng(0).integers(0, 256, (3, 100, 100), np.uint8)
    grey[0, :2, 0] = 0, 255
    coarse = grey[:, ::2, ::2] > 140
    return Planes(grey, coarse.repeat(2, 1).repeat(2, 2))


def test_it_finds_what_its_head_says_and_its_threshold_is_the_best_of_the_target(fetched, known):
    task = load_task(fetched, "found:1", known)
    few = (known.grey[:, ::2, ::2] / 255.0).repeat(2, 1).repeat(2, 2)[:, 20:-20, 20:-20]
    found = task.probabilities(known.grey.astype(float))
    np.testing.assert_allclose(found, 1 / (1 + np.exp(6 - 12 * few)), atol=1e-5)
    assert task.is_logit
    assert task.threshold == best_threshold(found, known.truth[:, 20:-20, 20:-20])
    f1, precision = score(task, known.grey, known.truth)
    assert f1 > 0.9
    assert precision == 1
    blind = load_task(fetched, "sum", replace(known, truth=np.zeros((0, 100, 100), bool)))
    assert (blind.is_logit, blind.threshold) == (False, 0.5)
    np.testing.assert_allclose(
        blind.probabilities(known.grey), known.grey[:, 20:-20, 20:-20] / 255, atol=1e-6
    )


@pytest.mark.parametrize("head", ["", "found", "found:2", "other", "found:x"])
def test_a_head_that_is_not_there_is_one_line(fetched, known, head):
    with pytest.raises(BadInput) as found:
        load_task(fetched, head, known)
    assert str(found.value) == f"task_head: expected one of found:0 to 1, sum, found '{head}'"


def test_a_network_of_volumes_or_of_two_channels_is_one_line(fetched, known):
    both = replace(CARD.input, channels=tuple(map(InputChannel, "ab")))
    with pytest.raises(BadInput, match="expected a network of planes of one channel, found 2"):
        load_task(replace(fetched, card=replace(CARD, input=both)), "sum", known)
