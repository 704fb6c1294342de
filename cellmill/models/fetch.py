"""Getting a model: the shipped one, a known or published one by name, or any by path or URI.

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

from cellmill.compute.faults import check_room, writing
from cellmill.compute.folders import cache_folder, locked
from cellmill.errors import BadInput
from cellmill.io import uris
from cellmill.io.digests import folder_digest
from cellmill.io.listing import list_uris
from cellmill.models.archive import extract
from cellmill.models.card import FILE_NAME, ModelCard, Weights, known_cards
from cellmill.models.download import deepcell_url, download
from cellmill.models.importing.bringing import named_model, own_files_model
from cellmill.models.importing.frameworks import is_one_s_own
from cellmill.models.networks import ANY_FORM, FORMS, network_files, network_form
from cellmill.models.published import is_published_name, published
from cellmill.models.shipped import default_model, shipped_models

DEFAULT_NAMES = ("", "default")
"""What stands for the model that is taken where none is named."""

_ARCHIVE = re.compile(r"\.(tar|tar\.(gz|bz2|xz)|tgz|tbz2?|txz|zip)$", re.IGNORECASE)
_CHECKSUM = re.compile(r"(?:(sha256|md5):)?([0-9a-f]{64}|[0-9a-f]{32})", re.IGNORECASE)


_ABANDONED_S = 24 * 3600
#: Copied at a time; what is elsewhere is asked for in such parts.
_COPY_BYTES = 1 << 23


@dataclass(frozen=True)
class FetchedModel:
    """A model on this machine's disk.

    Args:
        folder: holds the network, where the card has heads; read only (it may be the user's, the
            package's or the cache).
        card: its card, which need not lie in the folder.
        origin: where it came from, without secrets.
    """

    folder: Path
    card: ModelCard
    origin: str


def fetch_model(source: str = "", *, digest: str = "", card: str = "") -> FetchedModel:
    """Find a model and bring it to this machine.

    Args:
        source: `""` for the default model; the name of a shipped one or of a known card
            (`voronoi_otsu`; `Mesmer`, or its asset's name, `MultiplexSegmentation-9`); of a network
            that another framework publishes (`cellpose:cyto3`, `stardist:2D_versatile_fluo`), which
            needs a Python that has the framework; the path of such a network's own files; or the
            path or URI of a model folder or of an archive.
        digest: what the model must be: `sha256:…` or `md5:…` of an archive's bytes or of a
            framework's files, `sha256:…` of a folder (see `folder_digest`), or what `uris.digest`
            says of a URI; `""` checks only what a known card says.
        card: path or URI of a `model.json` for a network that has none, or in its stead.

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
    if known is not None and not known.heads:
        return FetchedModel(default_model().parent, given or known, "cellmill")
    if known is not None:
        folder = _from_weights(known.weights, digest, known.name)
        return FetchedModel(folder, given or known, known.weights.location)
    if is_published_name(source):
        folder = named_model(source, digest=digest)
        return FetchedModel(folder, given or ModelCard.load(folder), published(source).address)
    path = uris.local_path(source)
    if path is not None and is_one_s_own(path):
        folder = own_files_model(path, digest=digest)
        return FetchedModel(folder, given or ModelCard.load(folder), source)
    if path is not None and path.is_dir():
        return _from_folder(path, given, source, digest)
    web = uris.scheme_of(source) in ("http", "https")
    if path is None and not web and not _ARCHIVE.search(source):
        return _complete(_from_remote_folder(source, digest), given, source)
    if path is not None and not path.exists():
        names = ", ".join([*shipped_models(), *known_cards()])
        raise BadInput(
            f"model '{source}'",
            expected=f"a path, a URI, cellpose:… or stardist:…, or one of {names}",
            found="no such file or name",
        )
    return _complete(_from_archive(source, digest), given, _without_query(source))


def copy_model(fetched: FetchedModel, folder: Path) -> None:
    """Copy the network's own files, if any, into `folder` and write the card there, last."""
    files = list(network_files(fetched.folder)) if fetched.card.heads else []
    check_room(folder, sum(path.stat().st_size for path in files), "the network's files")
    for path in files:
        target = folder / path.relative_to(fetched.folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        with writing(target):
            shutil.copyfile(path, target)
    fetched.card.save(folder)


def _known(source: str) -> ModelCard | None:
    """The known card whose name, or asset's name with or without version, `source` is."""
    wanted = source.strip().casefold()
    for card in known_cards().values():
        asset = PurePosixPath(card.weights.location).name.split(".")[0]
        names = (card.name, asset, re.sub(r"-\d+$", "", asset))
        if wanted in {name.casefold() for name in names if name}:
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
            raise error.about(what) from None


def _from_folder(folder: Path, card: ModelCard | None, origin: str, digest: str) -> FetchedModel:
    if digest and (found := folder_digest(folder)) != digest:
        raise BadInput(f"model '{origin}'", expected=digest, found=found)
    return _complete(_root(folder, origin), card, origin)


def _complete(folder: Path, card: ModelCard | None, origin: str) -> FetchedModel:
    if card is None and not (folder / FILE_NAME).is_file():
        raise BadInput(
            f"model '{origin}'",
            expected=f"a {FILE_NAME} beside its network, or one given as card",
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
            shutil.copyfileobj(stream, file, _COPY_BYTES)

    checksum = digest if _CHECKSUM.fullmatch(digest) else ""
    _check_stamp(source, "" if checksum else digest)
    return _unpacked(get, checksum, f"model '{shown}'")


def _from_remote_folder(source: str, digest: str) -> Path:
    """Copy the network at a URI; its layout is fixed: files and folders are known by name."""
    base = source.rstrip("/")
    present = [form for form in FORMS.values() if uris.exists(f"{base}/{form.graph}")]
    if not present and uris.exists(f"{base}/{FILE_NAME}"):
        card = _read_card(f"{base}/{FILE_NAME}")
        if not card.heads:
            with _draft() as draft:
                card.save(draft)
                return _publish(draft, _checked(draft, digest, source))
    if len(present) != 1:
        raise BadInput(
            f"model '{source}'",
            expected=f"a folder with {ANY_FORM}, or a .tar.gz or .zip",
            found=" and ".join(form.graph for form in present) or "neither",
        )
    form = present[0]
    found = [f"{base}/{form.graph}"]
    found += [f"{base}/{n}" for n in (*form.files[1:], FILE_NAME) if uris.exists(f"{base}/{n}")]
    for folder in form.folders:
        if uris.exists(f"{base}/{folder}"):
            found += list_uris(f"{base}/{folder}/", suffixes=("",))
    with _draft() as draft:
        for uri in found:
            parent, name = uri.split("/")[-2:]
            target = draft / (f"{parent}/{name}" if parent in form.folders else name)
            target.parent.mkdir(exist_ok=True)
            with uris.open_uri(uri) as stream, target.open("wb") as file:
                shutil.copyfileobj(stream, file, _COPY_BYTES)
        return _publish(draft, _checked(draft, digest, source))


def _checked(folder: Path, digest: str, source: str) -> str:
    """The digest of a folder, which is what it must be."""
    have = folder_digest(folder)
    if digest and have != digest:
        raise BadInput(f"model '{source}'", expected=digest, found=have)
    return have


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
    """The one folder at or below `folder` (three levels) that holds a network, or a card alone."""
    for depth in ("", "*/", "*/*/"):
        found = sorted(
            {path.parent for form in FORMS.values() for path in folder.glob(f"{depth}{form.graph}")}
        )
        if len(found) == 1:
            network_form(found[0])
            return found[0]
        if found:
            names = ", ".join(str(place.relative_to(folder)) for place in found)
            raise BadInput(what, expected="one network", found=f"several: {names}")
    for depth in ("", "*/", "*/*/"):
        alone = [path for path in folder.glob(f"{depth}{FILE_NAME}") if _needs_no_network(path)]
        if len(alone) == 1:
            return alone[0].parent
    raise BadInput(what, expected=ANY_FORM, found="no such file: not a model")


def _needs_no_network(card: Path) -> bool:
    return not ModelCard.load(card).heads


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
