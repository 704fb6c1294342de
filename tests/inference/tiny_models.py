"""Networks of a few fixed weights in every form, made on the fly, and their cards."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import tensorflow as tf
from onnx import TensorProto, helper, numpy_helper

from cellmill.inference.engines import load_network
from cellmill.models.card import (
    Head,
    InputChannel,
    ModelCard,
    ModelInput,
    Preprocessing,
    Tiling,
)
from tests.segmentation.maps import watershed_of

#: TensorFlow, the engine that all others are held against.
load = partial(load_network, engine="tensorflow")


def card(
    channels=("nuclear",),
    tile=(32, 32),
    heads=(("distance", 1), ("pixelwise", 3)),
    method="none",
    mpp=0.5,
    stride=1,
    placement="blended",
) -> ModelCard:
    """A card for the tiny network; stride and placement are those of its last head."""
    made = [Head(name, "nuclear", "pixelwise", count) for name, count in heads]
    made[-1] = replace(made[-1], stride=stride, placement=placement)
    return ModelCard(
        name="tiny",
        version="1",
        input=ModelInput(tuple(InputChannel(c) for c in channels), mpp, tile),
        heads=tuple(made),
        postprocessing={"nuclear": watershed_of(heads[0][0], heads[-1][0])},
        default_compartment="nuclear",
        preprocessing=Preprocessing(method=method),
        tiling=Tiling("constant", 0.25),
    )


def weights(channels: int, outputs: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.4, (3, 3, channels, outputs)).astype(np.float32)


class TwoHeads(tf.Module):
    """Three convolutions: a hidden one, and one per head (1 and 3 channels).

    The second head has one value for `stride` × `stride` pixels.
    """

    def __init__(self, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.hidden = tf.Variable(weights(channels, 8, 0))
        self.first = tf.Variable(weights(8, 1, 1))
        self.second = tf.Variable(weights(8, 3, 2))

    def heads(self, x):
        hidden = tf.nn.relu(tf.nn.conv2d(x, self.hidden, 1, "SAME") + 0.1)
        return (
            tf.nn.relu(tf.nn.conv2d(hidden, self.first, 1, "SAME")),
            tf.nn.softmax(tf.nn.conv2d(hidden, self.second, self.stride, "SAME")),
        )


NAMES = ("distance", "pixelwise")


def save(folder: Path, channels=1, tile=(32, 32), names=NAMES, batch=None, stride=1):
    """Save `TwoHeads` with outputs of these names; returns the module, to compare with."""
    module = TwoHeads(channels, stride)

    @tf.function(input_signature=[tf.TensorSpec((batch, *tile, channels), tf.float32, "image")])
    def serve(image):
        return dict(zip(names, module.heads(image), strict=True))

    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})
    return module


def save_onnx(folder: Path, channels=1, tile=(32, 32), names=NAMES, batch=None, stride=1):
    """Save the network of `TwoHeads` as ONNX; returns the module, to compare with."""
    module = TwoHeads(channels, stride)
    kernels = {"hidden": module.hidden, "first": module.first, "second": module.second}
    constants = {name: kernel.numpy().transpose(3, 2, 0, 1) for name, kernel in kernels.items()}
    constants["shift"] = np.full(8, 0.1, np.float32)
    same = {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER"}
    nodes = [
        helper.make_node("Transpose", ["image"], ["x"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["x", "hidden", "shift"], ["h"], **same),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Conv", ["r", "first"], ["a"], **same),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Transpose", ["b"], [names[0]], perm=[0, 2, 3, 1]),
        helper.make_node("Conv", ["r", "second"], ["c"], strides=[stride, stride], **same),
        helper.make_node("Softmax", ["c"], ["d"], axis=1),
        helper.make_node("Transpose", ["d"], [names[1]], perm=[0, 2, 3, 1]),
    ]
    sides = [batch or "N", *(side or f"side{i}" for i, side in enumerate(tile))]

    def end(name, count, stride=1):
        shape = [sides[0], *(s // stride if isinstance(s, int) else s for s in sides[1:]), count]
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        nodes,
        "two_heads",
        [end("image", channels)],
        [end(names[0], 1), end(names[1], 3, stride)],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(made)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(made, folder / "network.onnx")
    return module


#: What writes the tiny network, by form.
SAVES = {"savedmodel": save, "onnx": save_onnx}


def save_model(folder: Path, channels=1) -> ModelCard:
    """A whole model folder: SavedModel and card."""
    save(folder, channels)
    names = ("nuclear", "membrane", "third")[:channels]
    made = card(names)
    made.save(folder)
    return made
