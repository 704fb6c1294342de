"""The files of a network beside its card: in which portable form it is, and its digest.

A network is a TensorFlow SavedModel (`saved_model.pb`, `variables/`), an ONNX file (`network.onnx`,
its large tensors maybe in `network.onnx.data`, a size model in `size_model.json`), or a pixel
classifier of our own (`pixel_classifier.npz`). Which one is told by what lies in the model's
folder. In any form it takes tiles `(N, Y, X, C)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cellmill.errors import BadInput
from cellmill.io.digests import files_digest

Form = Literal["savedmodel", "onnx", "forest"]


@dataclass(frozen=True)
class NetworkFiles:
    """The files that a network of one form consists of.

    Args:
        graph: the file by which the form is known; the one that must be there.
        files: all files that may lie in the model's folder, the graph first.
        folders: all folders that may.
        title: for a person.
    """

    graph: str
    files: tuple[str, ...]
    folders: tuple[str, ...]
    title: str


FORMS: Mapping[Form, NetworkFiles] = {
    "savedmodel": NetworkFiles(
        "saved_model.pb",
        ("saved_model.pb", "keras_metadata.pb", "fingerprint.pb"),
        ("variables", "assets", "assets.extra"),
        "a TensorFlow SavedModel",
    ),
    "onnx": NetworkFiles(
        "network.onnx",
        ("network.onnx", "network.onnx.data", "size_model.json"),
        (),
        "an ONNX network",
    ),
    "forest": NetworkFiles(
        "pixel_classifier.npz", ("pixel_classifier.npz",), (), "a pixel classifier"
    ),
}
ANY_FORM = " or ".join(f"{form.title} ({form.graph})" for form in FORMS.values())
"""What may lie beside a card, for error messages."""


def network_form(folder: Path) -> Form:
    """The form of the network in a model's folder.

    Raises:
        BadInput: there is none, or one of each form.
    """
    found = [name for name, form in FORMS.items() if (folder / form.graph).is_file()]
    if len(found) != 1:
        graphs = " and ".join(FORMS[name].graph for name in found)
        raise BadInput(
            f"model '{folder}'",
            expected=f"one network beside its card, {ANY_FORM}",
            found=graphs or "none",
        )
    return found[0]


def network_files(folder: Path) -> list[Path]:
    """The files of the network in a model's folder, sorted; nothing else that lies there.

    Raises:
        BadInput: there is none, or one of each form.
    """
    form = FORMS[network_form(folder)]
    found = [folder / name for name in form.files if (folder / name).is_file()]
    for name in form.folders:
        found += (path for path in (folder / name).rglob("*") if path.is_file())
    return sorted(found)


def network_digest(folder: Path) -> str:
    """`sha256:…` over the names and bytes of a network's files, whatever its card says.

    Raises:
        BadInput: there is no network, or one of each form.
    """
    return files_digest(folder, network_files(folder))
