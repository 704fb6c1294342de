"""What plays a role of a method: channels of a head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cellmill.arrays.windows import Channels, Plane, Windowed
from cellmill.errors import BadInput
from cellmill.segmentation.interface import Role


@dataclass(frozen=True)
class Source:
    """What plays a role: a head, the first of its channels that counts, and its strides."""

    head: str
    channel: int = 0
    stride: int = 1
    stride_z: int = 1

    def strides(self, axes: int) -> tuple[int, ...]:
        """Pixels a value: of two axes along Y and X, of three along Z too."""
        return (self.stride_z, self.stride, self.stride)[3 - axes :]


def map_of(heads: Mapping[str, Windowed], role: Role, source: Source) -> Windowed:
    """The channels of a head that play a role, `(Y, X, …)` or `(Z, Y, X, …)`.

    Raises:
        BadInput: the head or a channel is not there.
    """
    name, channel = source.head, source.channel
    if name not in heads:
        raise BadInput(
            "predictions", expected=f"a head '{name}'", found=", ".join(heads) or "no heads"
        )
    shape = tuple(heads[name].shape)
    if len(shape) not in (3, 4):
        raise BadInput(f"head '{name}'", expected="(Y, X, C) or (Z, Y, X, C)", found=f"{shape}")
    count = role.channels or shape[-1] - channel
    if len(shape) == 4 and 0 <= channel <= shape[-1] - role.volume_channels:
        count = role.volume_channels or count
    if not 0 <= channel <= shape[-1] - max(count, 1):
        last = channel + count - 1
        wanted = f"a channel {channel}" if count == 1 else f"channels {channel} to {last}"
        raise BadInput(f"head '{name}'", expected=wanted, found=f"{shape[-1]} channels")
    if role.channels == 1:
        return Plane(heads[name], channel)
    return Channels(heads[name], channel, channel + count)
