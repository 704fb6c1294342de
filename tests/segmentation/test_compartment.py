"""One compartment from the heads that a card names."""

import dataclasses

import numpy as np
import pytest

from cellmill.errors import BadInput
from cellmill.models.card import known_cards
from cellmill.segmentation import deep_watershed, segment, watershed_parameters
from tests.segmentation.maps import card_heads

CARD = known_cards()["Mesmer"]
WHOLE_CELL = CARD.postprocessing["whole_cell"]


@pytest.mark.parametrize("compartment", CARD.compartments)
def test_the_card_s_heads_channels_and_parameters_count(compartment):
    given, parameters = card_heads(CARD), CARD.postprocessing[compartment]
    maxima, interior = (
        given[head][np.newaxis, ..., channel : channel + 1]
        for head, channel in (
            (parameters.maxima_head, parameters.maxima_channel),
            (parameters.interior_head, parameters.interior_channel),
        )
    )
    expected = deep_watershed(
        [maxima, interior],
        radius=2,
        maxima_threshold=0.075 if compartment == "whole_cell" else 0.1,
        interior_threshold=0.2,
        interior_smooth=2,
        small_objects_threshold=15,
        fill_holes_threshold=15,
    )
    assert expected.max() > 5
    assert np.array_equal(segment(given, parameters), expected[0, ..., 0])


def test_every_field_of_a_card_reaches_the_watershed():
    changed = {
        "maxima_threshold": 0.33,
        "maxima_smooth": 0.5,
        "interior_threshold": 0.44,
        "interior_smooth": 3.5,
        "radius": 7,
        "small_objects_threshold": 8,
        "small_objects_fraction": 0.25,
        "fill_holes_threshold": 9,
        "pixel_expansion": 3,
        "maxima_algorithm": "peak_local_max",
    }
    heads_and_channels = {"maxima_head", "maxima_channel", "interior_head", "interior_channel"}
    fields = {field.name for field in dataclasses.fields(WHOLE_CELL)}
    assert fields == heads_and_channels | set(changed)
    given = watershed_parameters(
        dataclasses.replace(WHOLE_CELL, **changed), label_erosion=2, exclude_border=4
    )
    assert dataclasses.asdict(given) == {**changed, "label_erosion": 2, "exclude_border": 4}


def without(name):
    return {key: value for key, value in card_heads(CARD).items() if key != name}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            without(WHOLE_CELL.maxima_head),
            f"predictions: expected a head '{WHOLE_CELL.maxima_head}'",
        ),
        ({}, "found no heads"),
        (
            card_heads(CARD) | {WHOLE_CELL.interior_head: np.zeros((80, 90, 1), np.float32)},
            f"'{WHOLE_CELL.interior_head}': expected a channel 1, found 1 channels",
        ),
        (
            card_heads(CARD) | {WHOLE_CELL.interior_head: np.zeros((80, 90))},
            r"expected \(Y, X, C\)",
        ),
        (
            card_heads(CARD) | {WHOLE_CELL.interior_head: np.zeros((80, 91, 3))},
            r"expected one shape, found \(80, 90\) and \(80, 91\)",
        ),
        (
            card_heads(CARD) | {WHOLE_CELL.maxima_head: np.full((80, 90, 1), np.nan)},
            f"'{WHOLE_CELL.maxima_head}', channel 0: expected finite.*7200 NaN",
        ),
    ],
)
def test_predictions_that_do_not_fit_have_their_line(given, message):
    with pytest.raises(BadInput, match=message):
        segment(given, WHOLE_CELL)
