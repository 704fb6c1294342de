import contextlib
import os
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from cellmill.contract.cli import main
from cellmill.errors import BadInput
from cellmill.inference.engines import load_network
from cellmill.models.card import ModelCard
from cellmill.models.protobuf import fields
from cellmill.models.shipped import shipped_models
from cellmill.models.trust import check_network

_SAVE = """
import sys
import tensorflow as tf

class Bad(tf.Module):
    def __init__(self):
        super().__init__()
        self.v = tf.Variable(1.0)

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 1], tf.float32)])
    def __call__(self, x):
        BODY
        return x * self.v

model = Bad()
tf.saved_model.save(model, sys.argv[1], signatures=model.__call__.get_concrete_function())
"""
BODIES = {
    "ReadFile": "x += tf.cast(tf.strings.length(tf.io.read_file('/etc/passwd')), tf.float32)",
    "WriteFile": "tf.io.write_file('/tmp/never', 'x')",
    "MatchingFiles": "x += tf.cast(tf.size(tf.io.matching_files('/*')), tf.float32)",
    "PrintV2": "tf.print('x', output_stream='file:///tmp/never')",
    "EagerPyFunc": "x = tf.py_function(lambda a: a, [x], tf.float32)",
    "RestoreV2": "x += tf.raw_ops.RestoreV2(prefix='/tmp/never', tensor_names=['a'], "
    "shape_and_slices=[''], dtypes=[tf.float32])[0]",
    "IO in a branch": "x = tf.cond(x[0, 0, 0, 0] > 0, lambda: x, lambda: x + "
    "tf.cast(tf.strings.length(tf.io.read_file('/etc/passwd')), tf.float32))",
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Save a model whose function does something; in a process of its own."""

    def save(body):
        folder = tmp_path_factory.mktemp("saved") / "model"
        code = _SAVE.replace("BODY", body)
        script = folder.parent / "save.py"
        script.write_text(code)
        done = subprocess.run(
            [sys.executable, script, folder],
            capture_output=True,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        assert done.returncode == 0, done.stderr
        return folder

    return save


@pytest.mark.parametrize("folder", shipped_models().values(), ids=shipped_models())
def test_what_ships_only_computes(folder):
    check_network(folder)


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", BODIES)
def test_operations_that_reach_outside_are_refused_by_name(name, saved):
    operation = name if name in ("ReadFile", "RestoreV2") else name.split(" ")[0]
    operation = "ReadFile" if name == "IO in a branch" else operation
    with pytest.raises(BadInput, match=f"only computes.*operation .*{operation}"):
        check_network(saved(BODIES[name]))


@pytest.mark.tensorflow
def test_a_model_of_many_layers_only_computes(saved):
    body = (
        "x = tf.nn.conv2d(x, tf.ones([3, 3, 1, 1]), 1, 'SAME'); x = tf.image.resize(x, [16, 16]); "
        "x = tf.nn.max_pool2d(x, 2, 2, 'SAME'); x = tf.nn.softmax(tf.transpose(x, [0, 2, 1, 3])); "
        "x = tf.while_loop(lambda a: tf.reduce_mean(a) < 0, lambda a: [a + 1], [x])[0]"
    )
    check_network(saved(body))


def _onnx(folder, node=None, **tensor):
    folder.mkdir()
    weights = helper.make_tensor("w", TensorProto.FLOAT, [1], [2.0])
    if tensor:
        weights.ClearField("float_data")
        weights.data_location = TensorProto.EXTERNAL
        for key, value in tensor.items():
            weights.external_data.add(key=key, value=value)
    shape = ["n", 8, 8, 1]
    graph = helper.make_graph(
        [node or helper.make_node("Mul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [weights],
    )
    domains = {"", *([node.domain] if node else [])}
    opsets = [helper.make_opsetid(domain, 17 if not domain else 1) for domain in domains]
    data = helper.make_model(graph, opset_imports=opsets).SerializeToString()
    (folder / "network.onnx").write_bytes(data)
    return folder


def test_onnx_of_its_own_operators_only_computes(tmp_path):
    check_network(_onnx(tmp_path / "a"))
    check_network(_onnx(tmp_path / "b", location="weights.bin"))


def test_custom_operators_of_onnx_are_refused_in_branches_too(tmp_path):
    custom = helper.make_node("Run", ["x"], ["y"], domain="evil")
    with pytest.raises(BadInput, match="custom domain 'evil'"):
        check_network(_onnx(tmp_path / "a", custom))
    inner = helper.make_graph(
        [custom], "inner", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    )
    branch = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    with pytest.raises(BadInput, match="'Run' of the custom domain 'evil'"):
        check_network(_onnx(tmp_path / "b", branch))


@pytest.mark.parametrize("place", ["/etc/passwd", "../weights.bin", "a/../../b"])
def test_weights_outside_the_folder_are_refused(tmp_path, place):
    with pytest.raises(BadInput, match="weights in its folder"):
        check_network(_onnx(tmp_path / "a", location=place))


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    (folder,) = [*shipped_models().values()][:1]
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    check_network(copy)
    (copy / "variables" / "extra").symlink_to("/etc/passwd")
    with pytest.raises(BadInput, match="a link out of its folder"):
        check_network(copy)


@given(st.binary(max_size=400), st.integers(0, 1 << 30))
def test_damage_is_refused_or_harmless(tmp_path_factory, junk, place):
    (folder,) = [*shipped_models().values()][:1]
    data = bytearray((folder / "saved_model.pb").read_bytes()[:20_000])
    place %= len(data)
    data[place : place + len(junk)] = junk
    made = tmp_path_factory.mktemp("damaged")
    for name in ("saved_model.pb", "network.onnx"):
        (made / name).write_bytes(data)
    # Damage that leaves a message of known operations is the framework's to find.
    with contextlib.suppress(BadInput):
        check_network(made)


def test_fields_of_a_message_are_what_was_written():
    tensor = onnx.numpy_helper.from_array(np.arange(3, dtype=np.int64), "name")
    found = dict(fields(memoryview(tensor.SerializeToString())))
    assert found[1] == 3
    assert found[2] == TensorProto.INT64
    assert bytes(found[8]) == b"name"


@pytest.mark.tensorflow
def test_stages_refuse_such_a_network_unless_it_is_trusted(tmp_path, saved, capsys):
    folder = saved("tf.print('computed')")
    (shipped,) = [*shipped_models().values()][:1]
    (folder / "model.json").write_text((shipped / "model.json").read_text())
    call = ["fetch_model", "--source", str(folder), "--model", str(tmp_path / "model")]
    assert main(call) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "operation" in line
    assert "TRUST_MODEL=1" in line
    assert not (tmp_path / "model").exists()
    assert main([*call, "--trust-model"]) == 0
    with pytest.raises(BadInput, match="only computes"):
        load_network(folder, ModelCard.load(folder))
