"""A card goes to JSON and back unchanged, and every kind of wrong card is one line.

What a card says of methods is held against the registry in `tests/segmentation/test_methods.py`.
"""

import copy
import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellmill.errors import BadInput
from cellmill.models.card import FILE_NAME, FORMAT, ModelCard, known_cards
from cellmill.models.shipped import shipped_models
from cellmill.segmentation.methods import recipes_of

MESMER = known_cards()["Mesmer"]


def test_known_cards_say_what_the_reference_does():
    assert [head.name for head in MESMER.heads] == [
        "whole_cell_inner_distance",
        "whole_cell_pixelwise",
        "nuclear_inner_distance",
        "nuclear_pixelwise",
    ]
    assert [head.channels for head in MESMER.heads] == [1, 3, 1, 3]
    assert MESMER.postprocessing["whole_cell"]["maxima_threshold"] == 0.075
    assert MESMER.postprocessing["nuclear"]["maxima_threshold"] == 0.1
    for parameters in MESMER.postprocessing.values():
        assert parameters["method"] == "deep_watershed"
        assert (parameters["interior_channel"], parameters["radius"]) == (1, 2)
        assert parameters["small_objects_threshold"] == parameters["fill_holes_threshold"] == 15
    assert MESMER.input.tile == (256, 256)
    assert MESMER.input.mpp == 0.5
    for name in ("NuclearSegmentation", "CytoplasmSegmentation"):
        card = known_cards()[name]
        (parameters,) = card.postprocessing.values()
        assert (card.input.mpp, card.tiling.padding) == (0.65, "reflect")
        assert (parameters["radius"], parameters["interior_threshold"]) == (10, 0.01)
        assert parameters["interior_head"] == card.heads[-1].name
        assert parameters["small_objects_threshold"] == parameters["fill_holes_threshold"] == 0


@pytest.mark.parametrize("card", known_cards().values(), ids=known_cards())
def test_json_round_trip(card, tmp_path):
    assert ModelCard.from_dict(json.loads(json.dumps(card.to_dict()))) == card
    card.save(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [FILE_NAME]
    assert ModelCard.load(tmp_path) == ModelCard.load(tmp_path / FILE_NAME) == card


def test_heads_have_stride_1_and_are_blended_unless_the_card_says_otherwise():
    values = MESMER.to_dict()
    for head in values["heads"]:
        del head["stride"], head["placement"]
    card = ModelCard.from_dict(values)
    assert card == MESMER
    assert {(head.stride, head.placement) for head in card.heads} == {(1, "blended")}
    assert card.alignment == 1
    assert card.heads[1].shape_over((513, 7)) == (513, 7, 3)
    values["heads"][1] |= {"stride": 2, "placement": "cropped"}
    values["heads"][3]["stride"] = 8
    card = ModelCard.from_dict(values)
    assert card.alignment == 8
    assert card.heads[1].shape_over((513, 7)) == (257, 4, 3)


VOLUMES = {
    "input": {"tile": [30, 168, 168], "channels": [{"name": "grey"}]},
    "heads": [
        {
            "name": "made",
            "compartment": "",
            "kind": "image",
            "placement": "cropped",
            "margin": 20,
            "margin_z": 5,
        }
    ],
    "tiling": {"alignment": 4, "alignment_z": 1},
    "postprocessing": {},
    "default_compartment": "",
}


def test_a_network_of_volumes_has_margins_and_alignments_along_each_axis():
    card = ModelCard.from_dict({**MESMER.to_dict(), **VOLUMES})
    assert ModelCard.from_dict(card.to_dict()) == card
    (head,) = card.heads
    assert head.margins(3) == (5, 20, 20)
    assert head.margins(2) == (20, 20)
    assert card.tiling.alignments(3) == (1, 4, 4)
    assert head.shape_over(card.input.tile) == (20, 128, 128, 1)
    assert dataclasses.replace(card.tiling, alignment_z=0).alignments(3) == (4, 4, 4)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("heads", 0, "margin_z"), 15, "heads[0].margin_z: expected 0 to 14, found 15"),
        (
            ("heads", 0),
            {**VOLUMES["heads"][0], "kind": "flows", "compartment": "nuclear"},
            "heads[0].margin: expected 0 to 0, found 20",
        ),
        (("heads", 0, "placement"), "blended", "placement: expected 'cropped' in a network that"),
        (("input", "tile"), [168, 168], "heads[0].margin_z: expected 0 to 0, found 5"),
        (("tiling", "alignment_z"), 7, "tiling.alignment_z: expected a divisor of [30], found 7"),
        (("tiling", "alignment_z"), 0, "tiling.alignment: expected a divisor of [30, 168, 168]"),
        (("tiling", "alignment_z"), -1, "tiling.alignment_z: expected 0 or more"),
    ],
)
def test_wrong_margins_of_volumes_are_one_line(path, value, says):
    values = copy.deepcopy({**MESMER.to_dict(), **VOLUMES})
    *parents, last = path
    place = values
    for key in parents:
        place = place[key]
    place[last] = value
    with pytest.raises(BadInput, match="model card 'x'") as error:
        ModelCard.from_dict(values, "model card 'x'")
    assert says in str(error.value)


def test_free_sections_are_kept(tmp_path):
    accuracy = {"AP@0.5": 0.9, "command": "make x", "images": ["a", "b"]}
    card = dataclasses.replace(MESMER, accuracy=accuracy)
    card.save(tmp_path)
    assert ModelCard.load(tmp_path).accuracy == accuracy


def changed(path, value):
    """Mesmer's card as JSON with one value replaced (or, with `...`, left out)."""
    values = copy.deepcopy(MESMER.to_dict())
    *parents, last = path
    place = values
    for key in parents:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return values


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (["format"], "cellmill-model/9", "format: expected 'cellmill-model/2'"),
        (["name"], ..., "name"),
        (["name"], 7, "name: expected a str"),
        (["nmae"], "x", "'nmae'"),
        (["heads", 1, "kind"], "pixelwize", "heads[1].kind: expected one of"),
        (["heads", 1, "name"], "nuclear_pixelwise", "heads: expected different names"),
        (["heads", 0, "channels"], 0, "heads[0].channels"),
        (["heads", 0, "stride"], 0, "heads[0].stride: expected a divisor of the tile's sides"),
        (["heads", 0, "stride"], 3, "heads[0].stride: expected a divisor of the tile's sides"),
        (["tiling", "alignment"], 0, "tiling.alignment: expected a divisor of"),
        (["tiling", "alignment"], 96, "tiling.alignment: expected a divisor of"),
        (["heads", 0, "placement"], "mixed", "heads[0].placement: expected one of"),
        (["input", "channels"], [], "input.channels"),
        (["input", "channels"], [{"name": "a", "optional": True}], "not all, found [True]"),
        (
            ["input", "channels"],
            [{"name": "a", "optional": True}, {"name": "b"}],
            "optional ones behind the others",
        ),
        (["input", "mpp"], -0.5, "input.mpp"),
        (["input", "mpp"], float("nan"), "input.mpp: expected a finite number"),
        (["input", "mpp"], True, "input.mpp"),
        (["input", "object_diameter"], 30, "input.object_diameter: expected an object"),
        (["input", "object_diameter"], {"nuclear": 0}, "input.object_diameter.nuclear: expected m"),
        (["input", "object_diameter_um"], {"nuclear": "9"}, "diameter_um.nuclear: expected a fini"),
        (["input", "scale_tolerance"], 0.5, "input.scale_tolerance: expected 1 or more"),
        (["input", "tile"], [256], "input.tile: expected 2 or 3 values"),
        (["input", "tile"], [256, 2.5], "input.tile[1]: expected a whole number"),
        (["preprocessing", "method"], "magic", "preprocessing.method"),
        (["preprocessing", "low"], 99.9, "preprocessing.low"),
        (["tiling", "overlap"], 1, "tiling.overlap"),
        (
            ["tiling"],
            {"fitted": True, "margin": 8},
            "tiling.fitted: expected planes, and no margin",
        ),
        (["postprocessing"], {}, "postprocessing: expected at least one"),
        (["postprocessing", "nuclear"], [], "postprocessing.nuclear: expected an object"),
        (["postprocessing", "nuclear", "method"], ..., "nuclear.method: expected the name of a"),
        (["postprocessing", "nuclear", "radius"], [2], "nuclear.radius: expected a number, a text"),
        (["postprocessing", "nuclear", "radius"], float("nan"), "nuclear.radius: expected a numb"),
        (["default_compartment"], "cytoplasm", "default_compartment"),
        (["weights", "location"], "", "weights.location"),
        (["training"], [], "training: expected an object"),
    ],
)
def test_wrong_cards_are_one_line_that_names_the_place(path, value, says):
    with pytest.raises(BadInput) as error:
        ModelCard.from_dict(changed(path, value), "model card 'x'")
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("model card 'x'")


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(st.data())
def test_any_value_anywhere_is_a_card_or_bad_input(data):
    path, place = [], MESMER.to_dict()
    while isinstance(place, (dict, list)) and place and (not path or data.draw(st.booleans())):
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        path.append(data.draw(st.sampled_from(keys)))
        place = place[path[-1]]
    values = changed(path, data.draw(json_values))
    try:
        card = ModelCard.from_dict(values)
    except BadInput:
        return
    assert ModelCard.from_dict(card.to_dict()) == card


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "[" * 100_000])
def test_files_that_are_no_cards(tmp_path, text):
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(BadInput, match=r"model\.json"):
        ModelCard.load(tmp_path)


def test_missing_card_and_missing_folder(tmp_path):
    with pytest.raises(BadInput, match="a model without a card"):
        ModelCard.load(tmp_path)
    with pytest.raises(BadInput, match="no such folder"):
        ModelCard.load(tmp_path / "nothing")


EARLIER = sorted((Path(__file__).parent / "earlier").glob("*.json"))


@pytest.mark.parametrize("path", EARLIER, ids=[path.stem for path in EARLIER])
def test_cards_of_the_first_format_still_load_and_say_the_same(path):
    """What shipped as `cellmill-model/1`, without its free sections."""
    before = json.loads(path.read_text())
    assert before["format"] == "cellmill-model/1"
    card = ModelCard.from_dict(before)
    written = card.to_dict()
    assert written["format"] == card.format == FORMAT
    assert ModelCard.from_dict(json.loads(json.dumps(written))) == card
    for kind, stood in before["postprocessing"].items():
        found = dict(written["postprocessing"][kind])
        assert found.pop("method") == "deep_watershed"
        assert stood.items() <= found.items()
    shipped = {**known_cards()}
    shipped |= {name: ModelCard.load(folder) for name, folder in shipped_models().items()}
    today = shipped[card.name]
    assert (card.heads, card.input.channels) == (today.heads, today.input.channels)
    for kind, recipe in recipes_of(card, card.compartments).items():
        assert recipe == recipes_of(today, (kind,))[kind]


def test_what_a_card_of_the_first_format_left_out_keeps_its_value():
    values = {**MESMER.to_dict(), "format": "cellmill-model/1"}
    heads = {"maxima_head": "nuclear_inner_distance", "interior_head": "nuclear_pixelwise"}
    values |= {"postprocessing": {"nuclear": heads}, "default_compartment": "nuclear"}
    parameters = recipes_of(ModelCard.from_dict(values), ("nuclear",))["nuclear"].parameters
    assert (parameters.radius, parameters.maxima_threshold) == (2, 0.1)
    assert (parameters.interior_threshold, parameters.interior_smooth) == (0.2, 2)
    assert parameters.small_objects_threshold == parameters.fill_holes_threshold == 15
