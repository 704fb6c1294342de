"""The TensorFlow image's own check at its build: `smoke.py`, or `smoke.py -cuda`.

TensorFlow computes, with or without a GPU; the form with CUDA is one, and no library of CUDA's
lacks anything but the driver's, which a machine with a GPU brings. ONNX Runtime is there for the
same devices. The form without CUDA has OpenVINO, which reads SavedModels and ONNX.
"""

import ctypes
import sys
from pathlib import Path

import tensorflow as tf

from cellmill import extras


def main(form: str = "") -> None:
    """Compute a sum by convolution; load what this form has of CUDA."""
    total = tf.nn.conv2d(tf.ones((1, 3, 3, 1)), tf.ones((3, 3, 1, 1)), 1, "VALID")
    assert float(total) == 9, f"a convolution of nine ones gives {float(total)}"
    assert tf.keras.layers.Dense(1).units == 1
    title, wanted = f"cellmill-tensorflow{form}", form == "-cuda"
    found = tf.sysconfig.get_build_info()["is_cuda_build"]
    assert found == wanted, f"{title}: expected CUDA {wanted}, found {found}"
    packages = Path(tf.__file__).parent.parent
    libraries = sorted(packages.glob("nvidia/*/lib/*.so.*"))
    assert bool(libraries) == wanted, f"{title}: {len(libraries)} libraries of CUDA"
    loaded = sum(map(loads, libraries))
    assert loaded >= len(libraries) // 2, f"{title}: {loaded} of {len(libraries)} can be loaded"
    # Loaded as stages do: what reports its use is told not to.
    providers = extras.load("onnxruntime", "the image").get_available_providers()
    assert "CPUExecutionProvider" in providers, f"ONNX Runtime has {providers}"
    assert ("CUDAExecutionProvider" in providers) == wanted, f"ONNX Runtime has {providers}"
    if not wanted:
        openvino = extras.load("openvino", "the image")
        assert "CPU" in openvino.Core().available_devices, "OpenVINO finds no CPU"
        readers = (
            extras.load("openvino.frontend", "the image")
            .FrontEndManager()
            .get_available_front_ends()
        )
        assert {"tf", "onnx"} <= set(readers), f"OpenVINO reads {readers}"
    print(f"{title}: TensorFlow {tf.__version__}, {loaded} libraries of CUDA")


def loads(path: Path) -> bool:
    """Load a library; return whether it could be without the driver, which no build has."""
    try:
        ctypes.CDLL(str(path))
    except OSError as error:
        if "libcuda.so.1" not in str(error):
            raise
        return False
    return True


if __name__ == "__main__":
    main(*sys.argv[1:])
