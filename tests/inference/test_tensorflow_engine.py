"""SavedModels of several makers, loaded by their card."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from cellmill.errors import BadInput
from cellmill.inference.backoff import BackingOff
from tests.inference.tiny_models import card, load, save

pytestmark = pytest.mark.tensorflow

TILES = np.random.default_rng(0).random((3, 32, 32, 1), dtype=np.float32)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    module = save(folder)
    return folder, [head.numpy() for head in module.heads(TILES)]


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


def test_folders_that_are_no_savedmodel(tmp_path):
    with pytest.raises(BadInput, match=r"expected one network beside its card.*found none"):
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


def test_tensorflows_memory_error_backs_off(tiny):
    network = load(tiny[0], card())
    sizes = []

    def small(tiles):
        sizes.append(len(tiles))
        if len(tiles) > 1:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return network(tiles)

    run = BackingOff(small, 3, network.memory_errors)
    for ours, whole in zip(run(TILES), network(TILES), strict=True):
        assert np.allclose(ours, whole, atol=1e-6)
    assert sizes == [3, 1, 1, 1]
