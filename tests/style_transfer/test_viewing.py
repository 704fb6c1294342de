"""The state that shows a volume beside what was made of it."""

import json
from urllib.parse import unquote

import numpy as np

from cellmill.style_transfer.viewing import VIEWER, neuroglancer_link, neuroglancer_state
from cellmill.style_transfer.volumes import Volume


def test_both_are_shown_at_the_middle_with_their_sizes():
    volume = Volume("a", np.zeros((10, 20, 40), np.uint8), (1, 2, 3), (30.0, 5.0, 4.0))
    state = neuroglancer_state("precomputed://gs://b/x", "gs://b/y.zarr", volume)
    assert [layer["source"] for layer in state["layers"]] == [
        "precomputed://gs://b/x",
        "zarr://gs://b/y.zarr",
    ]
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
    assert [layer["source"] for layer in state["layers"]] == [
        "zarr://gs://b/x",
        "precomputed://gs://b/y",
    ]
