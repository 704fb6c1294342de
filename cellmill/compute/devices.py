"""Where arrays are computed: on processors, or by torch on a GPU that is there and has room."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any, Literal

from cellmill.errors import BadInput

Device = Literal["auto", "cpu", "cuda"]
#: `torch` is torch on processors: what a GPU computes, where there is none.
DEVICES = ("auto", "cpu", "cuda", "torch")


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


def import_torch() -> Any:
    """Import torch; of which build depends on the GPU's driver, so that no extra installs it.

    Raises:
        BadInput: it is not installed.
    """
    try:
        return importlib.import_module("torch")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        expected = "a GPU that torch can use (pip install torch), or cpu"
        raise BadInput("device", expected=expected, found="no torch") from None


def torch_name(device: str) -> str:
    """What torch calls a device that is not `cpu`, as `device_for` named it."""
    return "cpu" if device == "torch" else device


def _free() -> int:
    """Bytes that are free on the GPU; 0 where there is none."""
    torch = import_torch()
    return int(torch.cuda.mem_get_info()[0]) if torch.cuda.is_available() else 0
