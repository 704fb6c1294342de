"""Convolutions in 16 bits, heads in 32."""

import numpy as np
import pytest
import tensorflow as tf

from cellmill.inference.mixed_precision import mixed
from tests.inference.tiny_models import TwoHeads, card, load, save

pytestmark = pytest.mark.tensorflow

TILES = np.random.default_rng(0).random((2, 32, 32, 1), dtype=np.float32)


def concrete(function, channels=1):
    spec = tf.TensorSpec((None, 32, 32, channels), tf.float32)
    return tf.function(function, input_signature=[spec]).get_concrete_function()


def types(network, op):
    return [node.attr["T"].type for node in network.call.graph.as_graph_def().node if node.op == op]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_only_the_products_before_the_last_are_reduced(dtype):
    module = TwoHeads(1)
    network = mixed(concrete(lambda x: list(module.heads(x))), dtype)
    low, full = tf.as_dtype(dtype).as_datatype_enum, tf.float32.as_datatype_enum
    assert (network.reduced, network.kept) == (1, 2)
    assert sorted(types(network, "Conv2D")) == sorted([low, full, full])
    # The sum and the rectifier after the hidden convolution stay in 16 bits with it.
    assert sorted(types(network, "Relu")) == sorted([low, full])
    assert types(network, "Softmax") == [full]


@pytest.mark.parametrize(("precision", "bits"), [("mixed_bfloat16", 8), ("mixed_float16", 11)])
def test_heads_are_close_and_not_rounded(tmp_path, precision, bits):
    save(tmp_path)
    exact = load(tmp_path, card())(TILES)
    network = load(tmp_path, card(), precision=precision)
    heads = network(TILES)
    assert network.effect["precision"] == precision
    assert network.effect["products_in_16_bits"] == 1
    for head, wanted in zip(heads, exact, strict=True):
        assert head.dtype == np.float32
        assert 0 < np.abs(head - wanted).max() < 20 * 2.0**-bits
    kind = tf.as_dtype(precision.removeprefix("mixed_"))
    rounded = tf.cast(tf.cast(heads[0], kind), tf.float32).numpy()
    assert (rounded != heads[0])[heads[0] > 0].mean() > 0.9


def test_the_hidden_layer_is_really_computed_in_16_bits():
    module = TwoHeads(1)

    def by_hand(x):
        half = tf.float16
        hidden = tf.nn.conv2d(tf.cast(x, half), tf.cast(module.hidden, half), 1, "SAME")
        hidden = tf.cast(tf.nn.relu(hidden + tf.cast(0.1, half)), tf.float32)
        return [tf.nn.relu(tf.nn.conv2d(hidden, module.first, 1, "SAME"))]

    ours = mixed(concrete(lambda x: [module.heads(x)[0]]), "float16").call(tf.constant(TILES))
    assert np.array_equal(ours[0], by_hand(TILES)[0])


def test_residual_sums_pooling_and_transposed_convolutions():
    kernel = tf.Variable(tf.random.stateless_normal((3, 3, 4, 4), (1, 2)) * 0.3)
    first = tf.Variable(tf.random.stateless_normal((3, 3, 1, 4), (3, 4)))

    def network(x):
        a = tf.nn.relu(tf.nn.conv2d(x, first, 1, "SAME"))
        b = a + tf.nn.conv2d(a, kernel, 1, "SAME")
        down = tf.nn.max_pool2d(b, 2, 2, "SAME")
        up = tf.nn.conv2d_transpose(down, kernel, tf.shape(b), 2, "SAME")
        up = tf.nn.relu(tf.concat([up, b], -1)[..., :4] * 2.0)
        return [tf.nn.conv2d(up, kernel, 1, "SAME"), x * 1.0]

    exact = network(TILES)
    rewritten = mixed(concrete(network), "bfloat16")
    assert (rewritten.reduced, rewritten.kept) == (3, 1)
    heads = rewritten.call(tf.constant(TILES))
    scale = np.abs(exact[0]).max()
    assert 0 < np.abs(heads[0] - exact[0]).max() < 0.03 * scale
    # A head that no product leads to is untouched.
    assert np.array_equal(heads[1], TILES)


def test_a_network_of_last_layers_only_stays_float32_and_says_so(tmp_path):
    class One(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 32, 32, 1), tf.float32)])
        def serve(self, image):
            return {"distance": tf.nn.conv2d(image, tf.ones((3, 3, 1, 1)), 1, "SAME")}

    tf.saved_model.save(One(), str(tmp_path), signatures=One().serve)
    network = load(tmp_path, card(heads=(("distance", 1),)), precision="mixed_bfloat16")
    assert network.effect["precision"] == "float32"
    assert network.effect["products_in_16_bits"] == 0
    exact = load(tmp_path, card(heads=(("distance", 1),)))
    assert np.array_equal(network(TILES)[0], exact(TILES)[0])
