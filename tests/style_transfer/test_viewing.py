"""The state that shows a volume beside what was made of it."""

import json
from urllib.parse import unquote

import numpy as np

from cellmill.style_transfer.viewing import VIEWER, neuroglancer_link, neuroglancer_state
from cellmill.style_transfer.volumes import Volume


def test_both_are_shown_at_the_middle_with_their_sizes():
    volume = Volume("a", np.zeros((10, 20, 40), np.uint8), (1, 2, 3), (30.0, 5.0, 4.0))
    state = neuroglancer_state("precomputed://gs://b/x", "gs://b/y.zarr", volume)
    source, made = (layer["source"] for layer in state["layers"])
    assert (source, made["url"]) == ("precomputed://gs://b/x", "zarr://gs://b/y.zarr")
    assert state["position"] == [23, 12, 6]
    assert {axis: round(size * 1e9) for axis, (size, _) in state["dimensions"].items()} == {
        "x": 4,
        "y": 5,
        "z": 30,
    }
    link = neuroglancer_link(state)
    assert link.startswith(f"{VIEWER}#!")
    assert json.loads(unquote(link.partition("#!")[2])) == state


def test_a_form_that_is_not_said_is_found():
    volume = Volume("a", np.zeros((1, 2, 3), np.uint8))
    state = neuroglancer_state("zarr3://gs://b/x", "gs://b/y", volume)
    source, made = (layer["source"] for layer in state["layers"])
    assert (source, made["url"]) == ("zarr://gs://b/x", "precomputed://gs://b/y")


def test_centres_of_ome_zarr_and_corners_of_precomputed_are_shown_at_one_place():
    """As Neuroglancer draws them: its pictures of both forms were equal to the pixel with this."""
    volume = Volume("a", np.zeros((1, 2, 3), np.uint8), voxel_nm=(30.0, 5.0, 4.0))
    for source, made, shift, axes in (
        ("precomputed://x", "y.zarr", 0.5, "zyx"),
        ("zarr://x", "precomputed://y", -0.5, "xyz"),
    ):
        transform = neuroglancer_state(source, made, volume)["layers"][1]["source"]["transform"]
        assert "".join(transform["outputDimensions"]) == axes
        assert round(transform["outputDimensions"]["z"][0] * 1e9) == 30
        np.testing.assert_array_equal(transform["matrix"], np.c_[np.eye(3), [shift] * 3])
    for same in ("precomputed", "zarr"):
        layers = neuroglancer_state(f"{same}://x", f"{same}://y", volume)["layers"]
        assert [layer["source"] for layer in layers] == [f"{same}://x", f"{same}://y"]


def test_the_forms_that_an_open_volume_has_and_its_levels():
    values = np.zeros((1, 2, 3), np.uint16)
    volume = Volume("a", values, levels=(100, 900), form="zarr3")
    source, made = neuroglancer_state("gs://b/array", "gs://b/y", volume)["layers"]
    assert source["source"] == "zarr://gs://b/array"
    assert source["shaderControls"] == {"normalized": {"range": [100, 900]}}
    assert "shaderControls" not in made
    stack = Volume("a", values, levels=(100, 900), form="tiff")
    state = neuroglancer_state("stack.tif", "gs://b/y", stack)
    assert [layer["name"] for layer in state["layers"]] == ["transferred"]
    assert len(state["layout"]["children"]) == 1
