"""A training goes on with volumes, to the same curve after a kill; the gate scores what comes."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest

from cellmill.datasets.synthetic_em import LOOK_X, LOOK_Y, make_tissue, show
from cellmill.errors import BadInput
from cellmill.inference.engines import load_network
from cellmill.models.card import ModelCard
from cellmill.style_transfer.applying import grid_for, transfer_volume
from cellmill.style_transfer.augmentation import varied
from cellmill.style_transfer.cyclegan import build_networks, compiled_step, inflate
from cellmill.style_transfer.domains import Labelled, scored
from cellmill.style_transfer.fitting import export_chosen, fit_transfer, there_and_back, transferred
from cellmill.style_transfer.gate import between
from cellmill.style_transfer.network import generator_card
from cellmill.style_transfer.parameters import TransferParameters
from cellmill.style_transfer.sampling import Source
from cellmill.style_transfer.training import Domain, averaged_generator, train
from cellmill.style_transfer.volumes import open_volume

pytestmark = pytest.mark.tensorflow
SHAPE = (17, 88, 88)
TINY = TransferParameters(
    steps=2,
    batch_size=2,
    crop=48,
    depth=1,
    width=2,
    discriminator_width=2,
    checkpoint_every=2,
    planes="z",
    volume_steps=3,
    sections=13,
    cycle=1.0,
    identity=1.0,
)


def labelled(look, seed, box):
    tissue = make_tissue(SHAPE, seed=seed)
    volume = open_volume(show(tissue, look, seed=seed), name=f"volume {seed}")
    return Labelled(Source(volume, boxes=(box,)), tissue.membranes)


X = labelled(LOOK_X, 1, (0, 0, 0, 13, *SHAPE[1:]))
Y = labelled(LOOK_Y, 2, (0, 0, 0, *SHAPE))
HELD_OUT = labelled(LOOK_X, 1, (13, 0, 0, *SHAPE))


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    return fit_transfer([X], [Y], [HELD_OUT], TINY, folder, task_steps=20), folder


def test_a_killed_training_goes_on_to_the_same_curve(fitted, tmp_path):
    """From the last checkpoint of planes, then from one of volumes."""
    whole, folder = fitted
    domains = [
        Domain([each.source], levels) for each, levels in zip((X, Y), whole.levels, strict=True)
    ]
    for last, begun in ((3, 1), (5, 3), (6, 5)):
        networks, seen = build_networks(TINY), []

        def note(step, seen=seen, last=last):
            seen.append(step)
            if step == last:
                raise Killed

        with pytest.raises(Killed) if last < 6 else contextlib.nullcontext():
            again = train(networks, *domains, TINY, tmp_path, note)
        assert seen[0] == begun
        assert networks.see_volumes
    assert again == whole.curve
    assert [each.step for each in again] == [0, 2, 4, 5]
    one, other = (averaged_generator(place, 5, TINY) for place in (folder, tmp_path))
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    # The sections beside its own are learnt from.
    kernel = one.layers[3].get_weights()[0]
    assert kernel.shape[:3] == (3, 3, 3)
    assert (kernel[[0, 2]] != 0).all()


def test_every_checkpoint_is_scored_and_the_best_returned(fitted):
    found, _ = fitted
    names = ["step 0", "step 2", "step 4, 3-D", "step 5, 3-D"]
    assert [row.name for row in found.rows if row.step >= 0] == names
    assert all(np.isfinite(row.figures).all() for row in found.rows)
    ahead = [row.f1 for row in found.rows if row.step >= 0 and row.least_lead > 0]
    matched = [row.f1 for row in found.rows if row.name in ("mean and SD", "histogram")]
    assert found.chosen.f1 == max(ahead or matched)


def test_what_the_gate_scores_is_what_the_volume_becomes(fitted, tmp_path):
    found, checkpoints = fitted
    found = replace(found, chosen=replace(found.chosen, step=5))
    export_chosen(found, TINY, checkpoints, tmp_path, back=False)
    generator_card("made", reach=TINY.reach_at(5)).save(tmp_path)
    volume = HELD_OUT.volume[...]
    grid, card = grid_for(ModelCard.load(tmp_path), volume.shape, 30)
    out = np.zeros_like(volume)
    transfer_volume(volume, out, grid, load_network(tmp_path, card, engine="tensorflow"))
    given, made, returned = there_and_back(found, TINY, checkpoints)
    # The samples are planes of the last two sections, where the volume ends.
    sections = [int(np.flatnonzero((volume == plane).all((1, 2)))[0]) for plane in given]
    assert sorted({*sections}) == [15, 16]
    wanted = out[sections, 8:-8, 8:-8]
    assert np.abs(np.rint(np.clip(made, 0, 255)) - wanted).max() <= 1
    assert returned.shape == (len(given), given.shape[1] - 32, given.shape[2] - 32)


def test_planes_come_between_the_sections_of_their_volume():
    planes = scored([HELD_OUT], 0, TINY.reach_at(5))
    assert planes.grey.shape[:2] == (4, 13)
    padded = np.pad(HELD_OUT.volume[...], [(6, 6), (0, 0), (0, 0)], mode="reflect")
    side = planes.grey.shape[2]
    y = x = (88 - side) // 2
    for z, slab in enumerate(planes.grey, start=13):
        np.testing.assert_array_equal(slab, padded[z : z + 13, y : y + side, x : x + side])
    np.testing.assert_array_equal(between(planes.grey), scored([HELD_OUT], 0, TINY.reach).grey)
    np.testing.assert_array_equal(between(planes.grey, 3), planes.grey[:, 3:10])


@pytest.mark.parametrize("back", [False, True])
def test_what_is_written_is_what_was_chosen(fitted, tmp_path, back):
    found, checkpoints = fitted
    found = replace(found, chosen=replace(found.chosen, step=5))
    export_chosen(found, TINY, checkpoints, tmp_path, back=back)
    card = generator_card("made", reach=TINY.reach_at(5), block=60)
    slabs = between(found.samples, 4).astype(np.float32)
    card = replace(card, input=replace(card.input, tile=slabs.shape[1:]))
    wanted = transferred(found, TINY, checkpoints, slabs, back=back)
    for engine in ("tensorflow", "openvino"):
        (made,) = load_network(tmp_path, card, engine=engine)(slabs[..., np.newaxis])
        np.testing.assert_allclose(made[..., 0], wanted, atol=0.02)


def test_mixed_precision_goes_on():
    asked = replace(TINY, precision="mixed_float16", residual=True)
    networks = build_networks(asked)
    inflate(networks, asked)
    before = networks.to_y.get_weights()
    step, random = compiled_step(networks, asked), np.random.default_rng(0)
    losses = step(*random.normal(0, 1, (2, 1, 13, 48, 48, 1)).astype(np.float32))
    assert np.isfinite([float(loss) for loss in losses]).all()
    assert any((a != b).any() for a, b in zip(before, networks.to_y.get_weights(), strict=True))
    assert {weight.dtype for weight in networks.to_y.weights} == {"float32"}
    assert networks.to_y.layers[1].compute_dtype == "float16"


def test_sections_of_a_volume_are_turned_alike():
    image = np.arange(75, dtype=np.float32).reshape(3, 5, 5)
    seen = set()
    for seed in range(120):
        turned, truth = varied(np.random.default_rng(seed), image, image.astype(int))
        assert np.argsort(turned, axis=None).tolist() == np.argsort(truth, axis=None).tolist()
        order = truth[:, 0, 0] // 25
        assert (truth // 25 == order[:, None, None]).all()
        seen.add(truth.tobytes())
    assert len(seen) == 16


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"sections": 12}, "sections: expected 0, or at least 13 at depth 1, found 12"),
        ({"volume_steps": -1}, "volume_steps: expected 0 or more, found -1"),
        ({"volume_batch_size": 0}, "volume_batch_size: expected at least 1, found 0"),
        ({"planes": "y"}, "planes: expected z or zyx before volumes, found 'y'"),
        ({"steps": 0, "volume_steps": 0}, "steps: expected at least 1, found 0"),
    ],
)
def test_parameters_are_checked(given, line):
    with pytest.raises(BadInput) as found:
        replace(TINY, **given)
    assert line in str(found.value)


def test_volumes_without_room_for_crops_are_refused_before_anything_is_trained(tmp_path):
    asked = replace(TINY, sections=14)
    with pytest.raises(BadInput, match=r"expected room for crops of \(14, 48, 48\)"):
        fit_transfer([X], [Y], [HELD_OUT], asked, tmp_path)
    assert not list(tmp_path.iterdir())
