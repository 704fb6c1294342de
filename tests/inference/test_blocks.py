"""A network that sees volumes gives by blocks what it gives of the whole volume at once."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cellmill.errors import BadInput
from cellmill.inference.blocks import BlockAxis, BlockGrid, fitted, predict_volume
from cellmill.inference.tiled import card_grid
from cellmill.models.card import Head, InputChannel, ModelCard, ModelInput, Tiling

#: Voxels that the network reads around each, along every axis.
REACH = 3


def card(tile=(16, 16, 24), overlap=0.5, alignment=4, strides=(1, 2)) -> ModelCard:
    stride_z, stride = strides
    heads = (
        Head("probability", "nuclear", "pixelwise", 1, stride, "cropped", stride_z=stride_z),
        Head("distances", "nuclear", "ray_distances", 5, stride, "cropped", stride_z=stride_z),
    )
    return ModelCard(
        name="blocks",
        version="1",
        input=ModelInput((InputChannel("nuclear"),), tile=tile),
        heads=heads,
        postprocessing={
            "nuclear": {
                "method": "stardist",
                "probability_head": "probability",
                "distances_head": "distances",
            }
        },
        default_compartment="nuclear",
        tiling=Tiling("reflect", overlap, alignment),
    )


def network(strides):
    """Give two heads: a mean around each voxel, nothing being beyond the block; and its powers."""
    stride_z, stride = strides

    def predict(blocks):
        heads = []
        for block in blocks:
            around = ndimage.uniform_filter(
                block[..., 0].astype(np.float64), 2 * REACH + 1, mode="constant"
            )[::stride_z, ::stride, ::stride]
            heads.append([around[..., None], np.stack([around**k for k in range(5)], axis=-1)])
        return [np.stack(each).astype(np.float32) for each in zip(*heads, strict=True)]

    return predict


def by_blocks(volume, made, strides, batch_size=2):
    grid = BlockGrid.over(made, volume.shape[:3])
    outputs = [
        np.full(head.shape_over(volume.shape[:3]), np.nan, np.float32) for head in made.heads
    ]
    predict_volume(volume, network(strides), grid, outputs, made.heads, batch_size)
    return outputs


def at_once(volume, alignment, strides):
    rest = [(0, -side % alignment) for side in volume.shape[:3]]
    whole = np.pad(volume, [*rest, (0, 0)], mode="reflect")
    return [head[0] for head in network(strides)(whole[None])]


@settings(max_examples=25)
@given(
    shape=st.tuples(st.integers(5, 40), st.integers(5, 60), st.integers(5, 60)),
    tile=st.sampled_from([(16, 16, 24), (24, 16, 16), (16, 32, 16)]),
    strides=st.sampled_from([(1, 1), (1, 2), (2, 2), (2, 4)]),
)
def test_blocks_give_what_the_whole_gives(shape, tile, strides):
    made = card(tile, strides=strides)
    volume = np.random.default_rng(sum(shape)).random((*shape, 1)).astype(np.float32)
    found = by_blocks(volume, fitted(made, shape), strides)
    for head, wanted in zip(found, at_once(volume, 4, strides), strict=True):
        wanted = wanted[tuple(slice(0, n) for n in head.shape[:3])]
        np.testing.assert_allclose(head, wanted, rtol=0, atol=1e-6)


def test_a_small_volume_is_one_block_no_larger_than_it_must_be():
    made = fitted(card((64, 64, 64)), (10, 30, 90))
    assert made.input.tile == (12, 32, 64)
    assert len(BlockGrid.over(made, (10, 30, 90))) == 2
    assert fitted(card(), (400, 400, 400)).input.tile == (16, 16, 24)


@settings(max_examples=50)
@given(
    size=st.integers(1, 200),
    blocks=st.sampled_from([(16, 8, 4), (24, 8, 4), (32, 16, 8), (8, 0, 8)]),
)
def test_every_voxel_is_given_by_one_block_that_sees_enough_around_it(size, blocks):
    side, overlap, alignment = blocks
    axis = BlockAxis.over(size, side, overlap, alignment)
    given_by = np.zeros(size, int)
    for number, start in enumerate(axis.starts):
        whole, own = axis.inner(number, 1)
        given_by[whole] += 1
        assert own.stop - own.start == whole.stop - whole.start
        assert start % alignment == 0
        assert number == 0 or whole.start - start >= overlap // 2
        is_last = number == len(axis.starts) - 1
        assert is_last or start + side - whole.stop >= overlap // 2
    np.testing.assert_array_equal(given_by, 1)


def test_what_is_held_is_a_batch_of_blocks():
    made, most = card(), []

    class Windows:
        shape, dtype = (48, 64, 96, 1), np.dtype(np.uint16)

        def __getitem__(self, window):
            sides = [part.stop - part.start for part in window]
            most.append(np.prod(sides))
            return np.zeros((*sides, 1), np.uint16)

    grid = BlockGrid.over(made, Windows.shape[:3])
    outputs = [np.zeros(head.shape_over(Windows.shape[:3]), np.float32) for head in made.heads]
    counts = []
    predict_volume(Windows(), network((1, 2)), grid, outputs, made.heads, 3, counts.append)
    assert max(most) <= 16 * 16 * 24
    assert sum(counts) == len(grid) > 20


def test_what_does_not_fit_is_said_in_one_line():
    made = card()
    with pytest.raises(BadInput, match=r"^model 'blocks': expected a network of planes for ima"):
        card_grid(made, (64, 64))
    planar = replace(made, input=replace(made.input, tile=(16, 16)))
    with pytest.raises(BadInput, match=r"^model 'blocks': expected a network that sees volumes"):
        BlockGrid.over(planar, (9, 9, 9))
    grid = BlockGrid.over(made, (9, 9, 9))
    with pytest.raises(BadInput, match=r"^volume: expected \(Z, Y, X\) = \(9, 9, 9\), found"):
        predict_volume(np.zeros((9, 9, 8, 1)), network((1, 2)), grid, [], made.heads)
    with pytest.raises(BadInput, match=r"^model outputs: expected shapes"):
        predict_volume(np.zeros((9, 9, 9, 1)), network((1, 1)), grid, [], made.heads)
