"""Stage: bring a model into the pipeline."""

from __future__ import annotations

from cellmill.contract import Model, Output, Record, stage
from cellmill.models.fetch import copy_model
from cellmill.models.fetch import fetch_model as fetch
from cellmill.models.trust import check_network
from cellmill.segmentation.methods import check_card


@stage(image="imaging", family="input")
def fetch_model(
    model: Output[Model],
    record: Output[Record],
    source: str = "",
    digest: str = "",
    card: str = "",
    trust_model: bool = False,
) -> None:
    """Get a model by name, path or URI, verified, with its card.

    Args:
        model: The model's folder, network and model.json; a card alone where objects are found in
            the image itself.
        record: What was done, with times and versions.
        source: Empty for cellmill's model of nuclei, or the name of another that ships with
            cellmill; voronoi_otsu, which needs no network; Mesmer, NuclearSegmentation or
            CytoplasmSegmentation (the first two with your token in DEEPCELL_ACCESS_TOKEN); or the
            path or URI of a model's folder, .tar.gz or
            .zip.
        digest: Checksum the model must have, sha256:… or md5:…; empty checks what a known model's
            card says.
        card: Path or URI of a model.json, for a SavedModel without one.
        trust_model: Take a network even if it has operations that could do more than compute: read
            files, or run code.
    """
    with record.step("fetch"):
        fetched = fetch(source, digest=digest, card=card)
    check_card(fetched.card)
    if fetched.card.heads and not trust_model:
        with record.step("check"):
            check_network(fetched.folder, f"model '{fetched.card.name}'")
    with record.step("copy"):
        copy_model(fetched, model.path)
    model.metadata.update(
        name=fetched.card.name,
        version=fetched.card.version,
        default_compartment=fetched.card.default_compartment,
    )
    record.note(model=fetched.card.name, version=fetched.card.version, origin=fetched.origin)
