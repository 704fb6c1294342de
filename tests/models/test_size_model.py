"""A size model is plain data beside a network, and its card says that it is there."""

import json

import numpy as np
import pytest

from cellmill.errors import BadInput
from cellmill.models.card import ModelCard
from cellmill.models.size_model import FILE_NAME, SizeModel, style_card, with_style
from tests.models.test_card import MESMER

MODEL = SizeModel(30.0, 25.0, -0.5, (0.25, 0.5, 0.75), (1.0, -2.0, 0.5))


def test_it_is_linear_in_the_logarithm_and_never_below_five_pixels():
    style = np.array([0.5, 0.25, 1.0], np.float32)
    assert MODEL.diameter_of(style) == pytest.approx(30 * np.exp(0.25 + 0.5 + 0.125 - 0.5))
    assert MODEL.diameter_of(np.array([-9.0, 0, 0])) == 5
    # What is no number is what the network was trained on.
    assert MODEL.diameter_of(np.array([np.nan, 0, 0])) == 30
    assert MODEL.diameter_of(np.array([1e4, 0, 0])) == 30


def test_it_comes_back_as_it_was_saved(tmp_path):
    MODEL.save(tmp_path)
    assert SizeModel.load(tmp_path) == MODEL


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"diameter": 0}, "size model of 'm', diameter: expected more than 0, found 0.0"),
        ({"weights": [1.0]}, "size model of 'm', weights: expected 3 as of style_mean, found 1"),
        ({"offset": "x"}, "size model of 'm', offset: expected a finite number, found 'x'"),
        ({"more": 1}, "size model of 'm': expected only diameter, "),
        ({"format": "x"}, "size model of 'm', format: expected cellmill-size-model/1, found 'x'"),
    ],
)
def test_a_wrong_one_is_one_line(tmp_path, change, says):
    MODEL.save(tmp_path)
    values = json.loads((tmp_path / FILE_NAME).read_text())
    (tmp_path / FILE_NAME).write_text(json.dumps({**values, **change}))
    with pytest.raises(BadInput) as caught:
        SizeModel.load(tmp_path, "m")
    assert str(caught.value).startswith(says)


def test_one_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(BadInput, match=r"^size model of 'm': expected size_model.json beside its"):
        SizeModel.load(tmp_path, "m")


def test_a_card_says_so_only_of_a_network_with_flows_and_a_diameter():
    values = {**MESMER.to_dict(), "size_model": True}
    with pytest.raises(BadInput, match="size_model: expected flows, and object_diameter"):
        ModelCard.from_dict(values)


def test_cards_for_the_style_say_where_it_is():
    alone, behind = style_card(MESMER, 64), with_style(MESMER, 64)
    assert [head.name for head in alone.heads] == ["style"]
    assert behind.heads == (*MESMER.heads, *alone.heads)
    assert alone.heads[0].shape_over(MESMER.input.tile) == (1, 1, 64)
