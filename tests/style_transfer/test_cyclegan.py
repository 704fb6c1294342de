"""A step on several devices is that of one; sixteen bits learn, too."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from cellmill.errors import BadInput
from cellmill.style_transfer.cyclegan import build_networks, compiled_step
from cellmill.style_transfer.parameters import TransferParameters
from launch import ROOT

pytestmark = pytest.mark.tensorflow
TINY = TransferParameters(batch_size=2, crop=96, width=2, discriminator_width=2, learning_rate=3e-3)
#: Devices are told before TensorFlow begins, so in a process of its own.
DEVICES = """
import json, sys
import numpy as np
import tensorflow as tf

(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from cellmill.style_transfer.cyclegan import build_networks, compiled_step
from cellmill.style_transfer.parameters import TransferParameters

asked = TransferParameters(
    batch_size=4, crop=96, width=2, discriminator_width=2, learning_rate=1e-5
)
found = []
for replicas in (1, 2):
    networks = build_networks(asked, replicas)
    step, random = compiled_step(networks, asked), np.random.default_rng(0)
    first, losses = networks.to_y.get_weights(), []
    for _ in range(3):
        x, y = random.normal(0, 1, (2, 4, 96, 96, 1)).astype(np.float32)
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
    "moved": apart(first, networks.to_y.get_weights()),
}))
"""


def test_two_devices_learn_what_one_learns():
    command = [sys.executable, "-c", DEVICES]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["devices"] == [True, 2]
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


def test_devices_that_there_are_not_are_refused():
    with pytest.raises(BadInput, match="replicas: expected 0 to 1, the devices there are, found 3"):
        build_networks(TINY, 3)
    with pytest.raises(BadInput, match="precision: expected one of float32, mixed_bfloat16"):
        TransferParameters(precision="float16")
