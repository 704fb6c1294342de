"""A network with a size model, of a few fixed weights: blobs' flows, and a style, in any tile."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cellmill.models.card import Head, InputChannel, ModelCard, ModelInput, Preprocessing, Tiling
from cellmill.models.size_model import OUTPUT, SizeModel

#: Of the objects that the network is for, pixels; and those that its weights are a blur of.
DIAMETER, SIGMA = 12.0, 3.0
_RADIUS = 8
#: Values of the style.
VALUES = 3


def discs(shape, diameter, seed=0):
    """An image of bright discs on a grid, with noise, uint16."""
    random = np.random.default_rng(seed)
    y, x = np.indices(shape)
    image = random.normal(100, 5, shape)
    step = 2.4 * diameter
    for row in np.arange(step / 2, shape[0], step):
        for column in np.arange(step / 2, shape[1], step):
            image[np.hypot(y - row, x - column) < diameter / 2] += random.uniform(300, 500)
    return image.clip(0).astype(np.uint16)


def save(folder):
    """The network, its size model and its card: of flows the slope of a blur, up to the middle."""
    y, x = np.mgrid[-_RADIUS : _RADIUS + 1, -_RADIUS : _RADIUS + 1].astype(np.float64)
    blur = np.exp(-(y**2 + x**2) / (2 * SIGMA**2))
    blur /= blur.sum()
    kernels = np.stack([blur * y, blur * x, blur])[:, np.newaxis].astype(np.float32)
    held = {
        "kernels": kernels,
        "two": np.array([2], np.int64),
        "parts": np.array([2, 1], np.int64),
        "channels": np.array([1], np.int64),
        "plane": np.array([2, 3], np.int64),
        "little": np.array(0.02, np.float32),
        "five": np.array(5, np.float32),
        "level": np.array(0.35, np.float32),
        "steep": np.array(20, np.float32),
    }
    nodes = [
        helper.make_node("Transpose", ["tiles"], ["x"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["x", "kernels"], ["maps"], pads=[_RADIUS] * 4),
        helper.make_node("Split", ["maps", "parts"], ["slope", "bright"], axis=1),
        helper.make_node("ReduceL2", ["slope", "channels"], ["length"], keepdims=1),
        helper.make_node("Add", ["length", "little"], ["by"]),
        helper.make_node("Div", ["slope", "by"], ["unit"]),
        helper.make_node("Mul", ["unit", "five"], ["steps"]),
        helper.make_node("Transpose", ["steps"], ["flows"], perm=[0, 2, 3, 1]),
        helper.make_node("Sub", ["bright", "level"], ["above"]),
        helper.make_node("Mul", ["above", "steep"], ["logit"]),
        helper.make_node("Transpose", ["logit"], ["probability"], perm=[0, 2, 3, 1]),
        helper.make_node("Concat", ["length", "bright", "x"], ["seen"], axis=1),
        helper.make_node("ReduceMean", ["seen", "plane"], ["means"], keepdims=1),
        helper.make_node("ReduceL2", ["means", "channels"], ["norm"], keepdims=1),
        helper.make_node("Add", ["norm", "little"], ["beyond"]),
        helper.make_node("Div", ["means", "beyond"], ["style_x"]),
        helper.make_node("Transpose", ["style_x"], [OUTPUT], perm=[0, 2, 3, 1]),
    ]
    sides = ["N", "Y", "X"]
    ends = [
        helper.make_tensor_value_info("flows", TensorProto.FLOAT, [*sides, 2]),
        helper.make_tensor_value_info("probability", TensorProto.FLOAT, [*sides, 1]),
        helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", 1, 1, VALUES]),
    ]
    start = helper.make_tensor_value_info("tiles", TensorProto.FLOAT, [*sides, 1])
    values = [numpy_helper.from_array(array, name) for name, array in held.items()]
    graph = helper.make_graph(nodes, "sized", [start], ends, values)
    folder.mkdir()
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), folder / "network.onnx")
    SizeModel(DIAMETER, DIAMETER, 0.338, (0.714, 0.474, 0.482), (2.76, 9.18, 0.65)).save(folder)
    ModelCard(
        name="sized",
        version="1",
        input=ModelInput(
            (InputChannel("nuclear"),), tile=(224, 224), object_diameter={"nuclear": DIAMETER}
        ),
        heads=(
            Head("flows", "nuclear", "flows", 2),
            Head("probability", "nuclear", "pixelwise", 1),
        ),
        postprocessing={
            "nuclear": {
                "method": "cellpose",
                "flows_head": "flows",
                "probability_head": "probability",
            }
        },
        default_compartment="nuclear",
        preprocessing=Preprocessing("percentile", low=1, high=99),
        tiling=Tiling("constant", 0.1, layout="tapered", fitted=True),
        size_model=True,
    ).save(folder)
    return folder
