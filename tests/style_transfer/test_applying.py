"""Any block holds what the whole volume's output holds there, whoever makes it and when."""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellmill.arrays.store import Ledger
from cellmill.errors import BadInput
from cellmill.inference.engines import load_network
from cellmill.inference.predictor import Predictor
from cellmill.models.card import ModelCard
from cellmill.models.chosen import chosen_compartments
from cellmill.models.shipped import shipped_models
from cellmill.style_transfer.applying import BlockGrid, grid_for, shard_of, transfer_volume
from tests.style_transfer.generators import random_generator, tissue

pytestmark = pytest.mark.tensorflow
VOLUME = tissue((33, 46, 59))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generator")
    return folder, random_generator(folder)


def applied(model, block=0, planes="", *, engine="openvino", volume=VOLUME, **options):
    folder, card = model
    grid, card = grid_for(card, volume.shape, block, planes)
    out = np.zeros(volume.shape, np.uint8)
    network = load_network(folder, card, engine=engine)
    return out, transfer_volume(volume, out, grid, network, **options)


@pytest.mark.parametrize("planes", ["zyx", "z", "x"])
@pytest.mark.parametrize("engine", ["tensorflow", "openvino"])
def test_blocks_equal_the_whole(model, engine, planes):
    whole, about = applied(model, 60, planes, engine=engine)
    assert about.blocks == 1
    assert np.unique(whole).size > 100
    for block in (20, 36):
        found, about = applied(model, block, planes, engine=engine)
        assert about.blocks > 1
        np.testing.assert_array_equal(found, whole)


def test_engines_differ_by_rounding_alone(model):
    one, _ = applied(model, 36, engine="tensorflow")
    other, _ = applied(model, 36)
    difference = np.abs(one.astype(int) - other)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


def test_three_axes_are_averaged_before_they_are_rounded(model):
    folder, card = model
    _, card = grid_for(card, VOLUME.shape, 60, "zyx")
    network = load_network(folder, card, engine="openvino")
    padded = np.pad(VOLUME, [(20, 20 + 60 - n) for n in VOLUME.shape], mode="reflect")
    total = 0.0
    for axis in range(3):
        planes = np.moveaxis(padded, axis, 0)[20 : 20 + VOLUME.shape[axis], ..., None]
        (made,) = network(planes.astype(np.float32))
        total = total + np.moveaxis(made[..., 0], 0, axis)[:33, :46, :59]
    wanted = np.rint(np.clip(total / np.float32(3), 0, 255)).astype(np.uint8)
    np.testing.assert_array_equal(applied(model, 60)[0], wanted)


def test_a_batch_changes_nothing(model):
    np.testing.assert_array_equal(
        applied(model, 36, "z", batch_size=1)[0], applied(model, 36, "z", batch_size=5)[0]
    )


@pytest.mark.parametrize("block", [34, 1, 2, -4])
def test_other_blocks_are_refused_in_one_line(model, block):
    with pytest.raises(BadInput, match=f"block: expected a multiple of 4, found {block}"):
        grid_for(model[1], VOLUME.shape, block)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 70)] * 3),
    side=st.integers(1, 20).map(lambda n: 4 * n),
    halo=st.integers(0, 24),
    planes=st.sampled_from(["z", "y", "x", "zyx"]),
    shards=st.integers(1, 7),
)
def test_blocks_are_the_volume_once_and_are_read_mirrored(shape, side, halo, planes, shards):
    grid = BlockGrid(shape, side, halo, planes, 4)
    seen = np.zeros(shape, int)
    parts = [shard_of(grid.blocks, shard, shards) for shard in range(shards)]
    for block in itertools.chain(*parts):
        seen[block] += 1
    assert (seen == 1).all()
    volume = np.arange(np.prod(shape)).reshape(shape)
    block = grid.blocks[-1]
    box, count = grid.box(volume, block)
    halos = grid.halos
    ends = [
        (h, p.start + side + h - n if h else 0) for h, p, n in zip(halos, block, shape, strict=True)
    ]
    padded = np.pad(volume, [(a, max(b, 0)) for a, b in ends], mode="reflect")
    window = tuple(
        slice(p.start, (p.start + side if h else p.stop) + 2 * h)
        for h, p in zip(halos, block, strict=True)
    )
    np.testing.assert_array_equal(box, padded[window])
    assert count <= volume.size


def test_what_is_read_for_each_voxel_is_as_documented():
    assert BlockGrid((1024,) * 3, 256, 20, "zyx", 4).amplification() < 1.55
    assert BlockGrid((2560,) * 3, 256, 20, "zyx", 4).amplification() < 296**3 / 256**3
    assert BlockGrid((1024,) * 3, 256, 20, "z", 4).amplification() < 1.34


def test_what_was_read_is_counted(model):
    _, about = applied(model, 20, "z")
    grid = BlockGrid(VOLUME.shape, 20, 20, "z", 4)
    assert about.read_amplification == grid.amplification()
    assert about.voxels == VOLUME.size


def test_background_is_kept_by_the_mask(model):
    mask = np.zeros(VOLUME.shape, np.uint8)
    mask[:20, 5:15, 3:19] = 1
    whole, _ = applied(model, 20)
    found, about = applied(model, 20, mask=mask)
    np.testing.assert_array_equal(found, np.where(mask, whole, VOLUME))
    assert (about.blocks, about.empty) == (1, 17)


class Endless:
    """A volume that takes no memory: what is read follows from its place, writes are lost."""

    def __init__(self, shape):
        self.shape, self.dtype = shape, np.dtype(np.uint8)

    def __getitem__(self, window):
        return sum(np.ix_(*(np.arange(part.start, part.stop) % 80 for part in window)))

    def __setitem__(self, window, values):
        assert values.shape == tuple(part.stop - part.start for part in window)


def test_what_is_held_does_not_grow_with_the_volume():
    """A block with its halo, its sums, and a batch of planes."""

    def held(shape):
        grid = BlockGrid(shape, 32, 20, "zyx", 4)
        tracemalloc.start()
        done = transfer_volume(
            Endless(shape), Endless(shape), grid, lambda tiles: [tiles[:, 20:-20, 20:-20]]
        )
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return done.blocks, peak

    (few, small), (many, large) = held((64, 128, 128)), held((64, 256, 512))
    assert (few, many) == (32, 256)
    assert large < 1.05 * small
    assert large < 30 * 72**3


class Killed(Exception):
    pass


def test_a_killed_task_goes_on_where_it_was(model, tmp_path):
    whole, _ = applied(model, 20)
    folder, card = model
    grid, card = grid_for(card, VOLUME.shape, 20)
    network = load_network(folder, card, engine="openvino")
    out = np.zeros(VOLUME.shape, np.uint8)
    left = iter(range(7))

    def kill(block):
        if next(left) == 6:
            raise Killed

    ledger = Ledger(str(tmp_path / "marks"), "work")
    with pytest.raises(Killed):
        transfer_volume(VOLUME, out, grid, network, ledger=ledger, on_block=kill)
    about = transfer_volume(VOLUME, out, grid, network, ledger=ledger)
    assert (about.resumed, about.blocks) == (7, 11)
    np.testing.assert_array_equal(out, whole)


def test_what_a_network_cannot_do_is_said_in_one_line(model):
    card = model[1]
    with pytest.raises(BadInput, match="expected one that finds objects, found one that makes"):
        chosen_compartments(card, "")
    nuclei = ModelCard.load(next(iter(shipped_models().values())))
    with pytest.raises(BadInput, match="expected a network that makes images, found inner_dist"):
        grid_for(nuclei, VOLUME.shape)
    with pytest.raises(BadInput, match="planes: expected one of z, y, x, zyx, found 'xy'"):
        grid_for(card, VOLUME.shape, 20, "xy")
    with pytest.raises(BadInput, match="shard: expected 0 to 1, found 2"):
        shard_of((), 2, 2)
    with pytest.raises(BadInput, match=r"mask: expected shape \(33, 46, 59\)"):
        applied(model, 20, mask=VOLUME[1:])


def test_a_card_says_the_halo_and_the_axes(model):
    folder, card = model
    again = ModelCard.load(folder)
    assert again == card
    assert (again.heads[0].margin, again.tiling.alignment, again.input.planes) == (20, 4, "zyx")
    assert Predictor(folder, again, again.heads, engine="openvino").engine == "openvino"
