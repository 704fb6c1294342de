"""Bringing a network of another framework in, whichever image has the framework."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from cellmill.contract import Model, Record
from cellmill.errors import BadInput
from cellmill.inference.blocks import with_tile
from cellmill.inference.proofs import largest_difference, probe_card, probe_tiles, reference_of
from cellmill.io import uris
from cellmill.io.digests import folder_digest
from cellmill.models.archive import extract, is_archive
from cellmill.models.card import Import, ModelCard
from cellmill.models.download import download
from cellmill.models.importing.frameworks import (
    framework_of,
    is_one_s_own,
    open_original,
    version_of,
)
from cellmill.models.importing.interface import Said
from cellmill.models.published import fetch_files, is_published_name, published
from cellmill.models.trust import check_network
from cellmill.segmentation.methods import check_card

#: How far the portable network's heads may be from the original's, as a part of a head's largest
#: value where that is above 1.
BOUND = 1e-5


def bring_in(
    model: Model, record: Record, source: str, framework: str, said: Said, tiles: str
) -> None:
    """Export a network, compare it with the original, and write its card.

    Args:
        model: where it goes.
        record: what is told of it.
        source: the framework's own files, or the name of a network that is published.
        framework: whose files they are; empty finds it out.
        said: what the user says of it.
        tiles: path of tiles to compare on; empty is those that come with it, or synthetic ones.

    Raises:
        BadInput: the files are of no framework here, cannot be opened, or the network differs.
    """
    if is_published_name(source):
        wanted = published(source)
        source, framework = str(fetch_files(wanted)), wanted.framework
        name, compartment = said.name or wanted.name, said.compartment or wanted.kind
        said = replace(said, name=name, compartment=compartment)
    with _local(source) as files:
        kind = framework_of(files, framework)
        with record.step("open"):
            original = open_original(kind, files, said)
        card = original.card
        check_card(card)
        probed = probe_card(card)
        with record.step("export"):
            model.path.mkdir(parents=True, exist_ok=True)
            original.export(model.path)
        check_network(model.path, f"model '{card.name}'")
        with record.step("compare"):
            own = original.tiles
            shown = _tiles(tiles, probed) if tiles or own is None else own
            of_given = with_tile(card, shown.shape[1:-1]) if card.input.sees_volumes else card
            heads = reference_of(model.path).open(model.path, of_given, device="cpu")(shown)
            difference = largest_difference(heads, original.predict(shown))
        if not difference <= BOUND:
            raise BadInput(
                f"portable network of '{source}'",
                expected=f"the original's heads to {BOUND:g}",
                found=f"a difference of {difference:.2g}",
            )
        brought = Import(
            framework=f"{kind.name} {version_of(kind)}",
            source=folder_digest(files) if files.is_dir() else uris.digest(str(files)),
            largest_difference=float(f"{difference:.2g}"),
            tiles=f"{len(shown)} {'given' if tiles else 'synthetic' if own is None else 'own'}",
        )
        replace(card, imported=brought).save(model.path)
    model.metadata.update(name=card.name, version=card.version)
    record.note(model=card.name, version=card.version, framework=brought.framework)
    record.note(largest_difference=difference, bound=BOUND, tiles=brought.tiles)


@contextlib.contextmanager
def _local(source: str) -> Iterator[Path]:
    """The framework's files on this machine: a folder or file as it is, an archive unpacked."""
    path = uris.local_path(source)
    if path is not None and not path.exists():
        raise BadInput(f"model '{source}'", expected="a path or URI", found="no such file")
    with tempfile.TemporaryDirectory(prefix="cellmill-import-") as folder:
        if path is None:
            path = Path(folder, source.split("?")[0].rstrip("/").rsplit("/", 1)[-1])
            download(source, path, f"model '{source}'")
        if is_one_s_own(path) or not is_archive(path):
            yield path
            return
        content = Path(folder, "content", path.name.split(".")[0])
        content.mkdir(parents=True)
        extract(path, content, what=f"model '{source}'")
        # An archive of one folder is that folder.
        inner = list(content.iterdir())
        yield inner[0] if len(inner) == 1 and inner[0].is_dir() else content


def _tiles(path: str, card: ModelCard) -> np.ndarray:
    if not path:
        return probe_tiles(card)
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BadInput(f"tiles '{path}'", expected="a .npy file", found=str(error)) from None
    channels = len(card.input.channels)
    axes = "N, Z, Y, X" if card.input.sees_volumes else "N, Y, X"
    if found.ndim != len(card.input.tile) + 2 or found.shape[-1] != channels or not len(found):
        raise BadInput(f"tiles '{path}'", expected=f"({axes}, {channels})", found=f"{found.shape}")
    return np.asarray(found, np.float32)
