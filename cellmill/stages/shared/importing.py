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
from cellmill.models.card import ModelCard
from cellmill.models.card_origin import Import
from cellmill.models.download import download
from cellmill.models.importing.frameworks import (
    framework_of,
    is_one_s_own,
    open_original,
    version_of,
)
from cellmill.models.importing.interface import Framework, Original, Said
from cellmill.models.published import fetch_files, is_published_name, published
from cellmill.models.size_model import SizeModel, with_style
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
        if said.size_model and not kind.sized:
            expected = f"none: networks of {kind.title} have no size model"
            raise BadInput("size_model", expected=expected, found=f"'{said.size_model}'")
        with record.step("open"), _local_file(said.size_model) as sized:
            said = replace(said, size_model=sized)
            original = open_original(kind, files, said)
        digest = folder_digest(files) if files.is_dir() else uris.digest(str(files))
        card = portable_network(original, kind, model.path, record, source, digest, tiles)
    card.save(model.path)
    tell_of(card, model, record)


def portable_network(
    original: Original,
    framework: Framework,
    folder: Path,
    record: Record,
    source: str,
    digest: str,
    tiles: str = "",
) -> ModelCard:
    """Export a network into a folder, and compare what it gives with the original.

    Args:
        original: as its framework opened it.
        framework: whose it is.
        folder: of the model.
        record: what is told of it.
        source: its name in error messages.
        digest: of the framework's own files.
        tiles: path of tiles to compare on; empty is those that come with it, or synthetic ones.

    Returns:
        Its card with what was found. It is not written.

    Raises:
        BadInput: the network differs, or could do more than compute.
    """
    card = original.card
    check_card(card)
    probed = probe_card(card)
    with record.step("export"):
        folder.mkdir(parents=True, exist_ok=True)
        original.export(folder)
    check_network(folder, f"model '{card.name}'")
    with record.step("compare"):
        own = original.tiles
        shown = _tiles(tiles, probed) if tiles or own is None else own
        of_given = with_tile(card, shown.shape[1:-1]) if card.input.sees_volumes else card
        if card.size_model:
            of_given = with_style(card, len(SizeModel.load(folder, card.name).weights))
        network = reference_of(folder).open(folder, of_given, device="cpu")
        probes = [shown]
        if card.tiling.fitted:
            height, width = card.input.tile
            probes.append(np.ascontiguousarray(shown[:, : height // 2, : width // 4 * 2]))
        difference = max(largest_difference(network(p), original.predict(p)) for p in probes)
    if not difference <= BOUND:
        raise BadInput(
            f"portable network of '{source}'",
            expected=f"the original's heads to {BOUND:g}",
            found=f"a difference of {difference:.2g}",
        )
    record.note(largest_difference=difference, bound=BOUND)
    brought = Import(
        framework=f"{framework.name} {version_of(framework)}",
        source=digest,
        largest_difference=float(f"{difference:.2g}"),
        tiles=f"{len(shown)} {'given' if tiles else 'synthetic' if own is None else 'own'}",
    )
    return replace(card, imported=brought)


def tell_of(card: ModelCard, model: Model, record: Record) -> None:
    """Say of a model that was brought in what travels with it."""
    model.metadata.update(name=card.name, version=card.version)
    record.note(model=card.name, version=card.version)
    if card.imported:
        record.note(framework=card.imported.framework, tiles=card.imported.tiles)


@contextlib.contextmanager
def framework_files(source: str, digest: str = "") -> Iterator[Path]:
    """A framework's own files on this machine, by path, URI or the name of a published network.

    Args:
        source: where they are.
        digest: what a file must be; empty checks nothing.

    Raises:
        BadInput: there are none, or they are others.
    """
    place = str(fetch_files(published(source))) if is_published_name(source) else source
    with _local(place) as files:
        if digest and files.is_file() and (found := uris.digest(str(files))) != digest:
            raise BadInput(f"model '{source}'", expected=digest, found=found)
        yield files


@contextlib.contextmanager
def _local_file(place: str) -> Iterator[str]:
    """The path of a size model that is given by path or URI; nothing of nothing."""
    if not place:
        yield ""
        return
    path, what = uris.local_path(place), f"size model '{place}'"
    if path is not None:
        if not path.is_file():
            raise BadInput(what, expected="path or URI of a file", found="no such file")
        yield str(path)
        return
    with tempfile.TemporaryDirectory(prefix="cellmill-import-") as folder:
        path = Path(folder, place.split("?")[0].rsplit("/", 1)[-1])
        download(place, path, what)
        yield str(path)


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
