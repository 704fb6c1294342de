"""The component ``fetch_model``: its interface."""

from kfp import dsl

from components.container import run_stage


@dsl.container_component
def fetch_model(
    model: dsl.Output[dsl.Model],
    record: dsl.Output[dsl.Artifact],
    source: str = "",
    digest: str = "",
    card: str = "",
) -> dsl.ContainerSpec:
    """Get a model by name, path or URI, verified, with its card.

    Args:
        source: Empty for cellmill's model of nuclei, or the name of another that ships with
            cellmill; Mesmer, NuclearSegmentation or CytoplasmSegmentation (the first two with your
            token in DEEPCELL_ACCESS_TOKEN); or the path or URI of a model's folder, .tar.gz or
            .zip.
        digest: Checksum the model must have, sha256:… or md5:…; empty checks what a known model's
            card says.
        card: Path or URI of a model.json, for a SavedModel without one.

    Returns:
        model: The model's folder, SavedModel and model.json.
        record: What was done, with times and versions.
    """
    return run_stage("fetch_model", image="imaging")
