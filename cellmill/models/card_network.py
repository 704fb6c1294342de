"""What a card says of its network, held against itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cellmill.labels.kinds import is_kind
from cellmill.typed_json import require


def check_channels(channels: Sequence[Any]) -> None:
    """Check what the network is given.

    Args:
        channels: of class `InputChannel`.

    Raises:
        WrongField: there are none, names are not told apart, or an optional one comes too early.
    """
    place, names = "input.channels", [channel.name for channel in channels]
    require(bool(channels), place, "at least one channel", "none")
    require(all(name.strip() for name in names), place, "a name for each", "an empty name")
    require(len(set(names)) == len(names), place, "different names", f"{names}")
    optional = [channel.optional for channel in channels]
    behind = optional == sorted(optional) and not all(optional)
    require(behind, place, "optional ones behind the others, not all", f"{optional}")


def check_tiles_and_heads(tile: tuple[int, ...], heads: Sequence[Any], tiling: Any) -> None:
    """Check tiles and heads.

    Args:
        tile: `(Y, X)` or `(Z, Y, X)`.
        heads: of class `Head`.
        tiling: of class `Tiling`.

    Raises:
        WrongField: something is out of range, or contradicts the rest.
    """
    sides = [*tile]
    require(len(tile) in (2, 3), "input.tile", "2 or 3 values", f"{len(tile)}")
    require(min(tile) >= 8, "input.tile", "sides of at least 8", f"{sides}")
    names = [head.name for head in heads]
    require(len(set(names)) == len(names), "heads", "different names", f"{[*dict.fromkeys(names)]}")
    for i, head in enumerate(heads):
        _check_head(head, tile, f"heads[{i}]")
    overlap = tiling.overlap
    require(0 <= overlap <= 0.5, "tiling.overlap", "0 to 0.5", f"{overlap}")
    _check_alignments(tile, tiling)
    whole = len(tile) == 2 and not tiling.margin
    require(whole or not tiling.fitted, "tiling.fitted", "planes, and no margin", "true")
    if tiling.layout == "tapered":
        _check_tapered(tile, heads, tiling)


def _check_alignments(tile: tuple[int, ...], tiling: Any) -> None:
    volumes, along_z = len(tile) == 3, tiling.alignment_z
    wanted = "0 or more with a network that sees volumes, else 0"
    require(0 <= along_z <= along_z * volumes, "tiling.alignment_z", wanted, f"{along_z}")
    names = ["alignment_z" if along_z else "alignment", "alignment", "alignment"][-len(tile) :]
    aligned = zip(names, tiling.alignments(len(tile)), tile, strict=True)
    for name, alignment, side in aligned:
        fits = alignment >= 1 and side % alignment == 0
        sides = f"{[side] if along_z else [*tile]}"
        require(fits, f"tiling.{name}", f"a divisor of {sides}", f"{alignment}")


def _check_tapered(tile: tuple[int, ...], heads: Sequence[Any], tiling: Any) -> None:
    plain = len(tile) == 2 and not any(side % 16 for side in tile)
    require(plain, "input.tile", "two multiples of 16 where tiles are tapered", f"{[*tile]}")
    whole = all(head.stride == 1 and head.margin == 0 for head in heads)
    require(whole, "heads", "a value for each pixel where tiles are tapered", "others")
    plain = tiling.padding == "constant" and not tiling.margin
    wanted = "'constant', and no margin, where tiles are tapered"
    require(plain, "tiling.padding", wanted, f"'{tiling.padding}', {tiling.margin}")


def _check_head(head: Any, tile: tuple[int, ...], place: str) -> None:
    require(head.name.isidentifier(), f"{place}.name", "an identifier", repr(head.name))
    kind = head.compartment
    named = is_kind(kind) or (head.kind == "image" and not kind)
    require(named, f"{place}.compartment", "the name of a kind of object", repr(kind))
    _check_margins(head, tile, place)
    require(head.channels >= 1, f"{place}.channels", "at least 1", f"{head.channels}")
    steps = head.strides(len(tile))
    names = ("stride_z", "stride", "stride")[-len(tile) :]
    for name, step, side in zip(names, steps, tile, strict=True):
        divides = step >= 1 and side % step == 0
        wanted = f"a divisor of the tile's sides, {[*tile]}"
        require(divides, f"{place}.{name}", wanted, f"{step}")
    if len(tile) == 3:
        what = "'cropped' in a network that sees volumes"
        cropped = head.placement == "cropped"
        require(cropped, f"{place}.placement", what, f"'{head.placement}'")


def _check_margins(head: Any, tile: tuple[int, ...], place: str) -> None:
    """Networks of volumes have margins where they make images; those of planes none along z."""
    may = {"margin": len(tile) == 2 or head.kind == "image", "margin_z": len(tile) == 3}
    may["margin_z"] &= may["margin"]
    sides = {"margin": min(tile[-2:]), "margin_z": tile[0]}
    for name, side in sides.items():
        most, margin = (side - 1) // 2 if may[name] else 0, getattr(head, name)
        require(0 <= margin <= most, f"{place}.{name}", f"0 to {most}", f"{margin}")
