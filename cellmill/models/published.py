"""Networks that others publish, by name: `cellpose:cpsam`, `stardist:2D_demo`, `bioimage:…`.

Addresses and checksums are the frameworks' own. What a framework's own program has fetched already
is taken from where it keeps it. `CELLMILL_MODEL_MIRROR` names a folder or an address that has the
same files, as `<mirror>/cellpose/cyto3`, for machines that reach nothing else.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from cellmill.compute.folders import cache_folder, locked
from cellmill.errors import BadInput, CellmillError
from cellmill.io import uris
from cellmill.labels.kinds import NUCLEAR, WHOLE_CELL, Compartment
from cellmill.models.download import download
from cellmill.terminal import say

MIRROR_VARIABLE = "CELLMILL_MODEL_MIRROR"

_CELLPOSE = "https://www.cellpose.org/models/"
_STARDIST = "https://github.com/stardist/stardist-models/releases/download/v0.1/python_"
#: Cellpose 3's convolutional networks: the files that are not called as the model is. Cellpose
#: publishes no checksums.
_CELLPOSE_FILES = {
    "cyto": "cytotorch_0",
    "cyto2": "cyto2torch_0",
    "nuclei": "nucleitorch_0",
} | {
    name: name
    for name in (
        *("cyto3", "cyto2_cp3", "tissuenet_cp3", "livecell_cp3", "yeast_PhC_cp3", "yeast_BF_cp3"),
        *("bact_phase_cp3", "bact_fluor_cp3", "deepbacs_cp3", "CP", "CPx"),
        *("TN1", "TN2", "TN3", "LC1", "LC2", "LC3", "LC4"),
    )
}
#: Those of which cellpose publishes a size model too, `size_<file>.npy`; the others have none.
_SIZED = ("cyto", "cyto2", "cyto3", "nuclei")
#: Cellpose 4's, files that are called as the model is; here too no checksums are published.
_CELLPOSE_4 = "https://huggingface.co/mouseland/cellpose-sam/resolve/main/"
_CELLPOSE_4_FILES = ("cpsam", "cpsam_v2")
#: StarDist's registry: sha256 of each model's archive.
_STARDIST_SHA256 = {
    "2D_versatile_fluo": "4ad678d0758eed6e55625f1b5ae30771e59adb79f1239e09b9772eac8846c3dd",
    "2D_versatile_he": "f1696ef0631bd7e1c0e5c0d3017e2b4c6a95e284c6aab9c22fc2f08317817b28",
    "2D_paper_dsb2018": "4c11cf68512341d9e8ce3d1278c64ceb8ac400582739f85fcab079a2e82840d2",
    "2D_demo": "a1efaebd7103db6236655bf158b6e21cf5b38d58ec77a509802244a89a260fa4",
    "3D_demo": "ea05831eb5acc8a2fd31eaa23f4460a196a9af53b14f40affb9d80885f699f90",
}
#: Packages by their names (`affable-shark`), as bioimage.io hands them out.
_BIOIMAGE = "https://hypha.aicell.io/bioimage-io/artifacts/{}/create-zip-file"
_BIOIMAGE_NAME = re.compile(r"bioimage:[a-z0-9]+(-[a-z0-9]+)*", re.IGNORECASE)
_NAME = re.compile(r"(cellpose|stardist|bioimage):(.*)", re.IGNORECASE)


@dataclass(frozen=True)
class Published:
    """A network that a framework publishes.

    Attributes:
        name: as users type it.
        framework: whose files they are, a name of `cellmill.models.importing.frameworks`; empty
            where the files say.
        family: of names, and the mirror's folder.
        kind: of the objects that it finds; empty where the files say.
        address: of its files.
        file: their name where the framework's own program keeps them, and on a mirror.
        sha256: of its files; empty where the framework publishes none.
        kept: where the framework's own program keeps them; `None` where that is not known.
        beside: a file that belongs beside them, at the same address; empty where there is none.
    """

    name: str
    framework: str
    family: str
    kind: Compartment
    address: str
    file: str
    sha256: str
    kept: Path | None
    beside: str = ""


def is_published_name(text: str) -> bool:
    """Whether a text is of the form of these names."""
    return _NAME.fullmatch(text.strip()) is not None


def published_names() -> list[str]:
    """All names but those of bioimage.io, which are its own to say."""
    cellpose = [*_CELLPOSE_FILES, *_CELLPOSE_4_FILES]
    return [f"cellpose:{name}" for name in cellpose] + [
        f"stardist:{name}" for name in _STARDIST_SHA256
    ]


def published(name: str) -> Published:
    """The network of that name, in capitals or not.

    Raises:
        BadInput: there is none.
    """
    if _BIOIMAGE_NAME.fullmatch(name.strip()):
        own = name.strip().split(":")[1].lower()
        address = _BIOIMAGE.format(own)
        return Published(f"bioimage:{own}", "", "bioimage", "", address, f"{own}.zip", "", None)
    known = {each.casefold(): each for each in published_names()}
    full = known.get(name.strip().casefold())
    if full is None:
        family = name.strip().split(":")[0].casefold()
        names = [each for each in known.values() if each.startswith(f"{family}:")]
        names = names or ["bioimage: and the name of a package, as bioimage:affable-shark"]
        raise BadInput(f"model '{name}'", expected=f"one of {', '.join(names)}", found="no such")
    family, own = full.split(":")
    if family == "cellpose":
        kept = os.environ.get("CELLPOSE_LOCAL_MODELS_PATH")
        folder = Path(kept) if kept else Path.home() / ".cellpose" / "models"
        fourth = own in _CELLPOSE_4_FILES
        framework, place = ("cellpose4", _CELLPOSE_4) if fourth else ("cellpose3", _CELLPOSE)
        file = own if fourth else _CELLPOSE_FILES[own]
        kind = NUCLEAR if own == "nuclei" else WHOLE_CELL
        beside = f"size_{file}.npy" if own in _SIZED else ""
        address = f"{place}{file}"
        return Published(full, framework, family, kind, address, file, "", folder / file, beside)
    file = f"{own}.zip"
    folder = Path.home() / ".keras" / "models" / f"StarDist{own[:2]}" / own
    return Published(
        full,
        "stardist",
        family,
        NUCLEAR,
        f"{_STARDIST}{file}",
        file,
        _STARDIST_SHA256[own],
        folder / file,
    )


def fetch_files(wanted: Published) -> Path:
    """A network's files on this machine's disk, fetched once and verified.

    What belongs beside them is fetched there too. Where it cannot be had the network does without,
    and a line says so.

    Raises:
        BadInput: what came is not what its framework published.
        CellmillError: its address cannot be reached; the line says how to do without.
    """
    kept = wanted.kept
    if (
        not _place(wanted).is_file()
        and kept is not None
        and kept.is_file()
        and _is_it(wanted, kept)
    ):
        return kept
    found = _fetched(wanted, _get_or_advise)
    if wanted.beside:
        _fetch_beside(wanted)
    return found


def _place(wanted: Published) -> Path:
    return cache_folder("published") / wanted.family / wanted.file


def _fetched(wanted: Published, get: Callable[[Published, Path, str], None]) -> Path:
    what, place = f"model '{wanted.name}'", _place(wanted)
    if place.is_file():
        return place
    with locked(place.with_name(f".{place.name}.lock")):
        if place.is_file():
            return place
        with tempfile.TemporaryDirectory(prefix=".draft-", dir=place.parent) as folder:
            draft = Path(folder, wanted.file)
            get(wanted, draft, what)
            if not _is_it(wanted, draft):
                found = f"{uris.digest(str(draft))} from {_where(_address(wanted))}"
                raise BadInput(what, expected=f"sha256:{wanted.sha256}", found=found)
            draft.rename(place)
    return place


def _fetch_beside(wanted: Published) -> None:
    """Fetch what belongs beside a network's files; a server that has none is not asked again."""
    address = wanted.address.removesuffix(wanted.file) + wanted.beside
    other = replace(wanted, address=address, file=wanted.beside, sha256="", kept=None)
    lacking = _place(other).with_name(f".{other.file}.none")
    if lacking.exists():
        return
    try:
        _fetched(other, _get)
    except CellmillError as error:
        say(f"{wanted.name} without {wanted.beside}: {error}", to=sys.stderr)
        if isinstance(error, BadInput):
            lacking.touch()


def _is_it(wanted: Published, path: Path) -> bool:
    return not wanted.sha256 or uris.digest(str(path)) == f"sha256:{wanted.sha256}"


def _address(wanted: Published) -> str:
    mirror = os.environ.get(MIRROR_VARIABLE, "").strip()
    return f"{mirror.rstrip('/')}/{wanted.family}/{wanted.file}" if mirror else wanted.address


def _where(address: str) -> str:
    """An address without what may be secret in it."""
    return urlsplit(address).netloc.rsplit("@")[-1] or address


def _get(wanted: Published, target: Path, what: str) -> None:
    address = _address(wanted)
    if uris.scheme_of(address) in ("http", "https"):
        download(address, target, what)
        return
    with uris.open_uri(address) as stream, target.open("wb") as file:
        shutil.copyfileobj(stream, file)


def _get_or_advise(wanted: Published, target: Path, what: str) -> None:
    try:
        _get(wanted, target, what)
    except CellmillError as error:
        kept = f"put it at {wanted.kept}, " if wanted.kept else ""
        raise CellmillError(
            f"{error}; without its server, give the file itself (MODEL=path/to/{wanted.file}), "
            f"{kept}or name a mirror in {MIRROR_VARIABLE}"
        ) from None
