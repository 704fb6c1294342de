"""What a card says of where its network came from, and of what was compared with it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EngineProof:
    """How far an engine's heads were from those of the engine that a network was made for.

    Args:
        version: of the engine.
        reference: the other engine and its version.
        largest_difference: between values of a head; see `cellmill.inference.proofs`.
        network: digest of the network that both ran.
    """

    version: str
    reference: str
    largest_difference: float
    network: str


@dataclass(frozen=True)
class Import:
    """Where a network was brought in from, and how far it is from the original.

    Args:
        framework: whose it is, and the version that opened it.
        source: digest of the framework's own files.
        largest_difference: between values of a head; see `cellmill.inference.proofs`.
        tiles: on which that was measured.
    """

    framework: str
    source: str
    largest_difference: float
    tiles: str
