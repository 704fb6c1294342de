"""Images are called after their files, and no two alike."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellmill.arrays.entries import check_name
from cellmill.io.naming import name_of, unique_names


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("/a/b.ome.tif", "b"),
        ("b.OME.TIFF", "b"),
        ("b.c.tif", "b.c"),
        ("b", "b"),
        ("gs://x/y/b%20.tif", "b%20"),
        ("/a/b.d/", "b"),
        ("/a/b.ome.zarr/", "b"),
        ("https://x.org/", "image"),
    ],
)
def test_name(uri, name):
    assert name_of(uri) == name


def test_unique_names():
    assert unique_names(["/p/1.tif", "/q/1.tif", "/q/2.tif"]) == ["p_1", "q_1", "2"]
    assert unique_names(["/p/x/1.tif", "/q/x/1.tif"]) == ["p_x_1", "q_x_1"]
    assert unique_names(["/p/a.tif", "/p/a.ome.tif", "/p/A.tiff"]) == [
        "a.tif",
        "a.ome.tif",
        "A.tiff",
    ]
    assert unique_names(["1.tif", "/q/1.tif"]) == ["1", "q_1"]
    assert unique_names([".tif", "gs://b/a.tif", "gs://c/a.tif"]) == ["tif", "b_a", "c_a"]
    assert unique_names(["/p/a.tif", "/q/a.tif", "/q/a.btf"]) == ["p_a.tif", "q_a.tif", "q_a.btf"]


def test_names_that_are_taken_are_given_to_no_image():
    uris = ["artifacts.tif", "logs.ome.tif", "Summary.HTML.tif", "manifest.tif", "latest.tif"]
    names = unique_names(uris, {"artifacts", "logs", "summary.html", "run.json"})
    assert names == ["artifacts.tif", "logs.ome.tif", "Summary.HTML.tif", "manifest.tif", "latest"]
    assert unique_names(["p/logs", "logs"], {"logs"}) == ["p_logs", "logs-2"]


def test_long_names_keep_what_tells_them_apart():
    long = "Experiment_2024-03-01_" + "treatment_control_" * 9
    uris = [f"/images/{long}field_{number}.tif" for number in range(1, 30)]
    names = unique_names(uris)
    for number, name in enumerate(names, 1):
        assert name.startswith("Experiment_2024-03-01_")
        assert name.endswith(f"_field_{number}")
        assert len(name.encode()) <= 150


@given(
    st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1)),
    st.sets(st.sampled_from(["a", "b", "0", "image"])),
)
def test_names_are_always_unique_and_can_be_file_names(texts, taken):
    names = unique_names(texts, taken)
    assert len({name.casefold() for name in names}) == len(texts)
    assert not {name.casefold() for name in names} & taken
    for name in names:
        assert check_name(name) == name
