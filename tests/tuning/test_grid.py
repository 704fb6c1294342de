"""Which parameters are tried: what a user names, or values around the card's, and finer ones."""

import dataclasses
import math

import pytest

from cellmill.errors import BadInput
from cellmill.models.card import known_cards
from cellmill.segmentation.deep_watershed import WatershedParameters
from cellmill.segmentation.methods import recipes_of
from cellmill.segmentation.parameters import parameters_of
from cellmill.tuning.grid import ParameterGrid

CARD = WatershedParameters(maxima_smooth=1.0, interior_threshold=0.2, interior_smooth=2.0, radius=2)
#: The parameters that are tuned if nobody says which, and their types.
AXES = {each.name: each.type for each in parameters_of(WatershedParameters) if each.tried}


@pytest.mark.parametrize("card", known_cards().values(), ids=known_cards())
def test_the_usual_grid_holds_the_card_s_own_parameters(card):
    for recipe in recipes_of(card, card.compartments).values():
        points = list(ParameterGrid.around(recipe.parameters, {}).points())
        assert recipe.parameters in points
        assert len(set(points)) == len(points) > 10


def test_named_values_are_tried_in_their_order_and_nothing_else_changes():
    wanted = {name: "2" if kind is int else "0.5" for name, kind in AXES.items()}
    wanted |= {"radius": "3, 1,3", "interior_smooth": [2, 0]}
    points = list(ParameterGrid.around(CARD, wanted).points())
    assert [(p.interior_smooth, p.radius) for p in points] == [(2, 3), (2, 1), (0, 3), (0, 1)]
    for point in points:
        others = {f.name for f in dataclasses.fields(CARD)} - set(AXES)
        assert all(getattr(point, name) == getattr(CARD, name) for name in others)


def test_finer_values_lie_between_the_best_and_its_neighbours():
    wanted = {"interior_threshold": "0.2,0.4,0.8", "maxima_smooth": "1", "radius": "2,3,5"}
    grid = ParameterGrid.around(CARD, wanted)
    best = dataclasses.replace(CARD, interior_threshold=0.4, radius=3)
    finer = grid.finer(best)
    assert finer.axes["interior_threshold"] == (0.2, 0.4, 0.8, 0.3, 0.6)
    assert finer.axes["radius"] == (2, 3, 5, 4)
    assert finer.axes["maxima_smooth"] == (1,)
    beside = list(finer.beside(best, grid))
    assert {p.interior_threshold for p in beside if p.interior_threshold != 0.4} == {0.3, 0.6}
    for point in beside:
        differing = [name for name in AXES if getattr(point, name) != getattr(best, name)]
        assert len(differing) == 1


def test_refining_ends_where_nothing_is_between():
    grid = ParameterGrid.around(CARD, {"radius": "2,3"})
    finer = grid.finer(dataclasses.replace(CARD, radius=3))
    assert finer.axes["radius"] == (2, 3)


def test_the_points_through_one_are_all_values_of_each_axis():
    grid = ParameterGrid.around(CARD, {"radius": "1,2,3", "maxima_smooth": "1,2"})
    through = set(grid.through(CARD))
    assert {p.radius for p in through} == {1, 2, 3}
    assert len(through) == 1 + sum(
        len([v for v in values if v != getattr(CARD, name)]) for name, values in grid.axes.items()
    )


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"radius": "2.5"}, "radius: expected whole numbers with commas between, found '2.5'"),
        ({"radius": [2, 2.5]}, "radius: expected whole numbers"),
        ({"radius": [True]}, "radius: expected whole numbers"),
        ({"radius": {"least": 2}}, "radius: expected whole numbers"),
        ({"maxima_algorithm": "h_maxima"}, "axes: expected parameters among maxima_threshold"),
        ({"raduis": [2]}, "axes: expected .*radius.*, found raduis"),
        ({"radius": "0"}, "radius: expected at least 1"),
        ({"maxima_threshold": "0.1;0.2"}, "maxima_threshold: expected numbers with commas"),
        ({"interior_threshold": "nan"}, "interior_threshold: expected numbers"),
        ({"interior_smooth": "-1"}, "interior_smooth: expected 0 or more"),
        ({"small_objects_fraction": "0.1,"}, "small_objects_fraction: expected numbers"),
        ({"small_objects_fraction": "0.1,1.5"}, "small_objects_fraction: expected 0 to 1"),
        (
            {"radius": ",".join(map(str, range(1, 60)))},
            "grid of parameters: expected at most 20000 points",
        ),
    ],
)
def test_what_cannot_be_tried_is_one_line(wanted, says):
    with pytest.raises(BadInput, match=says) as error:
        ParameterGrid.around(CARD, wanted)
    assert "\n" not in str(error.value)


def test_points_are_as_many_as_the_axes_say():
    grid = ParameterGrid.around(CARD, {})
    assert len(list(grid.points())) == math.prod(len(values) for values in grid.axes.values())


def test_a_number_that_is_not_tuned_by_itself_is_if_it_is_named():
    assert "label_erosion" not in ParameterGrid.around(CARD, {}).axes
    grid = ParameterGrid.around(CARD, {"label_erosion": [0, 1], "radius": 2.0})
    assert grid.axes["label_erosion"] == (0, 1)
    assert grid.axes["radius"] == (2,)
    assert {point.label_erosion for point in grid.points()} == {0, 1}
