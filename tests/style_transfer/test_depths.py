"""However often a generator halves the resolution, blocks of it equal the whole."""

import numpy as np
import pytest

from cellmill.errors import BadInput
from cellmill.inference.engines import load_network
from cellmill.style_transfer.applying import grid_for, transfer_volume
from cellmill.style_transfer.domains import Labelled, scored
from cellmill.style_transfer.gate import MARGIN
from cellmill.style_transfer.network import DEPTHS, build_generator, reach_of
from cellmill.style_transfer.sampling import Source
from cellmill.style_transfer.volumes import open_volume
from tests.style_transfer.generators import random_generator, tissue


@pytest.mark.tensorflow
@pytest.mark.parametrize("depth", DEPTHS)
def test_a_multiple_of_the_stride_gives_one_and_what_lies_beyond_the_halo_is_not_seen(depth):
    reach = reach_of(depth)
    generator = build_generator(1, depth=depth, residual=False)
    for weight in generator.weights:
        # What is made is a sum with positive weights of all that is seen.
        weight.assign(np.full(weight.shape, 1.0 / np.sqrt(np.prod(weight.shape[:-1]) or 1)))
    for more in (1, 2, 3):
        side = 2 * reach.halo + more * reach.stride
        made = np.asarray(generator(np.ones((1, side, side + reach.stride, 1), np.float32)))
        assert made.shape == (1, side - 2 * reach.halo, side + reach.stride - 2 * reach.halo, 1)
    # One bright pixel is seen by the cells of the stride within the halo, as far as half of it.
    side = 4 * reach.halo + 8 * reach.stride
    planes = np.zeros((2, side, side, 1), np.float32)
    middle = side // 2 // reach.stride * reach.stride
    planes[1, middle, middle] = 1
    dark, bright = np.asarray(generator(planes))[..., 0]
    rows = np.flatnonzero((dark != bright).any(1)) + reach.halo
    assert middle - reach.halo <= rows[0] < middle - reach.halo // 2
    assert middle + reach.halo // 2 < rows[-1] < middle + reach.halo + reach.stride


@pytest.mark.tensorflow
@pytest.mark.parametrize(("depth", "planes"), [(1, "zyx"), (3, "zyx"), (4, "z")])
def test_blocks_of_any_multiple_of_the_stride_equal_the_whole(tmp_path, depth, planes):
    volume = tissue((9, 70, 58))
    card = random_generator(tmp_path, width=2, depth=depth, planes=planes)
    found = []
    for engine, block in (
        ("tensorflow", 80),
        ("tensorflow", 32),
        ("openvino", 80),
        ("openvino", 48),
    ):
        grid, sized = grid_for(card, volume.shape, block)
        out = np.zeros(volume.shape, np.uint8)
        transfer_volume(volume, out, grid, load_network(tmp_path, sized, engine=engine))
        found.append(out)
    assert np.unique(found[0]).size > 40
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[2], found[3])
    stride = reach_of(depth).stride
    with pytest.raises(
        BadInput, match=f"block: expected a multiple of {stride}, found {stride + 1}"
    ):
        grid_for(card, volume.shape, stride + 1)


@pytest.mark.parametrize("depth", DEPTHS)
def test_planes_that_are_scored_have_room_for_two_passes_and_a_task(depth):
    reach = reach_of(depth)
    taken = 2 * reach.halo + 2 * max(reach.halo, MARGIN)
    for more, left in ((8, 8 if depth < 4 else 0), (500, 48)):
        size = (4, taken + more, taken + more)
        volume = Labelled(Source(open_volume(np.zeros(size, np.uint8))), np.ones(size, bool))
        if not left:
            with pytest.raises(BadInput, match=f"expected at least {taken + 16} voxels along y"):
                scored([volume], 0, reach)
            continue
        side = scored([volume], 0, reach).grey.shape[1]
        assert side == taken + left
        assert side % reach.stride == 0
        # What a generator makes of them is given to the gate's networks.
        assert (side - 2 * reach.halo) % reach_of(2).stride == 0
    with pytest.raises(BadInput, match="voxels along y and x, found 48"):
        scored([Labelled(Source(open_volume(np.zeros((4, 48, 48), np.uint8))))], 0, reach)
