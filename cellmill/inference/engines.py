"""Loading a network into the engine that is to run it: one that is named, or the fastest.

`auto` takes the fastest engine that is installed, computes on the device, reads the network and
gives its heads (see `proofs`). So the same packages, model and kind of device always have the same
engine. Nothing is imported but the engine that is taken, if its card or the cache knows of it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cellmill.errors import BadInput
from cellmill.inference.network import Device, Network, Precision
from cellmill.inference.proofs import BOUND, known_proof, proof_of, reference_of
from cellmill.inference.registry import ENGINES, Engine, Place, engine_named
from cellmill.models.card import ModelCard
from cellmill.models.card_origin import EngineProof
from cellmill.models.networks import FORMS, network_form
from cellmill.models.trust import check_network

AUTO = "auto"
"""What stands for the engine that is taken where none is named."""

#: Where drivers of GPUs show that there is one: NVIDIA's, in a container and in Windows' Linux.
_DRIVERS = ("/dev/nvidiactl", "/proc/driver/nvidia/version", "/dev/dxg")


def load_network(
    folder: str | os.PathLike[str],
    card: ModelCard,
    *,
    engine: str = AUTO,
    device: Device = "auto",
    precision: Precision = "float32",
    threads: int = 0,
    heads: Sequence[str] = (),
    trusted: bool = False,
) -> Network:
    """Load the network that lies beside a card into an engine.

    The network's `effect` says which engine it is, `engine_chosen` why, `largest_difference` and
    `largest_difference_from` how far its heads are from those of the network's reference engine,
    where that is known, and `engines_passed_over` which faster ones were not taken, and why.

    Args:
        folder: the model's folder.
        card: its card.
        engine: what computes it, by its name in the registry; `auto` takes the fastest.
        device: `auto` takes the first GPU if there is one that an engine can use, else the CPU.
        precision: the type that convolutions are computed in.
        threads: CPU threads; 0 lets the engine choose.
        heads: those to compute, in the card's order; empty is all.
        trusted: whether the network may do more than compute; see `models.trust`.

    Raises:
        BadInput: the engine is not there, cannot read the network or compute so, or the network is
            not the card's, or could do more than compute.
    """
    folder = Path(folder)
    if not trusted:
        check_network(folder, f"model '{card.name}'")
    asked = _Asked(folder, card, precision, threads, heads)
    if engine == AUTO:
        return _fastest(asked, device)
    named = engine_named(engine)
    network = asked.open(named, device)
    place: Place = "gpu" if network.effect["device"] == "gpu" else "cpu"
    network.effect.update(engine_chosen="named", **_known(known_proof(folder, card, named, place)))
    return network


@dataclass(frozen=True)
class _Asked:
    """What is to be loaded, whatever the engine and device."""

    folder: Path
    card: ModelCard
    precision: Precision
    threads: int
    heads: Sequence[str]

    def open(self, engine: Engine, device: Device) -> Network:
        return engine.open(
            self.folder,
            self.card,
            device=device,
            precision=self.precision,
            threads=self.threads,
            heads=self.heads,
        )


def _fastest(asked: _Asked, device: Device) -> Network:
    """The network in the first of the candidates that opens it and is not known to differ."""
    passed_over: dict[str, str] = {}
    refused = _none(asked, device)
    for engine, place in _candidates(asked, device):
        try:
            network = asked.open(engine, place)
        except BadInput as error:
            # Another engine may read it, or compute so; if none does, the last one's word counts.
            passed_over[f"{engine.name} on {place}"] = str(error)
            refused = error
            continue
        why, proof = _standing(asked, engine, place)
        if proof and proof.largest_difference > BOUND:
            found = f"{proof.largest_difference:g}, from {proof.reference}"
            passed_over[f"{engine.name} on {place}"] = f"its heads differ by {found}"
            refused = BadInput(
                f"engine {engine.name}",
                expected=f"heads that differ by at most {BOUND:g} (or engine={engine.name})",
                found=found,
            )
            continue
        network.effect.update(engine_chosen=f"auto: fastest on {place}, {why}", **_known(proof))
        if passed_over:
            network.effect["engines_passed_over"] = passed_over
        return network
    raise refused


def _standing(asked: _Asked, engine: Engine, place: Place) -> tuple[str, EngineProof | None]:
    """Why an engine may be taken, and what is known of its heads."""
    reference = reference_of(asked.folder)
    equal = "proven equal" if asked.precision == "float32" else "proven equal in float32"
    if engine is reference:
        return "its heads are the reference", None
    if reference.is_installed:
        return equal, proof_of(asked.folder, asked.card, engine, place)
    if known := known_proof(asked.folder, asked.card, engine, place):
        return equal, known
    return f"not proven, since {reference.name} is not installed", None


def _known(proof: EngineProof | None) -> dict[str, object]:
    """What is known of an engine's heads, for the record."""
    if proof is None:
        return {}
    return {
        "largest_difference": proof.largest_difference,
        "largest_difference_from": proof.reference,
    }


def _candidates(asked: _Asked, device: Device) -> list[tuple[Engine, Place]]:
    """The engines that may run a network and where, the fastest first, GPUs before CPUs."""
    form = network_form(asked.folder)
    able = [e for e in ENGINES.values() if form in e.reads and asked.precision in e.precisions]
    able = [engine for engine in able if engine.is_installed]
    places: list[Place] = []
    if device == "gpu" or (device == "auto" and has_gpu()):
        places.append("gpu")
    if device != "gpu":
        places.append("cpu")
    return [
        (engine, place)
        for place in places
        for engine in sorted(
            (engine for engine in able if place in engine.places),
            key=lambda engine: engine.rank[place],
        )
    ]


def has_gpu() -> bool:
    """Whether this machine shows a GPU to this process; no engine is asked, nothing imported."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1", "none", "void")
    return not hidden and any(Path(driver).exists() for driver in _DRIVERS)


def _none(asked: _Asked, device: Device) -> BadInput:
    """What to raise where no engine that is installed can be tried."""
    form = network_form(asked.folder)
    readers = [engine for engine in ENGINES.values() if form in engine.reads]
    installed = [engine for engine in readers if engine.is_installed]
    if not installed:
        ways = " or ".join(f"pip install 'cellmill[{engine.extra}]'" for engine in readers)
        return BadInput(
            "engine auto", expected=f"one that reads {FORMS[form].title} ({ways})", found="none"
        )
    names = ", ".join(engine.name for engine in installed)
    return BadInput(
        "engine auto",
        expected=f"one that computes {asked.precision} on device {device}",
        found=f"only {names}",
    )
