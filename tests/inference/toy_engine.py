"""An engine of a few lines, to try choosing with: the reference's heads and an error of its own."""

from dataclasses import dataclass

import numpy as np

from cellmill.inference.registry import ENGINES, REFERENCE, Engine
from cellmill.models.networks import network_form

#: What is added to the heads; how often a network was loaded.
STATE = {"error": 0.0, "loads": 0}

#: The fastest of all; its version is that of a package that is always there.
TOY = Engine(
    name="toy",
    module="tests.inference.toy_engine",
    package="numpy",
    distributions={"numpy": ("cpu",)},
    reads=("savedmodel", "onnx"),
    precisions=("float32",),
    rank={"cpu": 0},
)


@dataclass(frozen=True)
class ToyNetwork:
    inner: object
    effect: dict
    error: float
    memory_errors = (MemoryError,)

    def gpu_peak_bytes(self):
        return 0

    def __call__(self, tiles):
        return [head + np.float32(self.error) for head in self.inner(tiles)]


def load(folder, card, *, device, precision, threads, heads):
    STATE["loads"] += 1
    reference = ENGINES[REFERENCE[network_form(folder)]]
    inner = reference.open(folder, card, device=device, precision=precision, heads=heads)
    effect = {"engine": "toy", "device": "cpu", "precision": precision}
    return ToyNetwork(inner, effect, STATE["error"])
