"""Training learns to undo what is known.

Part of a volume is bent, blurred and full of holes; the rest is what it is to look like. What so
short a training changes is how fine the picture is, and it still shows the same. Whether a task
finds more in it takes minutes: `make bench-style-transfer BENCH=--self-test` and `BENCH=--gate`.
"""

import numpy as np
import pytest

from cellmill.datasets.spoilt_em import spoil
from cellmill.datasets.synthetic_em import LOOK_Y, make_tissue, show
from cellmill.style_transfer.cyclegan import build_networks
from cellmill.style_transfer.gate import inside
from cellmill.style_transfer.matching import histogram, mean_and_sd, mean_sd_table
from cellmill.style_transfer.parameters import TransferParameters
from cellmill.style_transfer.sampling import Source
from cellmill.style_transfer.spectra import spectrum_gap
from cellmill.style_transfer.training import (
    Domain,
    applied,
    averaged_generator,
    train,
)
from cellmill.style_transfer.volumes import open_volume

pytestmark = pytest.mark.tensorflow
SIDE = 128
TISSUE = make_tissue((14, SIDE, SIDE), seed=1)
CLEAN = show(TISSUE, LOOK_Y, seed=1)
SPOILT = spoil(CLEAN, seed=1)
ASKED = TransferParameters(
    steps=100,
    batch_size=2,
    crop=96,
    width=4,
    discriminator_width=8,
    learning_rate=3e-3,
    checkpoint_every=100,
    planes="z",
)


def domain(values, z0, z1):
    source = Source(open_volume(values), boxes=((z0, 0, 0, z1, SIDE, SIDE),))
    return Domain([source], mean_and_sd(histogram(values[z0:z1])))


def test_what_was_spoilt_is_learnt_and_undone(tmp_path):
    x, y = domain(SPOILT, 0, 5), domain(CLEAN, 9, 14)
    train(build_networks(ASKED), x, y, ASKED, tmp_path)
    unseen, wanted = SPOILT[5:9], inside(CLEAN[5:9], ASKED.reach.halo)
    generator = averaged_generator(tmp_path, ASKED.steps, ASKED)
    made = np.clip(applied(generator, x.levels, y.levels, unseen), 0, 255)
    table = mean_sd_table(histogram(SPOILT[:5]), histogram(CLEAN[9:]))
    matched = np.clip(inside(table[unseen], ASKED.reach.halo), 0, 255)
    assert spectrum_gap(made, wanted) < 0.85 * spectrum_gap(matched, wanted)

    def likeness(planes):
        return np.corrcoef(planes.ravel(), wanted.ravel())[0, 1]

    assert likeness(made) > 0.8 * likeness(matched)
