"""What runs a network: TensorFlow, on GPUs and CPUs, or OpenVINO, faster on CPUs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal, get_args

from cellmill.errors import BadInput
from cellmill.inference import savedmodel
from cellmill.inference.openvino_engine import OpenVinoNetwork, load_in_openvino
from cellmill.inference.savedmodel import Device, Network, Precision
from cellmill.models.card import ModelCard

Engine = Literal["tensorflow", "openvino"]


def load_network(
    folder: str | os.PathLike[str],
    card: ModelCard,
    *,
    engine: Engine = "tensorflow",
    device: Device = "auto",
    precision: Precision = "float32",
    threads: int = 0,
    heads: Sequence[str] = (),
) -> Network | OpenVinoNetwork:
    """Load the SavedModel that lies beside a card into an engine.

    Args:
        folder: the model's folder, with `saved_model.pb`.
        card: its card.
        engine: what computes it.
        device: `auto` takes the first GPU if the engine finds one, else the CPU.
        precision: the type that convolutions are computed in.
        threads: CPU threads; 0 lets the engine choose.
        heads: those to compute, in the card's order; empty is all.

    Raises:
        BadInput: the engine is not there, cannot read the model or compute so, or the model is not
            the card's.
    """
    choices = (("engine", engine, Engine), ("device", device, Device))
    for name, value, known in (*choices, ("precision", precision, Precision)):
        if value not in get_args(known):
            raise BadInput(name, expected=f"one of {', '.join(get_args(known))}", found=value)
    load = load_in_openvino if engine == "openvino" else savedmodel.load
    return load(folder, card, device=device, precision=precision, threads=threads, heads=heads)


def memory_errors(engine: Engine) -> tuple[type[Exception], ...]:
    """What an engine raises when a device's memory is exhausted."""
    return (MemoryError,) if engine == "openvino" else savedmodel.memory_errors()
