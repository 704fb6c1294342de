"""The adversarial loss alone does not see a picture turned upside down; the gate does.

Two phases of equal extent and shape, one bright and one dark: with both exchanged the picture is as
likely, so that no discriminator can object, and it shows the opposite. From an untrained generator
either may come, as the seed has it; here the training begins at the exchanged one.
"""

import numpy as np
import pytest
import scipy.ndimage

from cellmill import extras
from cellmill.style_transfer.cyclegan import build_networks
from cellmill.style_transfer.gate import MARGIN, Planes, TaskNetwork, choose, gate_row, inside
from cellmill.style_transfer.matching import histogram, mean_and_sd, mean_sd_table
from cellmill.style_transfer.parameters import TransferParameters
from cellmill.style_transfer.sampling import Source
from cellmill.style_transfer.training import Domain, applied, averaged_generator, train
from cellmill.style_transfer.volumes import open_volume

pytestmark = pytest.mark.tensorflow
SIDE = 152
ALONE = TransferParameters(
    steps=20,
    batch_size=2,
    crop=96,
    width=2,
    discriminator_width=8,
    learning_rate=3e-3,
    checkpoint_every=20,
    planes="z",
    cycle=0.0,
    identity=0.0,
)


def phases(seed, contrast, noise):
    """Grey values, and where the bright phase is."""
    random = np.random.default_rng(seed)
    smooth = scipy.ndimage.gaussian_filter(random.normal(0, 1, (8, SIDE, SIDE)), (0, 5, 5))
    bright = smooth > np.median(smooth)
    grey = 128 + contrast * (bright - 0.5) + random.normal(0, noise, bright.shape)
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8), bright


def test_the_gate_refuses_what_the_adversarial_loss_alone_learnt(tmp_path):
    (x, bright), (y, _) = phases(1, 40, 20), phases(2, 120, 10)
    levels = [mean_and_sd(histogram(values)) for values in (x, y)]
    of_x, of_y = (
        Domain([Source(open_volume(values), boxes=((0, 0, 0, z, SIDE, SIDE),))], level)
        for values, z, level in zip((x, y), (4, 8), levels, strict=True)
    )
    networks = build_networks(ALONE)
    turn_over(networks.to_y, ((x[:4] - levels[0][0]) / levels[0][1])[..., None])
    train(networks, of_x, of_y, ALONE, tmp_path)
    # What is brighter than the mean of Y belongs to its bright phase.
    task = TaskNetwork(lambda z: 4 * inside(z, MARGIN), levels[1], 0.5)
    choosing, apart = Planes(x[4:6], bright[4:6]), Planes(x[6:], bright[6:])
    table = mean_sd_table(*(histogram(values) for values in (x, y)))
    generator = averaged_generator(tmp_path, ALONE.steps, ALONE)
    matched = gate_row(
        task, "mean and SD", lambda planes: inside(table[planes], MARGIN), choosing, apart
    )
    made = gate_row(
        task, "adversarial", lambda planes: applied(generator, *levels, planes), choosing, apart, 20
    )
    chosen, (refused,) = choose([matched], [made])
    assert chosen is matched.row
    assert min(chosen.f1, chosen.f1_apart) > 0.75
    assert max(refused.f1, refused.f1_apart) < 0.5
    assert refused.least_lead < refused.lead < -0.25


def turn_over(generator, planes):
    """Teach a generator to exchange bright and dark."""
    keras = extras.load("keras", "this test")
    generator.compile(keras.optimizers.Adam(1e-2), "mse")
    generator.fit(planes, -inside(planes, MARGIN), batch_size=4, epochs=60, verbose=0)
    made = np.asarray(generator(planes))
    assert np.corrcoef(made.ravel(), inside(planes, MARGIN).ravel())[0, 1] < -0.5
