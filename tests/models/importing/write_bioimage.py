"""Write bioimage.io packages; an interpreter with onnx or with keras runs this file, not ours.

`python write_bioimage.py onnx|keras FOLDER`: `FOLDER/package`, a network of one convolution with
steps before and behind it, and a test whose outputs come from numpy alone. `rdf.json` is what
`rdf.yaml` says, which the test writes.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

form, folder = sys.argv[1], Path(sys.argv[2], "package")
folder.mkdir(parents=True)
rng = np.random.default_rng(1)
kernel = rng.normal(0, 0.4, (3, 3, 1, 2)).astype(np.float32)
image = rng.integers(0, 4000, (1, 64, 96, 1)).astype(np.float32)

low, high = np.percentile(image, [1, 99.8])
given = (image - low) / (high - low + 1e-6) * 2 - 0.5
padded = np.pad(given, ((0, 0), (1, 1), (1, 1), (0, 0)))
maps = np.zeros((1, 64, 96, 2))
for i in range(3):
    for j in range(3):
        maps += padded[:, i : i + 64, j : j + 96] @ kernel[i, j]
wanted = np.clip(1 / (1 + np.exp(-maps)), 0.2, 0.8).astype(np.float32)

if form == "onnx":
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    axes, weights = "bcyx", folder / "weights.onnx"
    image, wanted = np.moveaxis(image, -1, 1), np.moveaxis(wanted, -1, 1)
    node = helper.make_node("Conv", ["raw", "kernel"], ["maps"], pads=[1, 1, 1, 1])
    graph = helper.make_graph(
        [node],
        "network",
        [helper.make_tensor_value_info("raw", TensorProto.FLOAT, ["b", 1, "y", "x"])],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, ["b", 2, "y", "x"])],
        [numpy_helper.from_array(np.transpose(kernel, (3, 2, 0, 1)).copy(), "kernel")],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), str(weights))
else:
    import keras

    axes, weights = "byxc", folder / "weights.h5"
    start = keras.Input((None, None, 1))
    layer = keras.layers.Conv2D(2, 3, padding="same", use_bias=False)
    model = keras.Model(start, layer(start))
    layer.set_weights([kernel])
    model.save(str(weights))

np.save(folder / "in.npy", image)
np.save(folder / "out.npy", wanted)
entry = {"source": weights.name, "sha256": hashlib.sha256(weights.read_bytes()).hexdigest()}
description = {
    "format_version": "0.4.9",
    "name": "Nuclei of a test",
    "license": "MIT",
    "inputs": [
        {
            "name": "raw",
            "axes": axes,
            "preprocessing": [
                {
                    "name": "scale_range",
                    "kwargs": {
                        "axes": "xy",
                        "mode": "per_sample",
                        "min_percentile": 1,
                        "max_percentile": 99.8,
                    },
                },
                {"name": "scale_linear", "kwargs": {"gain": 2, "offset": [-0.5], "axes": "yx"}},
            ],
        }
    ],
    "outputs": [
        {
            "name": "maps",
            "axes": axes,
            "postprocessing": [
                {"name": "sigmoid"},
                {"name": "clip", "kwargs": {"min": 0.2, "max": 0.8}},
            ],
        }
    ],
    "test_inputs": ["in.npy"],
    "test_outputs": ["out.npy"],
    "weights": {"onnx" if form == "onnx" else "keras_hdf5": entry},
}
Path(sys.argv[2], "rdf.json").write_text(json.dumps(description))
