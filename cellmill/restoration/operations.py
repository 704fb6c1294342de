"""What deconvolution computes with on a device."""

from __future__ import annotations

from cellmill.compute.devices import torch_name
from cellmill.restoration.processors import Processors
from cellmill.restoration.torch_device import TorchDevice

Operations = Processors | TorchDevice


def operations_on(device: str, threads: int | None) -> Operations:
    """What computes on a device, as `cellmill.compute.devices.device_for` named it."""
    return Processors(threads) if device == "cpu" else TorchDevice(torch_name(device))
