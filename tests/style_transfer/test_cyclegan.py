"""A step on several devices is that of one, of planes and of volumes; sixteen bits learn, too."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from cellmill.errors import BadInput
from cellmill.style_transfer.cyclegan import build_networks, compiled_step
from cellmill.style_transfer.parameters import OBJECTIVES, TransferParameters
from launch import ROOT

pytestmark = pytest.mark.tensorflow
TINY = TransferParameters(batch_size=2, crop=96, width=2, discriminator_width=2, learning_rate=3e-3)
#: Devices are told before TensorFlow begins, so in a process of its own.
DEVICES = """
import json, sys
from pathlib import Path
import numpy as np
import tensorflow as tf

(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from cellmill.models.fetch import fetch_model
from cellmill.style_transfer.cyclegan import build_networks, compiled_step, inflate
from cellmill.style_transfer.network import inflated
from cellmill.style_transfer.parameters import TransferParameters
from cellmill.style_transfer.prior import load_prior
from tests.style_transfer.priors import LEVELS, grey_planes, write_prior

asked = TransferParameters(
    batch_size=4,
    crop=96,
    width=2,
    discriminator_width=2,
    learning_rate=1e-5,
    volume_steps=1,
    volume_batch_size=2,
)
write_prior(Path(sys.argv[1]))
prior = load_prior(fetch_model(sys.argv[1]), LEVELS, grey_planes())
found = []
for replicas in (1, 2):
    networks = build_networks(asked, replicas, prior)
    random, first, losses = np.random.default_rng(0), networks.to_y.get_weights(), []
    for shape, steps in (((4, 96, 96, 1), 3), ((2, 21, 96, 96, 1), 1)):
        if len(shape) == 5:
            inflate(networks, asked)
        step = compiled_step(networks, asked)
        for _ in range(steps):
            x, y = random.normal(0, 1, (2, *shape)).astype(np.float32)
            losses.append([float(loss) for loss in step(x, y)])
    parts = (networks.to_y, networks.to_x, networks.of_x, networks.of_y)
    weights = [weight for part in parts for weight in part.get_weights()]
    # Adam divides by what gradients are, its averages do not.
    averages = [np.asarray(v) for v in networks.variables[len(weights):]]
    found.append((np.array(losses), weights, averages, networks.strategy))


def apart(a, b):
    return max(float(np.abs(m - n).max()) for m, n in zip(a, b, strict=True))


(one, *before, alone), (both, *after, strategy) = found
print(json.dumps({
    "devices": [alone is None, strategy.num_replicas_in_sync],
    "losses": float(np.abs(one / both - 1).max()),
    "weights": apart(before[0], after[0]),
    "averages": apart(before[1], after[1]),
    "channels": networks.of_y.input_shape[-1],
    "moved": apart(inflated(first, networks.to_y), networks.to_y.get_weights()),
}))
"""


def test_two_devices_learn_what_one_learns(tmp_path):
    """One judge looks through a prior, the other does not."""
    command = [sys.executable, "-c", DEVICES, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["devices"] == [True, 2]
    assert said["channels"] == 4
    assert said["moved"] > 2e-5
    assert said["losses"] < 1e-6
    assert said["weights"] < 1e-6
    assert said["averages"] < 1e-5


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_learns(precision):
    """To give the grey that it is given, which the identity loss asks for."""
    asked = replace(TINY, precision=precision, adversarial=0.0, cycle=0.0)
    networks = build_networks(asked)
    step, random = compiled_step(networks, asked), np.random.default_rng(0)
    same = []
    for _ in range(20):
        grey = random.uniform(0.5, 1.5, (2, 2, 1, 1, 1)).astype(np.float32)
        losses = [float(loss) for loss in step(*np.broadcast_to(grey, (2, 2, 96, 96, 1)))]
        assert np.isfinite(losses).all()
        same.append(losses[2])
    assert np.mean(same[-5:]) < 0.7 * np.mean(same[:5])
    assert {weight.dtype for weight in networks.to_y.weights} == {"float32"}
    assert networks.to_y.layers[1].compute_dtype == precision.removeprefix("mixed_")
    assert networks.to_y(np.zeros((1, 96, 96, 1), np.float32)).dtype == "float32"


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_shallow_network_learns_to_fool_and_is_seen_through(objective):
    """Grey that is brighter in Y: the generator gets there, and judges tell them apart before."""
    asked = replace(TINY, depth=1, objective=objective, cycle=0.0, identity=0.0)
    networks = build_networks(asked)
    assert networks.to_y(np.zeros((1, 96, 100, 1), np.float32)).shape == (1, 80, 84, 1)
    step, random = compiled_step(networks, asked), np.random.default_rng(0)
    losses = []
    for _ in range(12):
        x, y = random.normal(0, 0.1, (2, 2, 96, 96, 1)).astype(np.float32)
        losses.append([float(loss) for loss in step(x, y + 1)])
    assert np.isfinite(losses).all()
    # The judges' own loss falls while generators cannot yet do what fools them.
    assert losses[-1][3] < losses[0][3]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_losses_are_those_of_the_papers(objective):
    """Of squares, or of cross-entropy of what is not told apart yet; and mean differences."""
    asked = replace(TINY, objective=objective, learning_rate=1e-9)
    networks = build_networks(asked)
    x, y = np.random.default_rng(0).normal(0, 1, (2, 2, 96, 96, 1)).astype(np.float32)
    fooled, cycle, same, told = (float(loss) for loss in compiled_step(networks, asked)(x, y))

    def loss(judge, planes, wanted):
        said = np.asarray(judge(planes), np.float64)
        if objective == "least_squares":
            return np.mean((said - wanted) ** 2)
        right = 1 / (1 + np.exp(-said if wanted else said))
        return np.mean((1 - right) ** 2 * -np.log(right))

    def apart(made, given, margin):
        inner = slice(margin, -margin)
        return np.abs(np.asarray(made, np.float64) - given[:, inner, inner]).mean()

    to_y, to_x = networks.to_y, networks.to_x
    made_y, made_x = np.asarray(to_y(x)), np.asarray(to_x(y))
    judges = ((networks.of_y, made_y, y), (networks.of_x, made_x, x))
    inner = slice(20, -20)
    assert fooled == pytest.approx(sum(loss(judge, made, 1) for judge, made, _ in judges), 1e-4)
    wanted = sum(
        loss(judge, made, 0) + loss(judge, real[:, inner, inner], 1) for judge, made, real in judges
    )
    assert told == pytest.approx(wanted / 4, 1e-4)
    assert cycle == pytest.approx(apart(to_x(made_y), x, 40) + apart(to_y(made_x), y, 40), 1e-4)
    assert same == pytest.approx(apart(to_y(y), y, 20) + apart(to_x(x), x, 20), 1e-4)


def test_devices_that_there_are_not_are_refused():
    with pytest.raises(BadInput, match="replicas: expected 0 to 1, the devices there are, found 3"):
        build_networks(TINY, 3)
    with pytest.raises(BadInput, match="precision: expected one of float32, mixed_bfloat16"):
        TransferParameters(precision="float16")
