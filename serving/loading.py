"""A network from its settings, as whatever its card says it is."""

from __future__ import annotations

from collections.abc import Callable

from cellmill.models.fetch import fetch_model
from serving.asking import Served
from serving.segmenting import Segmenting
from serving.settings import Settings
from serving.transferring import Transferring


def load(settings: Settings, on_batch: Callable[[int], None] | None = None) -> tuple[str, Served]:
    """Load the network that a server is to serve.

    Args:
        settings: of the server.
        on_batch: told how many tiles each call of the network had.

    Returns:
        What clients call it, and it, ready to be called.

    Raises:
        BadInput: there is none, or it cannot be run so.
        CellmillError: it cannot be fetched.
    """
    fetched = fetch_model(settings.model)
    card = fetched.card
    name = settings.name or card.name
    if card.heads and all(head.kind == "image" for head in card.heads):
        return name, Transferring(
            fetched,
            most_pixels=settings.most_pixels,
            block=settings.block,
            engine=settings.engine,
            device=settings.device,
            precision=settings.precision,
            batch_size=settings.batch_size,
            threads=settings.threads,
            trust_model=settings.trust_model,
            on_batch=on_batch,
        )
    return name, Segmenting(
        settings.model,
        most_pixels=settings.most_pixels,
        compartment=settings.compartment,
        engine=settings.engine,
        device=settings.device,
        precision=settings.precision,
        batch_size=settings.batch_size,
        threads=settings.threads,
        memory_mib=settings.memory_mib,
        trust_model=settings.trust_model,
        on_batch=on_batch,
    )
