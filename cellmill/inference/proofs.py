"""Showing that an engine gives a network's heads: on a few tiles, against the reference engine.

`python -m cellmill.inference.proofs [FOLDER …]` does so for all engines that are installed and
writes it on the cards of models, those that ship if none is named. What no card says is found out
once and kept in the cache.

Two engines are equal on a network if no value of a head differs by more than `BOUND`, as a part of
the head's largest value where that is above 1.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cellmill import extras
from cellmill.arrays.files import write_text
from cellmill.compute.folders import cache_folder
from cellmill.errors import BadInput, CellmillError
from cellmill.inference.blocks import with_tile
from cellmill.inference.registry import ENGINES, REFERENCE, Engine, Place
from cellmill.models.card import ModelCard
from cellmill.models.card_origin import EngineProof
from cellmill.models.networks import network_digest, network_form
from cellmill.models.shipped import shipped_models
from cellmill.models.trust import check_network
from cellmill.terminal import say
from cellmill.typed_json import from_json, to_json

BOUND = 1e-4
#: Voxels along a block that a network of volumes is compared on, its margin not counted.
_PROBED_SIDE = 32


def probe_card(card: ModelCard) -> ModelCard:
    """The card for tiles that a network is compared on: of volumes, small ones.

    A network that sees volumes takes blocks of any sides that it can pool.
    """
    if not card.input.sees_volumes:
        return card
    sides = []
    for axis, side in enumerate(card.input.tile):
        step = math.lcm(card.alignment, card.tiling.alignments(3)[axis])
        margin = max(head.margins(3)[axis] for head in card.heads)
        sides.append(min(side, -(-(_PROBED_SIDE + 2 * margin) // step) * step))
    return with_tile(card, tuple(sides))


def probe_tiles(card: ModelCard) -> np.ndarray:
    """Tiles as a network may be given them, always the same.

    Returns:
        `(4, Y, X, C)` or `(4, Z, Y, X, C)` float32: an empty one, noise, smooth objects, and
        objects in noise of more contrast, below 0 and above 1.
    """
    shape = (*card.input.tile, len(card.input.channels))
    *sections, rows, columns, channel = np.ogrid[tuple(map(slice, shape))]
    waves = np.cos(rows / 7 + channel) * np.cos(columns / 9 - channel)
    for section in sections:
        waves = waves * np.cos(section / 5 - channel)
    objects = np.clip(waves, 0, 1) ** 2
    noise = np.random.default_rng(0).random(shape)
    tiles = [np.zeros_like(noise), noise, objects, 1.5 * objects + 0.5 * noise - 0.25]
    return np.stack(tiles).astype(np.float32)


def largest_difference(heads: Sequence[np.ndarray], reference: Sequence[np.ndarray]) -> float:
    """How far heads are from a reference's, as a part of a head's largest value where above 1."""
    return max(
        float(np.abs(head - wanted).max() / max(1, np.abs(wanted).max()))
        for head, wanted in zip(heads, reference, strict=True)
    )


def reference_of(folder: Path) -> Engine:
    """The engine that the network in a model's folder was made for."""
    return ENGINES[REFERENCE[network_form(folder)]]


def prove(folder: Path, card: ModelCard, engine: Engine, place: Place = "cpu") -> EngineProof:
    """Compare an engine's heads with those of the network's reference engine, in float32.

    The network is opened; whether it may be is asked before.

    Args:
        folder: the model's.
        card: its card.
        engine: which engine.
        place: what it computes on; the reference computes on the CPU.

    Raises:
        BadInput: one of the two is not installed, or cannot run the network.
    """
    reference, card = reference_of(folder), probe_card(card)
    tiles = probe_tiles(card)
    wanted = reference.open(folder, card, device="cpu")(tiles)
    heads = engine.open(folder, card, device=place)(tiles)
    return EngineProof(
        version=engine.version,
        reference=f"{reference.name} {reference.version}",
        largest_difference=float(f"{largest_difference(heads, wanted):.2g}"),
        network=network_digest(folder),
    )


def known_proof(
    folder: Path, card: ModelCard, engine: Engine, place: Place = "cpu"
) -> EngineProof | None:
    """What the card or the cache says of an engine as it is installed; none if neither does.

    A card says it of CPUs.
    """
    digest = network_digest(folder)
    on_card = card.engines.get(engine.name) if place == "cpu" else None
    for proof in (on_card, _cached(digest, engine, place)):
        if proof and (proof.version, proof.network) == (engine.version, digest) and proof.version:
            return proof
    return None


def proof_of(folder: Path, card: ModelCard, engine: Engine, place: Place = "cpu") -> EngineProof:
    """What is known of an engine; found out and kept in the cache if nothing is.

    Raises:
        BadInput: as `prove`.
    """
    if known := known_proof(folder, card, engine, place):
        return known
    proof = prove(folder, card, engine, place)
    # A cache that cannot be written costs the same again next time, no more.
    with contextlib.suppress(CellmillError, OSError):
        path = _cache_file(proof.network, engine, place)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(to_json(proof), indent=1) + "\n")
    return proof


def proven(folder: Path, card: ModelCard) -> ModelCard:
    """The card with what was found of every engine that is installed and reads the network."""
    reference, form = reference_of(folder), network_form(folder)
    if not reference.is_installed:
        raise extras.missing(reference.package, f"engine {reference.name}")
    others = [
        engine
        for engine in ENGINES.values()
        if engine is not reference and form in engine.reads and engine.is_installed
    ]
    return replace(card, engines={e.name: prove(folder, card, e) for e in others})


def _cache_file(digest: str, engine: Engine, place: Place) -> Path:
    name = f"{digest.removeprefix('sha256:')[:32]}-{engine.name}-{engine.version}-{place}.json"
    return cache_folder("engines") / name


def _cached(digest: str, engine: Engine, place: Place) -> EngineProof | None:
    with contextlib.suppress(OSError, ValueError, BadInput):
        text = _cache_file(digest, engine, place).read_text(encoding="utf-8")
        proof: EngineProof = from_json(EngineProof, json.loads(text), "")
        return proof
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Write on cards how far each engine's heads are from the reference's."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path, help="of models; none is all that ship")
    parser.add_argument("--trusted", action="store_true", help="even if they could do more")
    given = parser.parse_args(arguments)
    try:
        for folder in given.folders or shipped_models().values():
            card = ModelCard.load(folder)
            if not given.trusted:
                check_network(folder, f"model '{card.name}'")
            card = proven(folder, card)
            card.save(folder)
            for name, proof in card.engines.items():
                text = "equal" if proof.largest_difference <= BOUND else "DIFFERENT"
                say(
                    f"{card.name}: {name} {proof.version} differs from {proof.reference} by "
                    f"{proof.largest_difference:.2g}: {text}"
                )
    except CellmillError as error:
        say(f"cellmill: {error}", to=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
