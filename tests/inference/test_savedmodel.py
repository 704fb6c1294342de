"""SavedModels of several makers, loaded by their card."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from cellmill.errors import BadInput
from cellmill.inference.backoff import BackingOff
from cellmill.inference.savedmodel import gpu_peak_bytes, load, memory_errors
from tests.inference.tiny_models import card, save

pytestmark = pytest.mark.tensorflow

TILES = np.random.default_rng(0).random((3, 32, 32, 1), dtype=np.float32)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    module = save(folder)
    return folder, [head.numpy() for head in module.heads(TILES)]


def test_heads_come_in_the_cards_order_as_float32(tiny):
    folder, expected = tiny
    network = load(folder, card())
    heads = network(TILES)
    assert [head.shape[-1] for head in heads] == [1, 3]
    assert all(head.dtype == np.float32 for head in heads)
    for head, wanted in zip(heads, expected, strict=True):
        assert np.allclose(head, wanted, atol=1e-6)
    swapped = load(folder, card(heads=(("pixelwise", 3), ("distance", 1))))(TILES)
    assert np.array_equal(swapped[0], heads[1])
    assert (network.effect["device"], network.effect["precision"]) == ("cpu", "float32")
    assert gpu_peak_bytes(network.device) == 0


def test_it_repeats_to_the_bit(tiny):
    first, second = load(tiny[0], card()), load(tiny[0], card())
    for a, b in zip(first(TILES), second(TILES), strict=True):
        assert np.array_equal(a, b)


def test_numbered_outputs_are_counted_not_spelt(tmp_path):
    # Spelt, semantic_10 comes before semantic_9.
    _, expected = None, [h.numpy() for h in save(tmp_path, names=("s_9", "s_10")).heads(TILES)]
    heads = load(tmp_path, card())(TILES)
    assert np.allclose(heads[0], expected[0], atol=1e-6)
    assert np.allclose(heads[1], expected[1], atol=1e-6)


def test_names_that_tell_no_order_are_refused(tmp_path):
    save(tmp_path, names=("zeta", "alpha"))
    with pytest.raises(BadInput, match=r"named as the card's heads \(distance.*found alpha, zeta"):
        load(tmp_path, card())


@pytest.mark.parametrize("structure", ["list", "dict"])
def test_what_keras_exports(tmp_path, structure):
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 1))
    hidden = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    hidden = keras.layers.BatchNormalization()(hidden)
    outputs = [keras.layers.Conv2D(n, 1, name=name)(hidden) for n, name in ((1, "z"), (3, "a"))]
    model = keras.Model(image, outputs)
    expected = model.predict(TILES, verbose=0)
    if structure == "dict":
        model = keras.Model(image, dict(zip(("distance", "pixelwise"), outputs, strict=True)))
    model.export(tmp_path, verbose=False)
    for head, wanted in zip(load(tmp_path, card())(TILES), expected, strict=True):
        assert np.allclose(head, wanted, atol=1e-6)


def test_a_model_called_by_list_whose_signature_names_tell_no_order(tmp_path):
    # As Keras 2 saves a model whose outputs have words for names.
    class Called(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 32, 32, 1), tf.float32)])
        def serve(self, image):
            return [image, tf.concat([image] * 3, -1)]

    module = Called()

    @tf.function(input_signature=[tf.TensorSpec((None, 32, 32, 1), tf.float32)])
    def signature(image):
        first, second = module.serve(image)
        return {"zeta": first, "alpha": second}

    tf.saved_model.save(module, str(tmp_path), signatures=signature)
    heads = load(tmp_path, card())(TILES)
    assert np.array_equal(heads[0], TILES)
    assert heads[1].shape[-1] == 3


def test_a_model_of_one_batch_size_is_fed_whole_batches(tmp_path, tiny):
    save(tmp_path, batch=2)
    network = load(tmp_path, card())
    assert network.fixed_batch == 2
    for head, wanted in zip(network(TILES), tiny[1], strict=True):
        assert np.allclose(head, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"channels": ("a", "b")}, r"input of model .*\(N, 32, 32, 2\).*found \(\?, 32, 32, 1\)"),
        ({"tile": (64, 32)}, r"\(N, 64, 32, 1\) floats"),
        ({"heads": (("distance", 1), ("pixelwise", 2))}, r"2 heads .*pixelwise: \(32, 32, 2\)"),
        ({"heads": (("x", 1), ("y", 3), ("z", 1))}, "outputs named as the card's heads"),
    ],
)
def test_a_card_of_another_model_is_refused(tiny, fields, message):
    with pytest.raises(BadInput, match=message):
        load(tiny[0], card(**fields))


def test_folders_that_are_no_savedmodel(tmp_path):
    with pytest.raises(BadInput, match=r"expected a SavedModel \(saved_model.pb\)"):
        load(tmp_path, card())
    (tmp_path / "saved_model.pb").write_bytes(b"no protocol buffer")
    with pytest.raises(BadInput, match="a SavedModel that TensorFlow reads"):
        load(tmp_path, card())


def test_a_savedmodel_without_its_variables(tmp_path):
    save(tmp_path)
    for file in (tmp_path / "variables").iterdir():
        file.unlink()
    with pytest.raises(BadInput, match="a SavedModel that TensorFlow reads"):
        load(tmp_path, card())


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="there is a GPU")
def test_a_gpu_that_is_not_there(tiny):
    with pytest.raises(BadInput, match="device: expected a GPU"):
        load(tiny[0], card(), device="gpu")


@pytest.mark.parametrize(
    "wrong", [{"device": "tpu"}, {"precision": "int8"}, {"threads": -1}], ids=str
)
def test_impossible_settings(tiny, wrong):
    with pytest.raises(BadInput):
        load(tiny[0], card(), **wrong)


def test_heads_that_are_not_finite_are_refused(tiny):
    with pytest.raises(BadInput, match=r"finite values, found NaN or infinity.*float32"):
        load(tiny[0], card())(TILES * np.float32(np.inf))


def test_tensorflows_memory_error_backs_off(tiny):
    network = load(tiny[0], card())
    sizes = []

    def small(tiles):
        sizes.append(len(tiles))
        if len(tiles) > 1:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return network(tiles)

    run = BackingOff(small, 3, memory_errors())
    for ours, whole in zip(run(TILES), network(TILES), strict=True):
        assert np.allclose(ours, whole, atol=1e-6)
    assert sizes == [3, 1, 1, 1]
