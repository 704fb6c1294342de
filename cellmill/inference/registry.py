"""The engines that run networks: an entry each in `ENGINES`, imported when one is used.

An engine is a module with a function `load(folder, card, *, device, precision, threads, heads)`
that gives a `network.Network`. Everything else of cellmill asks this registry.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from cellmill import extras
from cellmill.errors import BadInput
from cellmill.inference.network import Device, Network, Precision
from cellmill.models.card import ModelCard
from cellmill.models.networks import FORMS, Form, network_form

Place = Literal["cpu", "gpu"]
"""What an engine computes on."""


@dataclass(frozen=True)
class Engine:
    """What is known of an engine without importing it.

    Args:
        name: as users say it.
        module: with its function `load`.
        package: that it needs, by the name under which it is imported.
        distributions: what brings the package, and what each computes on.
        reads: forms of networks.
        precisions: that it may compute in; a processor may lack one.
        rank: by what it computes on its place among the engines there, the fastest 1.
    """

    name: str
    module: str
    package: str
    distributions: Mapping[str, tuple[Place, ...]]
    reads: tuple[Form, ...]
    precisions: tuple[Precision, ...]
    rank: Mapping[Place, int]

    @property
    def extra(self) -> str:
        """The extra of cellmill that installs it; empty of what comes with cellmill itself."""
        return extras.EXTRAS.get(self.package, "")

    @property
    def is_installed(self) -> bool:
        """Whether its package is there; nothing is imported."""
        return importlib.util.find_spec(self.package) is not None

    @property
    def version(self) -> str:
        """The version that is installed, `""` if none is or none is known; nothing is imported."""
        return next((importlib.metadata.version(name) for name in self._present()), "")

    @property
    def places(self) -> tuple[Place, ...]:
        """What the installed package can compute on, if the machine has it."""
        found = {place for name in self._present() for place in self.distributions[name]}
        return tuple(place for place in self.rank if place in found or not found)

    def _present(self) -> list[str]:
        present = []
        for name in self.distributions:
            try:
                importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
            present.append(name)
        return present

    def open(
        self,
        folder: Path,
        card: ModelCard,
        *,
        device: Device = "auto",
        precision: Precision = "float32",
        threads: int = 0,
        heads: Sequence[str] = (),
    ) -> Network:
        """Load the network that lies beside a card. Every network is opened here.

        Args:
            folder: the model's folder.
            card: its card.
            device: `auto` takes the first GPU if the engine finds one, else the CPU.
            precision: the type that convolutions are computed in.
            threads: CPU threads; 0 lets the engine choose.
            heads: those to compute, in the card's order; empty is all.

        Raises:
            BadInput: the engine is not installed, does not read the network, cannot compute so, or
                the network is not the card's.
        """
        self._check(device, precision, threads)
        form = network_form(folder)
        if form not in self.reads:
            read = " or ".join(FORMS[each].title for each in self.reads)
            raise BadInput(
                f"engine {self.name}",
                expected=f"a model that it reads, {read}",
                found=f"{FORMS[form].title} ({FORMS[form].graph})",
            )
        if not self.is_installed:
            raise extras.missing(self.package, f"engine {self.name}")
        network: Network = importlib.import_module(self.module).load(
            folder, card, device=device, precision=precision, threads=threads, heads=heads
        )
        return network

    def _check(self, device: Device, precision: Precision, threads: int) -> None:
        for name, value, known in (("device", device, Device), ("precision", precision, Precision)):
            if value not in get_args(known):
                raise BadInput(name, expected=f"one of {', '.join(get_args(known))}", found=value)
        if threads < 0:
            raise BadInput("threads", expected="0 or more", found=f"{threads}")
        if device not in ("auto", *self.rank):
            wanted = " or ".join(("auto", *self.rank))
            raise BadInput("device", expected=f"{wanted} with engine {self.name}", found=device)
        if precision not in self.precisions:
            wanted = " or ".join(self.precisions)
            raise BadInput(
                "precision", expected=f"{wanted} with engine {self.name}", found=precision
            )


_ENGINES = (
    Engine(
        name="tensorflow",
        module="cellmill.inference.tensorflow_engine",
        package="tensorflow",
        distributions={"tensorflow-cpu": ("cpu",), "tensorflow": ("cpu", "gpu")},
        reads=("savedmodel",),
        precisions=("float32", "mixed_bfloat16", "mixed_float16"),
        rank={"gpu": 1, "cpu": 3},
    ),
    Engine(
        name="openvino",
        module="cellmill.inference.openvino_engine",
        package="openvino",
        distributions={"openvino": ("cpu",)},
        reads=("savedmodel", "onnx"),
        precisions=("float32", "mixed_bfloat16"),
        rank={"cpu": 1},
    ),
    Engine(
        name="onnxruntime",
        module="cellmill.inference.onnxruntime_engine",
        package="onnxruntime",
        distributions={"onnxruntime": ("cpu",), "onnxruntime-gpu": ("cpu", "gpu")},
        reads=("onnx",),
        precisions=("float32",),
        rank={"gpu": 2, "cpu": 2},
    ),
    Engine(
        name="forest",
        module="cellmill.inference.forest_engine",
        package="numba",
        # On a GPU it goes by torch, whose build follows the driver.
        distributions={"numba": ("cpu",), "torch": ("gpu",)},
        reads=("forest",),
        precisions=("float32",),
        rank={"gpu": 3, "cpu": 4},
    ),
)

ENGINES: Mapping[str, Engine] = {engine.name: engine for engine in _ENGINES}
"""All engines, by name."""

REFERENCE: Mapping[Form, str] = {
    "savedmodel": "tensorflow",
    "onnx": "onnxruntime",
    "forest": "forest",
}
"""The engine that a form of network was made for: what others are held against."""


def engine_named(name: str) -> Engine:
    """The engine of that name.

    Raises:
        BadInput: there is none.
    """
    if name not in ENGINES:
        raise BadInput("engine", expected=f"one of auto, {', '.join(ENGINES)}", found=name)
    return ENGINES[name]
