"""What OpenVINO does otherwise: its graph is changed, it computes in bfloat16 where it can."""

import numpy as np
import pytest
import tensorflow as tf

from cellmill import extras
from cellmill.errors import BadInput
from cellmill.inference.engines import load_network
from tests.inference.tiny_models import card, load, save

pytestmark = pytest.mark.tensorflow

TILES = np.random.default_rng(0).random((5, 32, 32, 1), dtype=np.float32)


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


def test_a_tile_depends_on_no_batch_size_to_the_bit(tmp_path):
    save(tmp_path)
    network = load_network(tmp_path, card(), engine="openvino", threads=2)
    whole = network(TILES)
    for batch in (slice(3, None), slice(4, None), slice(0, 2)):
        for head, wanted in zip(network(TILES[batch]), whole, strict=True):
            assert np.array_equal(head, wanted[batch])


def test_bfloat16_is_close_and_its_heads_are_not_rounded(tmp_path):
    save(tmp_path)
    if "BF16" not in extras.load("openvino", "a test").Core().get_property(
        "CPU", "OPTIMIZATION_CAPABILITIES"
    ):
        with pytest.raises(BadInput, match=r"precision: expected float32 .* on this processor"):
            load_network(tmp_path, card(), engine="openvino", precision="mixed_bfloat16")
        return
    exact = load(tmp_path, card())(TILES)
    heads = load_network(tmp_path, card(), engine="openvino", precision="mixed_bfloat16")(TILES)
    for head, wanted in zip(heads, exact, strict=True):
        assert 0 < np.abs(head - wanted).max() < 20 * 2.0**-8
    rounded = tf.cast(tf.cast(heads[0], tf.bfloat16), tf.float32).numpy()
    assert (rounded != heads[0])[heads[0] > 0].mean() > 0.9
