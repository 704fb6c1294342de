"""Stage: bring a network of Cellpose 3 in."""

from __future__ import annotations

from cellmill.contract import Model, Output, Record, stage
from cellmill.models.importing.interface import Said
from cellmill.stages.shared.importing import bring_in


@stage(image="cellpose3", family="input")
def import_cellpose_model(
    model: Output[Model],
    record: Output[Record],
    source: str,
    framework: str = "",
    name: str = "",
    version: str = "",
    compartment: str = "",
    mpp: float = 0.0,
    licence: str = "",
    citation: str = "",
    description: str = "",
    tiles: str = "",
    size_model: str = "",
) -> None:
    """Bring a network of Cellpose 3 in, and show that it gives what it gave there.

    It is import_model in an image with cellpose and onnx; packages of bioimage.io with ONNX weights
    come in here, too.

    The network is exported in a portable form, run over tiles, and compared with the original over
    the same tiles. If a head differs by more than 1e-5, as a part of its largest value where that
    is above 1, nothing is written. The largest difference is written on the card.

    Args:
        model: The model's folder, a portable network and model.json.
        record: What was done, with times and versions.
        source: Path or URI of the framework's own files: a file, a folder, a .zip or .tar.gz; or
            the name of a network that is published, as cellpose:cyto3.
        framework: Whose files they are: cellpose3 or bioimage_onnx; empty finds it out.
        name: Of the model; empty is the folder's name.
        version: Of the model.
        compartment: What it finds: nuclear, whole-cell or another kind of object; empty is the
            framework's most usual.
        mpp: Microns per pixel that images are brought to; 0 leaves images as they are.
        licence: Of the weights.
        citation: What to cite.
        description: A paragraph for a person.
        tiles: Path of a .npy file with tiles (N, Y, X, C) float32 to compare on, as the network is
            given them; empty is those that come with it, else synthetic ones.
        size_model: Path or URI of a size model that cellpose wrote, NAME_size.npy; empty is the one
            that lies beside the network's file, if any does.
    """
    said = Said(name, version, compartment, mpp, licence, citation, description, size_model)
    bring_in(model, record, source, framework, said, tiles)
