"""Optional packages are taken quietly: none of them reports to its makers what users do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_LOADS = """
import onnx
from onnx import TensorProto, helper
from cellmill import extras
value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])
graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", [value("x")], [value("y")])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
model.ir_version = 8
runtime = extras.load("onnxruntime", "a test")
runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
"""


def test_onnx_runtime_reports_nothing(tmp_path: Path) -> None:
    """It writes an identifier of the machine, and what it is to send, into the user's cache."""
    pytest.importorskip("onnxruntime")
    # Under CI it is silent of itself.
    environ = {key: os.environ[key] for key in ("PATH", "PYTHONPATH") if key in os.environ}
    subprocess.run(
        [sys.executable, "-c", _LOADS], env={**environ, "HOME": str(tmp_path)}, check=True
    )
    assert not list(tmp_path.rglob("*onnxruntime*"))
