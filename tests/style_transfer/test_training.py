"""A training repeats and goes on exactly; what is returned is what the gate chose."""

from dataclasses import replace

import numpy as np
import pytest

from cellmill.datasets.synthetic_em import LOOK_X, LOOK_Y, make_tissue, show
from cellmill.errors import BadInput
from cellmill.inference.engines import load_network
from cellmill.style_transfer.augmentation import varied
from cellmill.style_transfer.cyclegan import build_networks
from cellmill.style_transfer.domains import Labelled
from cellmill.style_transfer.fitting import export_chosen, fit_transfer, transferred
from cellmill.style_transfer.network import generator_card
from cellmill.style_transfer.parameters import TransferParameters
from cellmill.style_transfer.sampling import Source
from cellmill.style_transfer.training import (
    Domain,
    averaged_generator,
    train,
)
from cellmill.style_transfer.volumes import open_volume

pytestmark = pytest.mark.tensorflow
SHAPE = (10, 104, 104)
TINY = TransferParameters(
    steps=4,
    batch_size=2,
    crop=96,
    width=2,
    discriminator_width=2,
    checkpoint_every=2,
    planes="z",
    cycle=0.0,
    identity=0.0,
)


def labelled(look, seed, box=(0, 0, 0, *SHAPE)):
    tissue = make_tissue(SHAPE, seed=seed)
    volume = open_volume(show(tissue, look, seed=seed), name=f"volume {seed}")
    return Labelled(Source(volume, boxes=(box,)), tissue.membranes)


X = labelled(LOOK_X, 1, (0, 0, 0, 7, 104, 104))
Y = labelled(LOOK_Y, 2)
HELD_OUT = labelled(LOOK_X, 1, (7, 0, 0, *SHAPE))


class Killed(Exception):
    pass


def kill(step):
    if step == 3:
        raise Killed


def kill_at_once(step):
    raise Killed


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    return fit_transfer([X], [Y], [HELD_OUT], TINY, folder, task_steps=60), TINY, folder


def domains(found):
    return [
        Domain([each.source], levels) for each, levels in zip((X, Y), found.levels, strict=True)
    ]


def test_a_killed_training_goes_on_to_the_same_curve(fitted, tmp_path):
    whole, _, folder = fitted
    with pytest.raises(Killed):
        train(build_networks(TINY), *domains(whole), TINY, tmp_path, kill)
    seen = []
    again = train(build_networks(TINY), *domains(whole), TINY, tmp_path, seen.append)
    assert seen == [3, 4]
    assert again == whole.curve
    assert [each.step for each in again] == [0, 2, 4]
    one, other = (averaged_generator(place, 4, TINY) for place in (folder, tmp_path))
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    first = averaged_generator(folder, 0, TINY).get_weights()
    assert any((a != b).any() for a, b in zip(first, one.get_weights(), strict=True))
    # What is done is not done again, and other work begins anew.
    assert train(build_networks(TINY), *domains(whole), TINY, folder, kill_at_once) == again
    other = replace(TINY, seed=1)
    with pytest.raises(Killed):
        train(build_networks(other), *domains(whole), other, tmp_path, None, kill_at_once)


def test_the_best_on_the_planes_that_choose_is_returned(fitted):
    """After so few steps that is matching: a plain generator does not begin there."""
    found, _, _ = fitted
    by_name = {row.name: row for row in found.rows}
    assert list(by_name) == [
        *("as is", "mean and SD", "histogram", "upper bound"),
        *("step 0", "step 2", "step 4"),
    ]
    assert found.chosen.f1 == max(by_name["mean and SD"].f1, by_name["histogram"].f1)
    assert found.chosen.step == -1
    figures = np.array([row.figures for row in found.rows])
    assert ((figures >= 0) & (figures <= 1)).all()
    # Planes that choose are not those that score.
    assert (figures[:4, :2] != figures[:4, 2:]).all()


def test_one_held_out_section_cannot_both_choose_and_score(fitted):
    _, _, folder = fitted
    one = HELD_OUT.between(9, 10)
    with pytest.raises(BadInput, match="held-out volume: expected at least 2 sections, found 1"):
        fit_transfer([X], [Y], [one], TINY, folder)


@pytest.mark.parametrize("step", [-1, 2])
@pytest.mark.parametrize("back", [False, True])
def test_what_is_written_is_what_was_chosen(fitted, tmp_path, step, back):
    found, parameters, checkpoints = fitted
    name = "histogram" if step < 0 else f"step {step}"
    found = replace(found, chosen=replace(found.chosen, name=name, step=step))
    export_chosen(found, parameters, checkpoints, tmp_path, back=back)
    planes = found.samples[:3].astype(np.float32)
    card = generator_card(
        "made", reach=TINY.reach, planes="z", block=planes.shape[1] - 2 * TINY.reach.halo
    )
    card.save(tmp_path)
    wanted = transferred(found, parameters, checkpoints, planes, back=back)
    for engine in ("tensorflow", "openvino"):
        (made,) = load_network(tmp_path, card, engine=engine)(planes[..., None])
        np.testing.assert_allclose(made[..., 0], wanted, atol=0.02)


def test_a_residual_generator_begins_at_matching(fitted):
    found, _, _ = fitted
    networks = build_networks(replace(TINY, residual=True))
    grey = np.random.default_rng(0).normal(0, 1, (1, 96, 96, 1)).astype(np.float32)
    np.testing.assert_array_equal(np.asarray(networks.to_y(grey)), grey[:, 20:-20, 20:-20])
    assert found.levels[0][0] < found.levels[1][0]


def test_without_truth_there_is_no_gate(fitted):
    _, _, folder = fitted
    bare = [[replace(each, truth=None)] for each in (X, Y, HELD_OUT)]
    found = fit_transfer(*bare, TINY, folder)
    assert (found.rows, found.chosen.name) == ([], "step 4")
    with pytest.raises(BadInput, match="truth: expected that of X and of Y, or of neither"):
        fit_transfer([X], bare[1], [HELD_OUT], TINY, folder)


def test_a_plane_and_its_truth_are_turned_together():
    image = np.arange(25, dtype=np.float32).reshape(5, 5)
    seen = set()
    for seed in range(60):
        turned, truth = varied(np.random.default_rng(seed), image, image.astype(int))
        seen.add(truth.tobytes())
        gain = (turned - turned.min()) / (truth - truth.min() + 1e-9)
        values = gain[truth > 0]
        assert np.ptp(values) < 1e-3
        assert 1 <= values.mean() <= 1.051
    assert len(seen) == 8


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"crop": 98}, "crop: expected a multiple of 4 from 96 at depth 2, found 98"),
        ({"crop": 92}, "crop: expected a multiple of 4 from 96 at depth 2, found 92"),
        ({"steps": 0}, "steps: expected at least 1, found 0"),
        ({"crop": 46, "depth": 1}, "crop: expected a multiple of 2 from 48 at depth 1, found 46"),
        ({"depth": 3}, "crop: expected a multiple of 8 from 208 at depth 3, found 96"),
        ({"crop": 404, "depth": 4}, "crop: expected a multiple of 16 from 400 at depth 4, found 4"),
        ({"depth": 5}, "depth: expected 1 to 4, found 5"),
        ({"objective": "hinge"}, "objective: expected least_squares or focal, found 'hinge'"),
        ({"planes": "xy"}, "planes: expected z, y, x or zyx"),
        ({"learning_rate": 0.0}, "learning_rate: expected 0 to 1"),
        ({"missing": 0.1}, "missing: expected 0 where planes are cut across z"),
        ({"folds": 2.0}, "folds: expected 0 to 1, found 2.0"),
        ({"cycle": float("nan")}, "cycle: expected 0 or more"),
    ],
)
def test_parameters_are_checked(given, line):
    with pytest.raises(BadInput) as found:
        replace(TINY, **given)
    assert line in str(found.value)
