"""Lists of volumes are read back as they were written; what does not fit is one line."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellmill.errors import BadInput
from cellmill.style_transfer.places import each_place, places_in, volumes_named

PLACES = st.text(st.sampled_from("ab/ @'2.:-\\\"é"), min_size=1).map(lambda t: f"gs://{t}z")
WEIGHTS = st.one_of(st.just(1.0), st.sampled_from([0.25, 2.0, 3.5, 1e-3]))


@given(st.lists(st.tuples(PLACES, WEIGHTS), min_size=1, max_size=4))
def test_a_list_is_read_as_it_was_written(wanted):
    text = shlex.join(f"{place}@{weight:g}" for place, weight in wanted)
    found = volumes_named("x", text)
    assert [(each.place, each.weight) for each in found] == wanted
    assert volumes_named("x", each_place(text, lambda place: place)) == found
    moved = volumes_named("x", each_place(text, lambda place: f"{place}@7"))
    assert [(each.place, each.weight) for each in moved] == [(f"{p}@7", w) for p, w in wanted]
    assert places_in(text) == [place for place, _ in wanted]
    formed = shlex.join(f"n5://{place}@{weight:g}" for place, weight in wanted)
    assert places_in(formed) == places_in(text)
    moved = volumes_named("x", each_place(formed, lambda place: f"{place}@7"))
    assert [(each.place, each.weight) for each in moved] == [(f"n5://{p}@7", w) for p, w in wanted]


def test_what_is_there_is_one_place_whatever_its_name_holds(tmp_path):
    place = tmp_path / "it's one@2"
    place.mkdir()
    (found,) = volumes_named("x", str(place))
    assert (found.place, found.weight) == (str(place), 1)
    assert volumes_named("x", each_place(str(place), str)) == (found,)
    two = volumes_named("x", shlex.join([f"{place}@3", "gs://b"]))
    assert [(each.place, each.weight) for each in two] == [(str(place), 3), ("gs://b", 1)]


def test_what_goes_with_a_volume_is_in_its_order():
    first, second = volumes_named("x", "a b@2", "- t", "m -", "0,1,2,3,4,5;9,0,0,10,8,8 -")
    assert (first.truth, first.mask) == ("", "m")
    assert first.boxes == ((0, 1, 2, 3, 4, 5), (9, 0, 0, 10, 8, 8))
    assert (second.truth, second.mask, second.boxes) == ("t", "", ())


@pytest.mark.parametrize(
    ("given_lists", "line"),
    [
        (("",), "X: expected a path or URI of a volume, found none"),
        (("a 'b",), "X: expected places with spaces between, quoted in pairs, found No closing"),
        (("a@2 b@0",), "X, weight of 'b': expected above 0, found 0"),
        (("a b@-1.5",), "X, weight of 'b': expected above 0, found -1.5"),
        (("a b@1e999",), "X, weight of 'b': expected above 0"),
        (("a b", "t"), "X_TRUTH: expected 2, one for each volume ('-' for none), found 1"),
        (("a", "", "m n"), "X_MASKS: expected 1, one for each volume ('-' for none), found 2"),
        (("a", "", "", "0,0,0,8,8"), "X_BOXES: expected z0,y0,x0,z1,y1,x1, found '0,0,0,8,8'"),
        (("a", "", "", "5,0,0,4,8,8"), "X_BOXES: expected z0,y0,x0,z1,y1,x1 from 0, each end"),
    ],
)
def test_lists_that_do_not_fit_are_one_line(given_lists, line):
    with pytest.raises(BadInput) as found:
        volumes_named("X", *given_lists)
    assert line in str(found.value)
