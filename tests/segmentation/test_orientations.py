"""A volume from a network of planes that is shown those across all three axes."""

import tracemalloc

import numpy as np
import pytest

from cellmill.arrays.temporary import temporary_arrays
from cellmill.errors import BadInput
from cellmill.metrics import evaluate
from cellmill.models.card import Head, InputChannel, ModelCard, ModelInput, Preprocessing, Tiling
from cellmill.preprocessing.resize import resize_image
from cellmill.segmentation.cellpose import flows_of
from cellmill.segmentation.methods import recipes_of, segment_one
from cellmill.segmentation.orientations import (
    check_orientations,
    combine_seen,
    combined_shapes,
    depth_for,
    heads_of_orientations,
    see_orientations,
    seen_shapes,
    with_depth,
)
from tests.segmentation.maps import balls

FLOWS = {"method": "cellpose", "flows_head": "flows", "probability_head": "probability"}


def card(heads=(("flows", 2), ("probability", 1)), recipe=FLOWS, tile=(224, 224)):
    return ModelCard(
        name="planes",
        version="1",
        input=ModelInput(channels=(InputChannel("nuclear", "nuclei"),), tile=tile),
        heads=tuple(Head(name, "nuclear", "flows", channels) for name, channels in heads),
        postprocessing={"nuclear": recipe},
        default_compartment="nuclear",
        preprocessing=Preprocessing("none"),
        tiling=Tiling("constant", 0.1),
    )


def seen(plane):
    """What a perfect network gives for a plane of objects' ids: flows within it, and a logit."""
    labels = plane[..., 0].astype(np.int32)
    return {
        "flows": 5 * flows_of(labels),
        "probability": np.where(labels > 0, 3, -3)[..., np.newaxis].astype(np.float32),
    }


def test_objects_of_a_volume_are_found_by_planes_across_all_axes():
    truth = balls(3, (30, 42, 37), 14, 7)
    recipes = recipes_of(card(), ["nuclear"])
    heads = heads_of_orientations(truth[..., np.newaxis].astype(np.float32), recipes, seen)
    assert {name: each.shape for name, each in heads.items()} == {
        "flows": (*truth.shape, 3),
        "probability": (*truth.shape, 1),
    }
    found = segment_one(heads, recipes["nuclear"])
    assert found.shape == truth.shape
    matching = evaluate(truth, found)["matching"][0]
    assert matching["f1"] > 0.8
    # Each voxel's logit is the sum of what it is in three planes.
    np.testing.assert_array_equal(heads["probability"][..., 0], np.where(truth > 0, 9, -9))


def test_turning_a_volume_turns_its_heads():
    truth = balls(5, (16, 20, 24), 8, 5)
    recipes = recipes_of(card(), ["nuclear"])

    def flows(labels):
        volume = labels[..., np.newaxis].astype(np.float32)
        return heads_of_orientations(volume, recipes, seen)["flows"]

    turned = flows(truth.transpose(2, 1, 0))
    np.testing.assert_allclose(turned.transpose(2, 1, 0, 3)[..., ::-1], flows(truth), atol=1e-4)


def test_voxels_become_as_deep_as_wide():
    assert depth_for(10, 1.0, None) == 10
    assert depth_for(10, 0.5, (2.0, 0.5, 0.5)) == 20
    assert depth_for(10, 1.0, (2.0, 0.5, 0.5), 3.0) == 30
    assert depth_for(3, 0.1, None) == 1
    ramp = np.broadcast_to(np.arange(8, dtype=np.float32)[:, None, None, None], (8, 5, 6, 2))
    assert with_depth(ramp, 8) is ramp
    made = np.asarray(with_depth(ramp, 16))
    assert made.shape == (16, 5, 6, 2)
    expected = np.clip((np.arange(16) + 0.5) / 2 - 0.5, 0, 7)
    np.testing.assert_allclose(made[:, 2, 3, 1], expected, atol=1e-5)
    with pytest.raises(BadInput, match="anisotropy: expected the distance of planes"):
        depth_for(10, 1.0, None, -1.0)


@pytest.mark.parametrize("depth", [5, 11, 26])
def test_windows_of_a_deeper_volume_are_those_of_the_whole(depth):
    volume = np.random.default_rng(1).random((11, 9, 8, 2), np.float32)
    made = with_depth(volume, depth)
    whole = np.stack(
        [resize_image(volume[:, y], (depth, 8), resampling="averaged") for y in range(9)], axis=1
    )
    np.testing.assert_array_equal(np.asarray(made), whole)
    random = np.random.default_rng(2)
    for _ in range(20):
        window = tuple(slice(*np.sort(random.integers(0, side + 1, 2))) for side in whole.shape[:3])
        np.testing.assert_array_equal(made[window], whole[window])
    np.testing.assert_array_equal(made[2, :, 3, 1], whole[2, :, 3, 1])


class Repeated:
    """A volume that repeats a block along X; nothing of it is held."""

    dtype = np.dtype(np.float32)

    def __init__(self, block, width):
        self._block, self.shape = block, (*block.shape[:2], width, 1)

    def __getitem__(self, window):
        whole = (*window, *(slice(None),) * (3 - len(window)))[:3]
        columns = np.arange(self.shape[2])[whole[2]] % self._block.shape[2]
        return self._block[whole[0], whole[1]][:, :, columns]


def linear(plane):
    """What tells where a plane lies, and how."""
    flows = np.concatenate([np.cumsum(plane, 0), np.cumsum(plane, 1)], axis=-1)
    return {"flows": flows, "probability": plane * 3 - 1}


def test_what_is_held_is_the_budget_and_a_plane(tmp_path):
    block = np.random.default_rng(6).random((60, 20, 40, 1), np.float32)
    recipes = recipes_of(card(), ["nuclear"])
    volume = Repeated(block, 250)
    pixels = with_depth(volume, 90)
    shapes = combined_shapes(recipes, pixels.shape)
    expected = heads_of_orientations(np.asarray(pixels), recipes, linear)
    with (
        temporary_arrays(tmp_path, seen_shapes(recipes, pixels.shape), np.float32) as seen,
        temporary_arrays(tmp_path, shapes, np.float32) as heads,
    ):
        tracemalloc.start()
        try:
            see_orientations(pixels, linear, seen, memory=1 << 17)
            combine_seen(seen, recipes, heads, memory=1)
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        for name, head in heads.items():
            np.testing.assert_array_equal(head[...], expected[name])
        assert most < sum(head.nbytes for head in heads.values()) / 4
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("orientations", "made", "volume", "says"),
    [
        (2, {}, True, "orientations: expected 1 or 3, found 2"),
        (3, {}, False, 'expected 1 without z="all"'),
        (3, {"recipe": {"method": "voronoi_otsu"}}, True, "1, or a method of cellpose"),
        (
            3,
            {"heads": (("flows", 3),), "recipe": {**FLOWS, "probability_head": "flows"}},
            True,
            "a head of 2 channels for 'flows' alone",
        ),
    ],
)
def test_what_cannot_be_turned_is_refused(orientations, made, volume, says):
    given = card(**made)
    recipes = recipes_of(given, ["nuclear"])
    with pytest.raises(BadInput, match=says):
        check_orientations(orientations, given, recipes, volume=volume)
    check_orientations(1, given, recipes, volume=volume)
