"""A training that is killed goes on from its checkpoint to the same curve and weights."""

import dataclasses

import numpy as np
import pytest

from cellmill.arrays.checkpoints import Checkpoints
from cellmill.errors import BadInput
from cellmill.training.augmentation import Augmentation
from cellmill.training.card import head_names
from cellmill.training.classes import ClassObjective
from cellmill.training.fit import FitParameters, fit, seed_everything
from cellmill.training.images import TrainingImage
from cellmill.training.instances import INSTANCES
from cellmill.training.network import build_class_network, build_network, build_star_network
from cellmill.training.stars import StarObjective
from cellmill.training.state import Keeping
from cellmill.training.volume_network import VolumeShape, build_volume_network
from cellmill.training.volumes import VOLUME_AUGMENTATION, VolumeObjective

PARAMETERS = FitParameters(steps=5, batch_size=1, crop=32, validate_every=3, learning_rate=0.01)
WIDTHS = (4, 6, 8)
FLAT = VolumeShape.for_voxels(4.0, (4, 6))
TAUGHT = {
    "inner distances": (INSTANCES, lambda: build_network(1, head_names("nuclear"), WIDTHS)),
    "stars": (StarObjective(8), lambda: build_star_network(1, ("p", "d"), 8, WIDTHS)),
    "classes": (ClassObjective((1.0, 2.0)), lambda: build_class_network(1, "classes", 2, WIDTHS)),
    "volumes": (
        VolumeObjective((4.0, 1.0, 1.0), FLAT),
        lambda: build_volume_network(1, head_names("nuclear"), FLAT),
    ),
}


class Killed(Exception):
    pass


def kill(done, _loss):
    if done == 4:
        raise Killed


def images(seed, what):
    shape = (4, 32, 48) if what == "volumes" else (32, 48)
    labels = np.zeros(shape, np.int32)
    labels[..., 4:14, 6:18], labels[..., 16:28, 20:40] = 1, 2
    noise = np.random.default_rng(seed).normal(0, 0.1, shape)
    image = ((labels > 0) + noise).astype(np.float32)
    return [TrainingImage("rectangles", image[..., None], labels)]


def fitted(what, folder=None, on_step=None, parameters=PARAMETERS, seed=0):
    objective, build = TAUGHT[what]
    seed_everything(parameters.seed)
    network = build()
    ranges = VOLUME_AUGMENTATION if what == "volumes" else Augmentation()
    keeping = Keeping(folder, 2) if folder else None
    given = (images(seed, what), images(9, what))
    return network, fit(network, *given, parameters, ranges, on_step, objective, keeping)


def resumed(what, folder, **changed):
    steps = []
    found = fitted(what, folder, lambda done, _: steps.append(done), **changed)
    return steps, *found


@pytest.mark.tensorflow
@pytest.mark.parametrize("what", TAUGHT)
def test_a_killed_training_goes_on_to_the_same_curve_and_weights(what, tmp_path, capsys):
    network, whole = fitted(what)
    with pytest.raises(Killed):
        fitted(what, tmp_path, kill)
    # What was kept is of step 2: a look and a checkpoint later, nothing differs.
    steps, again, same = resumed(what, tmp_path)
    assert steps == [3, 4, 5]
    assert same == whole
    for a, b in zip(network.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert capsys.readouterr().err == ""


@pytest.mark.tensorflow
def test_what_is_done_is_not_done_again_and_other_work_begins_anew(tmp_path, capsys):
    first, whole = fitted("classes", tmp_path)
    steps, again, same = resumed("classes", tmp_path)
    assert (steps, same) == ([], whole)
    for a, b in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert capsys.readouterr().err == ""
    longer = dataclasses.replace(PARAMETERS, steps=6)
    for changed in ({"parameters": longer}, {"seed": 1}):
        steps, _, _ = resumed("classes", tmp_path, **changed)
        assert steps[0] == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.endswith("is of other parameters or data: the training begins anew")


def test_a_damaged_checkpoint_does_not_count(tmp_path, capsys):
    kept = Checkpoints(tmp_path, "work")
    assert kept.last() == {}
    kept.keep({"weight": np.arange(5)})
    np.testing.assert_array_equal(kept.last()["weight"], np.arange(5))
    assert capsys.readouterr().err == ""
    path = tmp_path / "last.npz"
    path.write_bytes(path.read_bytes()[:60])
    assert kept.last() == {}
    assert "is damaged: the training begins anew" in capsys.readouterr().err
    with pytest.raises(BadInput, match="checkpoint_every: expected at least 1"):
        Keeping(tmp_path, 0)
