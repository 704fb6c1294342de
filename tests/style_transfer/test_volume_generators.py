"""A generator of volumes begins as one of planes, and any block of it is the whole volume's."""

import numpy as np
import pytest

from cellmill.errors import BadInput
from cellmill.inference.blocks import BlockGrid as PredictedGrid
from cellmill.inference.predictor import Predictor
from cellmill.inference.proofs import prove
from cellmill.inference.registry import ENGINES
from cellmill.models.card import ModelCard
from cellmill.models.trust import check_network
from cellmill.style_transfer.applying import BlockGrid, grid_for, shard_of, transfer_volume
from cellmill.style_transfer.network import (
    build_generator,
    generator_card,
    inflated,
    reach_of,
)
from tests.style_transfer.generators import random_generator, tissue

pytestmark = pytest.mark.tensorflow
VOLUME = tissue((21, 46, 59))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generator")
    return folder, random_generator(folder, width=2, volume=True)


def applied(model, block, *, engine="openvino", volume=VOLUME, shards=1, **options):
    folder, card = model
    grid, card = grid_for(card, volume.shape, block)
    predictor = Predictor(folder, card, card.heads, engine=engine, threads=2)
    out = np.zeros(volume.shape, np.uint8)
    for shard in reversed(range(shards)):
        blocks = shard_of(grid.blocks, shard, shards)
        about = transfer_volume(volume, out, grid, predictor, blocks=blocks, **options)
    return out, about


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("residual", [False, True])
def test_inflated_it_makes_what_the_generator_of_planes_makes(depth, residual):
    flat = build_generator(2, depth=depth, residual=residual)
    deep = build_generator(2, depth=depth, residual=residual, volume=True)
    random, reach = np.random.default_rng(0), reach_of(depth, volume=True)
    drawn = [random.normal(0, 1, weight.shape) for weight in flat.weights]
    flat.set_weights([each / np.sqrt(np.prod(each.shape[:-1])) for each in drawn])
    deep.set_weights(inflated(flat.get_weights(), deep))
    side = 2 * reach.halo + 2 * reach.stride
    planes = random.normal(0, 1, (2 * reach.halo_z + 3, side, side + reach.stride, 1))
    (made,) = np.asarray(deep(planes[np.newaxis]))
    assert made.shape == (3, 2 * reach.stride, 3 * reach.stride, 1)
    wanted = np.asarray(flat(planes[reach.halo_z : -reach.halo_z]))
    assert wanted.std() > 0.01
    np.testing.assert_allclose(made, wanted, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("engine", ["tensorflow", "openvino"])
def test_blocks_equal_the_whole(model, engine):
    whole, about = applied(model, 60, engine=engine)
    assert about.blocks == 1
    assert np.unique(whole).size > 100
    for block, shards in ((16, 1), (36, 3)):
        found, about = applied(model, block, engine=engine, shards=shards)
        np.testing.assert_array_equal(found, whole)


def test_a_volume_may_be_one_section(tmp_path):
    card = random_generator(tmp_path, width=2, depth=1, volume=True)
    made, about = applied((tmp_path, card), 60, volume=VOLUME[:1])
    again, _ = applied((tmp_path, card), 20, volume=VOLUME[:1])
    np.testing.assert_array_equal(made, again)
    assert about.voxels == VOLUME[0].size
    # A section that is mirrored is among sections like itself.
    same, _ = applied((tmp_path, card), 20, volume=VOLUME[:1].repeat(5, 0))
    np.testing.assert_array_equal(made[0], same[2])


def test_it_sees_other_sections_and_none_beyond_its_halo(model):
    whole, _ = applied(model, 20)
    changed = VOLUME.copy()
    changed[10] = 255 - changed[10]
    differs = (applied(model, 20, volume=changed)[0] != whole).any((1, 2))
    assert differs.tolist() == [abs(z - 10) <= 5 for z in range(21)]


@pytest.mark.parametrize("side", [160, 200, 512, 1000, 1024, 4096, 20000])
@pytest.mark.parametrize("volume", [True, False])
def test_at_the_default_block_little_is_read_twice_or_fed_beyond_the_end(volume, side):
    card = generator_card("a", reach=reach_of(2, volume=volume))
    grid, sized = grid_for(card, (side,) * 3)
    assert grid.amplification() < (1.7 if volume else 1.6)
    assert sized.input.tile[-1] == grid.side + 40
    assert grid.fed() <= grid_for(card, (side,) * 3, 160 if volume else 256)[0].fed()


def test_a_thin_volume_is_read_as_deep_as_it_is():
    grid, card = grid_for(generator_card("a", reach=reach_of(2, volume=True)), (20, 1024, 1024))
    assert grid.halos == (5, 20, 20)
    assert card.input.tile == (30, grid.side + 40, grid.side + 40)


def test_what_was_read_is_what_the_grid_says_and_background_is_kept(model):
    grid = BlockGrid(VOLUME.shape, 20, 20, "volume", 4, 5)
    whole, about = applied(model, 20)
    assert about.read_amplification == grid.amplification() > 1
    mask = np.zeros(VOLUME.shape, np.uint8)
    mask[:20, 5:15, 3:19] = 1
    found, about = applied(model, 20, mask=mask)
    np.testing.assert_array_equal(found, np.where(mask, whole, VOLUME))


def test_its_card_says_margins_and_strides_along_each_axis_and_an_engine_may_prove_equal(model):
    folder, card = model
    check_network(folder)
    again = ModelCard.load(folder)
    assert again == card
    (head,) = again.heads
    assert (head.margins(3), again.tiling.alignments(3)) == ((5, 20, 20), (1, 4, 4))
    assert head.shape_over(again.input.tile) == (32, 32, 32, 1)
    assert prove(folder, again, ENGINES["openvino"]).largest_difference < 1e-4


def test_what_it_cannot_do_is_said_in_one_line(model):
    _, card = model
    with pytest.raises(BadInput, match="block: expected a multiple of 4, found 34"):
        grid_for(card, VOLUME.shape, 34)
    with pytest.raises(BadInput, match="planes: expected none with a network of volumes"):
        grid_for(card, VOLUME.shape, 20, "zyx")
    with pytest.raises(BadInput, match=r"a network without a margin \(transfer_style"):
        PredictedGrid.over(card, VOLUME.shape)
