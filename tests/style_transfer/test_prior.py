"""A prior is what its engine computes; it stays as it is, and gradients pass through it."""

from dataclasses import replace

import numpy as np
import pytest

from cellmill.errors import BadInput
from cellmill.inference.engines import load_network
from cellmill.models.card import Head, InputChannel, Preprocessing
from cellmill.models.fetch import fetch_model
from cellmill.style_transfer.cyclegan import build_networks, compiled_step
from cellmill.style_transfer.network import export_table, generator_card, reach_of
from cellmill.style_transfer.parameters import TransferParameters
from cellmill.style_transfer.prior import load_prior
from tests.style_transfer.priors import CARD, LEVELS, grey_planes, write_prior

pytestmark = pytest.mark.tensorflow
TINY = TransferParameters(
    batch_size=1, crop=96, width=2, discriminator_width=2, cycle=0.0, identity=0.0
)


@pytest.fixture(scope="module")
def planes():
    return grey_planes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("prior")
    write_prior(place)
    return place


@pytest.fixture(scope="module")
def prior(folder, planes):
    return load_prior(fetch_model(str(folder)), LEVELS, planes)


def standardised(planes):
    return ((planes - LEVELS[0]) / LEVELS[1])[..., None].astype(np.float32)


def test_it_gives_what_its_engine_gives_brought_to_mean_0_and_deviation_1(folder, prior, planes):
    found = np.asarray(prior(standardised(planes)))
    assert found.shape == (3, 56, 56, 3)
    inner = slice(4, -4)
    assert (np.delete(found[..., 2], np.s_[4:52], axis=1) == 0).all()
    assert (np.delete(found[..., 2], np.s_[4:52], axis=2) == 0).all()
    for values in (*np.moveaxis(found[..., :2], -1, 0), found[:, inner, inner, 2]):
        assert abs(values.mean()) < 1e-4
        assert abs(values.std() - 1) < 1e-4
    low, high = np.percentile(planes, (1, 99.8))
    given = np.pad(planes, ((0, 0), (0, 8), (0, 8)), "reflect")
    tiles = ((given - low) / (high - low))[..., None].astype(np.float32)
    coarse, sharp = load_network(folder, CARD, engine="tensorflow")(tiles)
    wanted = np.concatenate([coarse.repeat(2, 1).repeat(2, 2)[:, :56, :56], found[..., 2:]], -1)
    wanted[:, inner, inner, 2] = sharp[:, :48, :48, 0]
    raw = found * prior.deviations + prior.means
    np.testing.assert_allclose(raw[:, inner, inner], wanted[:, inner, inner], atol=2e-4)


def test_a_step_learns_through_it_and_leaves_it_as_it_is(prior):
    networks = build_networks(TINY, prior=prior)
    kernel, bias = networks.of_y.layers[1].get_weights()
    assert kernel.shape[2] == 4
    kernel[:, :, 0] = 0  # sees nothing but what the prior gives
    networks.of_y.layers[1].set_weights([kernel, bias])
    before = [each.numpy() for each in prior.network.model.weights]
    own = networks.to_y.get_weights()
    x, y = np.random.default_rng(0).normal(0, 1, (2, 1, 96, 96, 1)).astype(np.float32)
    losses = compiled_step(networks, TINY)(x, y)
    assert np.isfinite(losses).all()
    assert len(before) == 2
    for was, now in zip(before, prior.network.model.weights, strict=True):
        np.testing.assert_array_equal(was, now.numpy())
    kernels = [n for n, weight in enumerate(own) if weight.ndim == 4]
    assert all((networks.to_y.get_weights()[n] != own[n]).any() for n in kernels)


def of_table(folder):
    export_table(np.arange(256, dtype=np.float32), folder, reach_of(2))
    return generator_card("table", reach=reach_of(2))


def of_onnx(folder):
    (folder / "network.onnx").write_bytes(b"\0")
    return CARD


@pytest.mark.parametrize(
    ("made", "line"),
    [
        (of_onnx, "expected a TensorFlow SavedModel, through which gradients pass, found an ONNX"),
        (of_table, "expected a network through which gradients pass, found none"),
        (
            replace(CARD, preprocessing=Preprocessing("mesmer")),
            "expected preprocessing 'none' or 'percentile', through which gradients pass, found 'm",
        ),
        (
            replace(CARD, input=replace(CARD.input, channels=tuple(map(InputChannel, "ab")))),
            "expected a network of planes of one channel, found 2",
        ),
        (
            replace(CARD, heads=(Head("inner", "", "image", margin=28),)),
            "expected a network that gives something for planes of 56 px (a larger crop)",
        ),
    ],
)
def test_what_no_gradient_passes_is_one_line(tmp_path, folder, planes, made, line):
    fetched = fetch_model(str(folder))
    if callable(made):
        fetched = replace(fetched, folder=tmp_path, card=made(tmp_path))
    else:
        fetched = replace(fetched, card=made)
    with pytest.raises(BadInput) as found:
        load_prior(fetched, LEVELS, planes)
    assert line in str(found.value)
