"""Optional packages are taken quietly: none of them reports to its makers what users do."""

from __future__ import annotations

import importlib.metadata
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


def needs(distribution: str) -> None:
    """Skip where something is not installed. To import it here would report it."""
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{distribution} is not installed")


def left_in_home(home: Path, code: str) -> list[Path]:
    """Files in a new user's home after a program."""
    # Under CI such packages are silent of themselves.
    environ = {key: os.environ[key] for key in ("PATH", "PYTHONPATH") if key in os.environ}
    command = [sys.executable, "-c", code]
    subprocess.run(command, env={**environ, "HOME": str(home)}, check=True)
    return [path for path in home.rglob("*") if path.is_file()]


def test_onnx_runtime_reports_nothing(tmp_path: Path) -> None:
    """It writes an identifier of the machine, and what it is to send, into the user's cache."""
    needs("onnxruntime")
    assert not [path for path in left_in_home(tmp_path, _LOADS) if "onnxruntime" in path.name]


def test_openvino_reports_nothing(tmp_path: Path) -> None:
    """It sends that it was imported, with an identifier of the user that it leaves in their home.

    The package that it does so by starts a thread, which nobody wants in a process that forks.
    """
    needs("openvino")
    code = """
import sys
from cellmill import extras
assert extras.load("openvino", "a test").Core().available_devices
extras.load("openvino.opset11", "a test")
assert not [name for name in sys.modules if name.startswith("openvino_telemetry.")]
"""
    assert not left_in_home(tmp_path, code)


def test_what_the_user_imported_stays() -> None:
    """A program of the user's own may want to report."""
    needs("openvino-telemetry")
    code = """
import openvino_telemetry
from cellmill import extras
extras.load("openvino", "a test")
import openvino_telemetry as again
assert again is openvino_telemetry
"""
    # Told not to send, by the variable that its makers heed.
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "CI": "true"}, check=True)
