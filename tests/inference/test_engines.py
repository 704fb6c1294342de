"""OpenVINO gives TensorFlow's heads, whatever the batch, though its graph is changed."""

import sys

import numpy as np
import pytest
import tensorflow as tf

from cellmill.arrays.windows import Box
from cellmill.errors import BadInput
from cellmill.inference.engines import load_network
from cellmill.inference.tiled import predict_tiled
from cellmill.inference.tiles import TileGrid
from cellmill.models.fetch import fetch_model
from tests.inference.tiny_models import card, save

pytestmark = pytest.mark.tensorflow

TILES = np.random.default_rng(0).random((5, 32, 32, 1), dtype=np.float32)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    save(folder)
    return folder


class Decoder(tf.Module):
    """A head as a PanopticNet's: convolution, upsampling, one-pixel convolution, normalisation."""

    def __init__(self, method="bilinear", half_pixel_centers=True):
        super().__init__()
        draw = np.random.default_rng(1)
        self.wide = tf.Variable(draw.normal(0, 0.3, (3, 3, 1, 8)).astype(np.float32))
        self.point = tf.Variable(draw.normal(0, 0.3, (1, 1, 8, 16)).astype(np.float32))
        self.scale, self.shift = (
            tf.Variable(draw.normal(1, 0.3, 16).astype(np.float32)) for _ in range(2)
        )
        self.last = tf.Variable(draw.normal(0, 0.3, (1, 1, 16, 1)).astype(np.float32))
        self.resize = {
            "bilinear": lambda x: tf.raw_ops.ResizeBilinear(
                images=x, size=[32, 32], half_pixel_centers=half_pixel_centers
            ),
            "nearest": lambda x: tf.image.resize(x, (32, 32), "nearest"),
        }[method]

    @tf.function(input_signature=[tf.TensorSpec((None, 32, 32, 1), tf.float32, "image")])
    def serve(self, image):
        x = tf.nn.relu(tf.nn.conv2d(image, self.wide, 2, "SAME"))
        x = tf.nn.conv2d(self.resize(x), self.point, 1, "SAME")
        x = tf.nn.relu((x + self.shift) * self.scale - 0.1)
        return {"distance": tf.nn.conv2d(x, self.last, 1, "SAME")}


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_its_heads_are_tensorflows(tiny, threads):
    expected = load_network(tiny, card())(TILES)
    network = load_network(tiny, card(), engine="openvino", threads=threads)
    for head, wanted in zip(network(TILES), expected, strict=True):
        assert head.dtype == np.float32
        assert np.abs(head - wanted).max() <= 1e-5
    assert network.effect["engine"] == "openvino"
    assert network.effect["precision"] == "float32"


def test_the_model_that_ships():
    model = fetch_model("")
    tiles = np.random.default_rng(3).random((3, *model.card.input.tile, 1), dtype=np.float32)
    ours, theirs = (
        load_network(model.folder, model.card, engine=engine)(tiles)
        for engine in ("openvino", "tensorflow")
    )
    for head, wanted in zip(ours, theirs, strict=True):
        assert np.abs(head - wanted).max() <= 1e-4


def test_a_tile_hangs_on_no_other_to_the_bit(tiny):
    network = load_network(tiny, card(), engine="openvino", threads=2)
    whole = network(TILES)
    for batch in (TILES[3:], TILES[4:], TILES[::-1][:2]):
        for head, wanted in zip(network(batch), whole, strict=True):
            places = [next(i for i, t in enumerate(TILES) if np.array_equal(t, b)) for b in batch]
            assert np.array_equal(head, wanted[places])


def test_windows_are_the_whole_to_the_bit(tiny):
    network = load_network(tiny, card(), engine="openvino")
    source = np.random.default_rng(1).random((190, 200, 1), dtype=np.float32)
    grid = TileGrid.over((190, 200), (32, 32))
    whole = [np.zeros((190, 200, n), np.float32) for n in (1, 3)]
    predict_tiled(source, network, grid, whole, 8)
    for window in (Box(0, 190, 100, 164), Box(77, 80, 0, 200), Box(150, 190, 190, 200)):
        parts = [np.zeros((190, 200, n), np.float32) for n in (1, 3)]
        predict_tiled(source, network, grid, parts, 3, window=window)
        for part, all_of_it in zip(parts, whole, strict=True):
            assert np.array_equal(part[window.slices], all_of_it[window.slices])


@pytest.mark.parametrize(
    ("options", "swapped"),
    [
        ({}, 1),
        ({"half_pixel_centers": False}, 1),
        ({"method": "nearest"}, 0),
    ],
    ids=str,
)
def test_convolutions_before_upsampling_change_rounding_only(tmp_path, options, swapped):
    module = Decoder(**options)
    tf.saved_model.save(module, str(tmp_path), signatures=module.serve)
    one = card(heads=(("distance", 1),))
    network = load_network(tmp_path, one, engine="openvino")
    assert network.effect["convolutions_before_upsampling"] == swapped
    expected = module.serve(TILES)["distance"].numpy()
    assert np.abs(network(TILES)[0] - expected).max() <= 1e-5


@pytest.mark.parametrize("engine", ["tensorflow", "openvino"])
def test_heads_that_are_not_asked_for_are_left_out(tiny, engine):
    whole = load_network(tiny, card(), engine=engine)(TILES)
    for name, place in (("distance", 0), ("pixelwise", 1)):
        (alone,) = load_network(tiny, card(), engine=engine, heads=[name])(TILES)
        assert np.array_equal(alone, whole[place])


def test_heads_come_in_the_cards_order(tmp_path):
    module = save(tmp_path, names=("s_9", "s_10"))
    heads = load_network(tmp_path, card(), engine="openvino")(TILES)
    for head, wanted in zip(heads, module.heads(TILES), strict=True):
        assert np.abs(head - wanted.numpy()).max() <= 1e-5


def test_a_model_of_one_batch_size_is_fed_whole_batches(tmp_path):
    module = save(tmp_path, batch=2)
    heads = load_network(tmp_path, card(), engine="openvino")(TILES)
    for head, wanted in zip(heads, module.heads(TILES), strict=True):
        assert np.abs(head - wanted.numpy()).max() <= 1e-5


def test_bfloat16_is_close_and_its_heads_are_not_rounded(tiny):
    import openvino

    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(BadInput, match="precision: expected float32"):
            load_network(tiny, card(), engine="openvino", precision="mixed_bfloat16")
        return
    exact = load_network(tiny, card())(TILES)
    heads = load_network(tiny, card(), engine="openvino", precision="mixed_bfloat16")(TILES)
    for head, wanted in zip(heads, exact, strict=True):
        assert 0 < np.abs(head - wanted).max() < 20 * 2.0**-8
    rounded = tf.cast(tf.cast(heads[0], tf.bfloat16), tf.float32).numpy()
    assert (rounded != heads[0])[heads[0] > 0].mean() > 0.9


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"engine": "caffe"}, "engine: expected one of tensorflow, openvino, found caffe"),
        ({"device": "gpu"}, "device: expected auto or cpu with engine openvino"),
        ({"precision": "mixed_float16"}, "precision: expected float32"),
        ({"threads": -1}, "threads: expected 0 or more"),
    ],
)
def test_impossible_settings(tiny, wrong, message):
    with pytest.raises(BadInput, match=message):
        load_network(tiny, card(), **{"engine": "openvino", **wrong})


def test_models_that_are_not_the_cards_or_not_read(tiny, tmp_path):
    with pytest.raises(BadInput, match="input of model"):
        load_network(tiny, card(channels=("a", "b")), engine="openvino")
    with pytest.raises(BadInput, match="2 heads"):
        load_network(tiny, card(heads=(("distance", 1), ("pixelwise", 2))), engine="openvino")
    with pytest.raises(BadInput, match="outputs named as the card's heads"):
        load_network(tiny, card(heads=(("x", 1), ("y", 3), ("z", 1))), engine="openvino")
    (tmp_path / "saved_model.pb").write_bytes(b"no protocol buffer")
    with pytest.raises(BadInput, match="a SavedModel that OpenVINO reads"):
        load_network(tmp_path, card(), engine="openvino")


def test_heads_that_are_not_finite_are_refused(tiny):
    with pytest.raises(BadInput, match="finite values, found NaN or infinity"):
        load_network(tiny, card(), engine="openvino")(TILES * np.float32(np.inf))


def test_an_engine_that_is_not_there_is_one_line(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BadInput, match=r"expected OpenVINO \(pip install 'cellmill\[openvino\]'\)"):
        load_network(tiny, card(), engine="openvino")
