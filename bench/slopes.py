"""A network of planes as small as can be that gives what Cellpose's give: flows and a logit.

One convolution: flows go up the slope of the light that is blurred, and what is bright is a cell.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cellmill.models.card import Head, InputChannel, ModelCard, ModelInput, Preprocessing, Tiling

#: Sides of a tile, pixels; the blur's σ and how far it reaches; how steep flows and logit are.
_TILE, _SIGMA, _REACH = 256, 2.0, 6
_FLOW, _LOGIT, _LEVEL = 60.0, 12.0, 0.3


def write_slopes(folder: Path) -> None:
    """Write the network and its card."""
    line = np.arange(-_REACH, _REACH + 1)
    bell = np.exp(-(line**2) / (2 * _SIGMA**2))
    blur = np.outer(bell, bell) / np.outer(bell, bell).sum()
    down = blur * line[:, np.newaxis] / _SIGMA**2
    kernels = {"flows": np.stack([down, down.T]) * _FLOW, "probability": blur[np.newaxis] * _LOGIT}
    nodes = [helper.make_node("Transpose", ["image"], ["x"], perm=[0, 3, 1, 2])]
    given, ends = [], []
    for name, values in kernels.items():
        offset = np.full(len(values), -_LEVEL * _LOGIT if name == "probability" else 0, np.float32)
        weights = values[:, np.newaxis].astype(np.float32)
        given += [numpy_helper.from_array(weights, f"{name}_kernel")]
        given += [numpy_helper.from_array(offset, f"{name}_offset")]
        read = ["x", f"{name}_kernel", f"{name}_offset"]
        nodes.append(helper.make_node("Conv", read, [f"{name}_c"], pads=[_REACH] * 4))
        nodes.append(helper.make_node("Transpose", [f"{name}_c"], [name], perm=[0, 2, 3, 1]))
        shape: list[str | int | None] = ["N", _TILE, _TILE, len(values)]
        ends.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    start = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", _TILE, _TILE, 1])
    graph = helper.make_graph(nodes, "slopes", [start], ends, given)
    folder.mkdir()
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), folder / "network.onnx")
    ModelCard(
        name="slopes",
        version="1",
        input=ModelInput((InputChannel("nuclear"),), tile=(_TILE, _TILE)),
        heads=tuple(Head(name, "nuclear", "flows", len(each)) for name, each in kernels.items()),
        postprocessing={
            "nuclear": {
                "method": "cellpose",
                "flows_head": "flows",
                "probability_head": "probability",
            }
        },
        default_compartment="nuclear",
        preprocessing=Preprocessing("percentile", low=1, high=99),
        tiling=Tiling("constant", 0.1),
    ).save(folder)
