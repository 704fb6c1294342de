"""A volume goes through the stages by planes across all axes: `cellmill.segment`'s labels."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import cellmill
from cellmill.arrays.batch import Batch
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.contract import Dataset, Model, Record
from cellmill.errors import BadInput
from cellmill.models.card import Head, InputChannel, ModelCard, ModelInput, Preprocessing, Tiling
from cellmill.stages.postprocess import postprocess
from cellmill.stages.predict import predict
from cellmill.stages.preprocess import preprocess

FOUND = {"flow_threshold": 0.0, "cellprob_threshold": -1.0}
SIDE = 32


def save(folder):
    """A network of one convolution a head, and its card; weights are random."""
    random = np.random.default_rng(4)
    heads = (("flows", 2), ("probability", 1))
    nodes = [helper.make_node("Transpose", ["image"], ["x"], perm=[0, 3, 1, 2])]
    kernels, ends = [], []
    for name, count in heads:
        values = random.normal(0, 1, (count, 1, 5, 5)).astype(np.float32)
        kernels.append(numpy_helper.from_array(values, f"{name}_kernel"))
        given = ["x", f"{name}_kernel"]
        nodes.append(helper.make_node("Conv", given, [f"{name}_c"], pads=[2, 2, 2, 2]))
        nodes.append(helper.make_node("Transpose", [f"{name}_c"], [name], perm=[0, 2, 3, 1]))
        shape = ["N", SIDE, SIDE, count]
        ends.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    start = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", SIDE, SIDE, 1])
    graph = helper.make_graph(nodes, "planes", [start], ends, kernels)
    folder.mkdir()
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), folder / "network.onnx")
    ModelCard(
        name="planes",
        version="1",
        input=ModelInput(
            (InputChannel("nuclear"),), tile=(SIDE, SIDE), object_diameter={"nuclear": 12.0}
        ),
        heads=tuple(Head(name, "nuclear", "flows", count) for name, count in heads),
        postprocessing={
            "nuclear": {
                "method": "cellpose",
                "flows_head": "flows",
                "probability_head": "probability",
                **FOUND,
            }
        },
        default_compartment="nuclear",
        preprocessing=Preprocessing("percentile", low=1, high=99),
        tiling=Tiling("constant", 0.1),
    ).save(folder)
    return folder


@pytest.fixture(scope="module")
def planes(tmp_path_factory):
    return save(tmp_path_factory.mktemp("model") / "planes")


def staged(folder, stack, model, mpp=None, container="npz", **predicting):
    """The stages' entry of labels, and that of the predictions."""
    with BatchWriter(folder / "images") as out:
        layout = {"image": (stack.shape, stack.dtype, "ZYXC"[4 - stack.ndim :])}
        about = {"mpp": mpp, "channels": ["DAPI"], "container": container}
        with out.create("a", layout, **about) as arrays:
            arrays["image"][...] = stack
    at = {name: Dataset(folder / name) for name in ("images", "ready", "heads", "labels")}
    record = Record(folder / "record.json")
    preprocess(at["images"], Model(model), at["ready"], record, diameter="9")
    predict(at["ready"], Model(model), at["heads"], record, engine="onnxruntime", **predicting)
    postprocess(at["heads"], at["labels"], record)
    return [Batch.open(at[name].path) for name in ("heads", "labels")]


# Planes of 40 by 30 px become 53 by 40, and voxels as deep as wide.
@pytest.mark.parametrize(("mpp", "depth"), [(None, 7), ((1.6, 0.5, 0.5), 25)])
def test_stages_give_the_labels_of_one_call(planes, tmp_path, mpp, depth):
    stack = np.random.default_rng(0).integers(0, 200, (6, 40, 30, 1)).astype(np.uint8)
    heads, labels = staged(tmp_path, stack, planes, mpp, orientations=3)
    found = cellmill.segment(
        stack,
        z="all",
        model=str(planes),
        mpp=mpp,
        diameter=9,
        orientations=3,
        keep_maps=True,
        engine="onnxruntime",
    )
    (entry,) = heads.entries
    for name, expected in found.maps.items():
        np.testing.assert_array_equal(heads.read(entry, name), expected)
    assert entry.arrays["flows"].shape == (depth, 53, 40, 3)
    assert entry.mpp is None or entry.mpp[0] == pytest.approx(1.6 * 6 / depth)
    assert found.label_image.max() > 3
    np.testing.assert_array_equal(labels.read(labels.entries[0], "nuclear"), found.label_image)
    assert labels.entries[0].mpp == mpp
    # From a store, by another budget; nothing is left of what was put together.
    other, _ = staged(tmp_path / "bands", stack, planes, mpp, "zarr", orientations=3, memory_mib=64)
    for name in found.maps:
        np.testing.assert_array_equal(other.read(other.entries[0], name), heads.read(entry, name))
    assert not [*(tmp_path / "bands" / "heads").rglob("arrays-*")]
    # Block by block, within a budget that the deeper one does not fit.
    within = Dataset(tmp_path / "within")
    postprocess(Dataset(tmp_path / "heads"), within, Record(tmp_path / "within.json"), memory_mib=1)
    (blocks,) = (batch := Batch.open(within.path)).entries
    assert ("tiles" in blocks.attributes) == (depth > 20)
    np.testing.assert_array_equal(batch.read(blocks, "nuclear"), found.label_image)


def test_images_and_other_methods_have_one_orientation(planes, tmp_path):
    image = np.zeros((40, 30, 1), np.uint8)
    image[5:30, 5:20] = 9
    with pytest.raises(BadInput, match=r"orientations: expected 1 without z"):
        staged(tmp_path / "image", image, planes, orientations=3)
    with pytest.raises(BadInput, match="orientations: expected 1, or a method of cellpose"):
        staged(tmp_path / "other", image, planes, orientations=3, method="voronoi_otsu")
    with pytest.raises(BadInput, match="orientations: expected 1 or 3, found 2"):
        staged(tmp_path / "two", image, planes, orientations=2)
