"""Getting a model: the shipped one, a known one by name, or any by path or URI.

What had to be downloaded or unpacked is kept under `$XDG_CACHE_HOME/cellmill/models/<checksum>`
(default `~/.cache`): filled beside its name, renamed when whole, behind a lock, so that any number
of tasks may ask at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cellmill import uris
from cellmill.cache import cache_folder, locked
from cellmill.errors import BadInput
from cellmill.models.archive import extract
from cellmill.models.card import FILE_NAME, ModelCard, Weights, known_cards
from cellmill.models.download import deepcell_url, download
from cellmill.models.shipped import default_model, shipped_models

DEFAULT_NAMES = ("", "default")
"""What stands for the model that is taken where none is named."""

GRAPH = "saved_model.pb"
_FILES = (GRAPH, "keras_metadata.pb", "fingerprint.pb")
_FOLDERS = ("variables", "assets", "assets.extra")
_ARCHIVE = re.compile(r"\.(tar|tar\.(gz|bz2|xz)|tgz|tbz2?|txz|zip)$", re.IGNORECASE)
_CHECKSUM = re.compile(r"(?:(sha256|md5):)?([0-9a-f]{64}|[0-9a-f]{32})", re.IGNORECASE)


_ABANDONED_S = 24 * 3600


@dataclass(frozen=True)
class FetchedModel:
    """A model on this machine's disk.

    Args:
        folder: holds the SavedModel; read only (it may be the user's, the package's or the cache).
        card: its card, which need not lie in the folder.
        origin: where it came from, without secrets.
    """

    folder: Path
    card: ModelCard
    origin: str


def fetch_model(source: str = "", *, digest: str = "", card: str = "") -> FetchedModel:
    """Find a model and bring it to this machine.

    Args:
        source: `""` for the default model; the name of a shipped one or of a known card (`Mesmer`,
            or its asset's name, `MultiplexSegmentation-9`); or the path or URI of a model folder or
            of an archive.
        digest: what the model must be: `sha256:…` or `md5:…` of an archive's bytes, `sha256:…` of a
            folder (see `folder_digest`), or what `uris.digest` says of a URI; `""` checks only what
            a known card says.
        card: path or URI of a `model.json` for a SavedModel that has none, or in its stead.

    Raises:
        BadInput: there is no such model, it has no card, a checksum differs, a token is missing or
            refused, or an archive cannot be trusted.
        CellmillError: a server fails again and again.
    """
    given = _read_card(card) if card else None
    if source.strip() in DEFAULT_NAMES:
        return _from_folder(default_model(), given, "cellmill", digest)
    shipped = {name.casefold(): folder for name, folder in shipped_models().items()}
    if (folder := shipped.get(source.strip().casefold())) is not None:
        return _from_folder(folder, given, "cellmill", digest)
    known = _known(source)
    if known is not None:
        folder = _from_weights(known.weights, digest, known.name)
        return FetchedModel(folder, given or known, known.weights.location)
    path = uris.local_path(source)
    if path is not None and path.is_dir():
        return _from_folder(path, given, source, digest)
    web = uris.scheme_of(source) in ("http", "https")
    if path is None and not web and not _ARCHIVE.search(source):
        return _complete(_from_remote_folder(source, digest), given, source)
    if path is not None and not path.exists():
        names = ", ".join([*shipped_models(), *known_cards()])
        raise BadInput(
            f"model '{source}'",
            expected=f"a path, a URI or one of {names}",
            found="no such file or name",
        )
    return _complete(_from_archive(source, digest), given, _without_query(source))


def folder_digest(folder: Path) -> str:
    """`sha256:…` over the names and bytes of every file below a folder, in the names' order."""
    sha = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        sha.update(path.relative_to(folder).as_posix().encode() + b"\0")
        _update(sha, path)
    return f"sha256:{sha.hexdigest()}"


def copy_model(fetched: FetchedModel, folder: Path) -> None:
    """Copy the SavedModel's own files into `folder` and write the card there, last."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in _FILES:
        if (fetched.folder / name).is_file():
            shutil.copyfile(fetched.folder / name, folder / name)
    for name in _FOLDERS:
        if (fetched.folder / name).is_dir():
            shutil.copytree(
                fetched.folder / name,
                folder / name,
                copy_function=shutil.copyfile,
                dirs_exist_ok=True,
            )
    fetched.card.save(folder)


def _known(source: str) -> ModelCard | None:
    """The known card whose name, or asset's name with or without version, `source` is."""
    wanted = source.strip().casefold()
    for card in known_cards().values():
        asset = PurePosixPath(card.weights.location).name.split(".")[0]
        if wanted in {n.casefold() for n in (card.name, asset, re.sub(r"-\d+$", "", asset))}:
            return card
    return None


def _read_card(uri: str) -> ModelCard:
    with tempfile.TemporaryDirectory(prefix="cellmill-card-") as folder:
        local = Path(folder) / FILE_NAME
        with uris.open_uri(uri) as source, local.open("wb") as target:
            shutil.copyfileobj(source, target)
        try:
            return ModelCard.load(local)
        except BadInput as error:
            what = error.what.replace(f"'{local}'", f"'{uri}'")
            raise BadInput(what, expected=error.expected, found=error.found) from None


def _from_folder(folder: Path, card: ModelCard | None, origin: str, digest: str) -> FetchedModel:
    if digest and (found := folder_digest(folder)) != digest:
        raise BadInput(f"model '{origin}'", expected=digest, found=found)
    return _complete(_root(folder, origin), card, origin)


def _complete(folder: Path, card: ModelCard | None, origin: str) -> FetchedModel:
    if card is None and not (folder / FILE_NAME).is_file():
        raise BadInput(
            f"model '{origin}'",
            expected=f"a {FILE_NAME} beside its {GRAPH}, or one given as card",
            found="a model without a card",
        )
    return FetchedModel(folder, card or ModelCard.load(folder), origin)


def _from_weights(weights: Weights, digest: str, name: str) -> Path:
    checksum = digest or (f"md5:{weights.md5}" if weights.md5 else "")

    def get(target: Path) -> None:
        url = weights.location
        if weights.source == "deepcell":
            url = deepcell_url(weights.location)
        download(url, target, f"weights of {name}")

    return _unpacked(get, checksum, f"weights of {name} ('{weights.location}')")


def _from_archive(source: str, digest: str) -> Path:
    shown = _without_query(source)

    def get(target: Path) -> None:
        if uris.scheme_of(source) in ("http", "https"):
            download(source, target, f"model '{shown}'")
            return
        with uris.open_uri(source) as stream, target.open("wb") as file:
            shutil.copyfileobj(stream, file, 1 << 20)

    checksum = digest if _CHECKSUM.fullmatch(digest) else ""
    _check_stamp(source, "" if checksum else digest)
    return _unpacked(get, checksum, f"model '{shown}'")


def _from_remote_folder(source: str, digest: str) -> Path:
    """Copy the SavedModel at a URI; its layout is fixed, so its folders are known by name."""
    base = source.rstrip("/")
    if not uris.exists(f"{base}/{GRAPH}"):
        raise BadInput(
            f"model '{source}'",
            expected=f"a folder with {GRAPH}, or a .tar.gz or .zip",
            found="neither",
        )
    found = [f"{base}/{GRAPH}"]
    found += [f"{base}/{n}" for n in (*_FILES[1:], FILE_NAME) if uris.exists(f"{base}/{n}")]
    for folder in _FOLDERS:
        if uris.exists(f"{base}/{folder}"):
            found += uris.list_uris(f"{base}/{folder}/", suffixes=("",))
    with _draft() as draft:
        for uri in found:
            parent, name = uri.split("/")[-2:]
            target = draft / (f"{parent}/{name}" if parent in _FOLDERS else name)
            target.parent.mkdir(exist_ok=True)
            with uris.open_uri(uri) as stream, target.open("wb") as file:
                shutil.copyfileobj(stream, file, 1 << 20)
        have = folder_digest(draft)
        if digest and have != digest:
            raise BadInput(f"model '{source}'", expected=digest, found=have)
        return _publish(draft, have)


def _check_stamp(source: str, digest: str) -> None:
    if digest and (found := uris.digest(source)) != digest:
        raise BadInput(
            f"model '{_without_query(source)}'", expected=digest, found=f"{found}: it has changed"
        )


def _unpacked(get: Callable[[Path], None], checksum: str, what: str) -> Path:
    """The cached folder of an archive that `get` writes to a path, checked against a checksum."""
    match = _CHECKSUM.fullmatch(checksum)
    if checksum and match is None:
        raise BadInput("digest", expected="sha256:… or md5:… in hexadecimal", found=repr(checksum))
    if match:
        value = match[2].lower()
        algorithm = (match[1] or ("sha256" if len(value) == 64 else "md5")).lower()
        cached = cache_folder("models") / f"{algorithm}-{value}"
        if cached.is_dir():
            return cached
    with _draft() as draft:
        archive = draft / "archive"
        get(archive)
        if match:
            found = _checksum(archive, algorithm)
            if found != value:
                raise BadInput(what, expected=f"{algorithm} {value}", found=f"{algorithm} {found}")
        else:
            algorithm, value = "sha256", _checksum(archive, "sha256")
        content = draft / "content"
        content.mkdir()
        extract(archive, content, what=what)
        return _publish(_root(content, what), f"{algorithm}:{value}")


def _root(folder: Path, what: str) -> Path:
    """The one folder at or below `folder` (three levels) that holds a SavedModel."""
    for depth in ("", "*/", "*/*/"):
        found = sorted(folder.glob(f"{depth}{GRAPH}"))
        if len(found) == 1:
            return found[0].parent
        if found:
            names = ", ".join(str(p.parent.relative_to(folder)) for p in found)
            raise BadInput(what, expected="one SavedModel", found=f"several: {names}")
    raise BadInput(
        what, expected=f"a TensorFlow SavedModel ({GRAPH})", found="no such file: not a model"
    )


@contextlib.contextmanager
def _draft() -> Iterator[Path]:
    """A folder in the cache's file system that is gone afterwards."""
    cache_folder("models").mkdir(parents=True, exist_ok=True)
    for left in cache_folder("models").glob(".draft-*"):  # by a task that was killed
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(left)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=cache_folder("models")))
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _publish(folder: Path, checksum: str) -> Path:
    """Rename a complete folder to its place in the cache, unless another task was faster."""
    place = cache_folder("models") / checksum.replace(":", "-")
    with locked(cache_folder("models") / f".{place.name}.lock"):
        if not place.is_dir():
            folder.chmod(0o755)
            folder.rename(place)
    return place


def _checksum(path: Path, algorithm: str) -> str:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    _update(digest, path)
    return digest.hexdigest()


def _update(digest: hashlib._Hash, path: Path) -> None:
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)


def _without_query(uri: str) -> str:
    return uri.split("?")[0] if uris.scheme_of(uri) in ("http", "https") else uri
