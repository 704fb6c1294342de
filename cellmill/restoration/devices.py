"""Where deconvolution is computed: on processors, or on a GPU that is there and has room."""

from __future__ import annotations

import importlib.util
from typing import Literal

from cellmill.errors import BadInput
from cellmill.restoration.processors import Processors
from cellmill.restoration.torch_device import TorchDevice, import_torch

Device = Literal["auto", "cpu", "cuda"]
#: `torch` is torch on processors: what a GPU computes, where there is none.
DEVICES = ("auto", "cpu", "cuda", "torch")
Operations = Processors | TorchDevice


def device_for(device: str, needed: int) -> str:
    """Say where something is computed.

    Args:
        device: `cpu`; `cuda`, a GPU by torch; or `auto`, a GPU where torch finds one that has as
            much free, else processors.
        needed: bytes on the device.

    Returns:
        The same, or what `auto` comes to.

    Raises:
        BadInput: there is no such device, or it has not as much free.
    """
    if device not in DEVICES:
        raise BadInput("device", expected=f"one of {', '.join(DEVICES)}", found=repr(device))
    if device == "auto":
        if importlib.util.find_spec("torch") is None:
            return "cpu"
        return "cuda" if _free() >= needed else "cpu"
    if device == "cuda":
        free = _free()
        if not free:
            raise BadInput("device", expected="a GPU that torch can use, or cpu", found="no GPU")
        if free < needed:
            expected = f"{-(-needed >> 20)} MiB free on the GPU, or cpu"
            raise BadInput("device", expected=expected, found=f"{free >> 20} MiB")
    return device


def operations_on(device: str, threads: int | None) -> Operations:
    """What computes on a device, as `device_for` named it."""
    if device == "cpu":
        return Processors(threads)
    return TorchDevice("cpu" if device == "torch" else device)


def _free() -> int:
    """Bytes that are free on the GPU; 0 where there is none."""
    torch = import_torch()
    return int(torch.cuda.mem_get_info()[0]) if torch.cuda.is_available() else 0
