"""The files that a path stands for: a file, a folder, a glob or a prefix, here or in a store.

Nothing is hidden. What is named like an image and cannot be opened (a link to nowhere, a file
without the right to read it) is listed, so that whoever opens it says what is wrong with it. A
folder that cannot be read is an error, or if asked for is listed too. What is named otherwise is
counted.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from cellmill.errors import BadInput
from cellmill.io import uris
from cellmill.io.suffixes import IMAGE_SUFFIXES, PICTURE_SUFFIXES, converted_by, is_zarr
from cellmill.io.wildcards import variable_parts


@dataclass(frozen=True)
class Listed:
    """A file that was found.

    Attributes:
        uri: its path or URI.
        folders: the folders between it and what was asked for: those below a folder, or those
            that a glob's wildcards stand for.
        wild: what the wildcards in the last part of a glob stand for.
    """

    uri: str
    folders: tuple[str, ...] = ()
    wild: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The file's name."""
        return parts_of(self.uri)[-1]

    @property
    def path(self) -> tuple[str, ...]:
        """All folders above it."""
        return parts_of(self.identity)[:-1]

    @cached_property
    def identity(self) -> str:
        """What is the same for the same file, by whichever folder and scheme it is reached."""
        path = uris.local_path(self.uri)
        if path is not None:
            return f"{os.path.realpath(path.parent)}/{path.name}"
        scheme = {"gcs": "gs", "s3a": "s3"}.get(uris.scheme_of(self.uri), uris.scheme_of(self.uri))
        return f"{scheme}://{self.uri.split('://', 1)[1].strip('/')}"


@dataclass(frozen=True)
class Listing:
    """What a path stands for.

    Attributes:
        files: the images (or what was asked for), sorted.
        left_aside: other files, and folders, that were met where images were looked for.
    """

    files: tuple[Listed, ...]
    left_aside: tuple[str, ...] = ()

    def others(self) -> str:
        """Say how many other files there are, and name the first: `3 others ('notes.txt', …)`."""
        count = len(self.left_aside)
        if not count:
            return ""
        first = parts_of(self.left_aside[0])[-1]
        return f"{count} other{'s' * (count > 1)} ('{first}'{', …' * (count > 1)})"


def parts_of(uri: str) -> tuple[str, ...]:
    """Return the parts of a path or URI, percent-decoded where its scheme is."""
    scheme = uris.scheme_of(uri)
    if scheme in ("http", "https"):
        text = unquote(urlsplit(uri).path)
    elif scheme:
        text = uri.split("://", 1)[1]
        text = unquote(text) if scheme == "file" else text
    else:
        text = uri
    parts = PurePosixPath(text.rstrip("/") or text).parts
    return tuple(part for part in parts if part != "/") or (text,)


def list_files(
    pattern: str,
    suffixes: Sequence[str] = IMAGE_SUFFIXES,
    *,
    unreadable_as_files: bool = False,
) -> Listing:
    """Return the files that a file, folder, glob or prefix stands for.

    What exists is taken as it is, before its brackets and stars are read as a glob. A folder gives
    what lies directly in it. A Zarr is a folder, and counts as a file here; a plate stands for
    its fields, each of them an image. Hidden files are no images. PNG and JPEG files are images
    where there are no others: beside them they are masks, overlays, figures.

    Args:
        pattern: a path or URI; `**` in a glob crosses folders.
        suffixes: the endings to keep (any case) of folders, globs and prefixes; a file that is
            named outright is kept whatever it ends in.
        unreadable_as_files: whether a folder that cannot be read stands among the files, so that
            it can be skipped like an image that cannot.

    Raises:
        BadInput: nothing is there; a folder cannot be read; or a name is not UTF-8.
    """
    listing = _listing(pattern, suffixes, unreadable_as_files)
    if not listing.files and suffixes == IMAGE_SUFFIXES:
        suffixes = (*suffixes, *PICTURE_SUFFIXES)
        listing = _listing(pattern, suffixes, unreadable_as_files)
    if not listing.files:
        raise BadInput(
            f"'{pattern}'",
            expected="a file, or a folder, glob or prefix of files that end in "
            f"{', '.join(suffixes)}{_conversion(listing)}",
            found=listing.others() or "no such file",
        )
    for file in listing.files:
        if not file.uri.isprintable() and any("\ud800" <= c <= "\udfff" for c in file.uri):
            raise BadInput(
                f"file '{file.uri}'", expected="a name in UTF-8", found="other bytes in it"
            )
    return listing


def _listing(pattern: str, suffixes: Sequence[str], unreadable_as_files: bool) -> Listing:
    path = uris.local_path(pattern)
    with uris.one_line(pattern):
        if is_zarr(pattern) and uris.exists(pattern):
            listing = Listing((Listed(pattern),))
        elif path is not None:
            listing = _list_local(path, suffixes, unreadable_as_files)
            if uris.scheme_of(pattern) == "gs":
                listing = _as_objects(listing)
        elif uris.scheme_of(pattern) in ("http", "https"):
            listing = Listing((Listed(pattern),))
        else:
            listing = _list_remote(pattern, suffixes)
    return Listing(_with_fields(listing.files), listing.left_aside)


def _conversion(listing: Listing) -> str:
    """Say how one of the files left aside becomes an image that is read."""
    commands = [command for file in listing.left_aside if (command := converted_by(file))]
    return f" (such as '{commands[0]}' makes)" if commands else ""


def _with_fields(files: Sequence[Listed]) -> tuple[Listed, ...]:
    """Put the fields of plates in the place of these."""
    if not any(is_zarr(file.uri) for file in files):
        return tuple(files)
    found: list[Listed] = []
    for file in files:
        fields = fields_of(file.uri) if is_zarr(file.uri) else []
        for field in fields:
            folders = (*file.folders, file.name, *field.split("/")[:-1])
            found.append(Listed(f"{file.uri.rstrip('/')}/{field}", folders, file.wild))
        found += [] if fields else [file]
    return tuple(found)


def fields_of(uri: str) -> list[str]:
    """Return the paths of the fields within a plate; none within any other Zarr."""
    from cellmill.arrays.ome import fields_of_plate

    path = uris.local_path(uri)
    # A bucket that is mounted is read where it is mounted.
    return fields_of_plate(str(path.absolute()) if path is not None else uri)


def list_uris(pattern: str, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> list[str]:
    """Return the URIs of `list_files`."""
    return [file.uri for file in list_files(pattern, suffixes).files]


class _Found:
    """Collects what is met, kept or left aside."""

    def __init__(self, suffixes: Sequence[str], unreadable_as_files: bool) -> None:
        self.suffixes = tuple(suffix.lower() for suffix in suffixes)
        self.unreadable_as_files = unreadable_as_files
        self.kept: dict[str, Listed] = {}
        self.aside: dict[str, None] = {}

    def meet(self, path: str, is_folder: bool, listed: Listed) -> None:
        """Keep what is named like an image: a file, or a Zarr."""
        name = PurePosixPath(path).name
        wanted = not name.startswith(".") and name.lower().endswith(self.suffixes)
        if wanted and (not is_folder or is_zarr(name)):
            self.kept.setdefault(listed.uri, listed)
        else:
            self.aside.setdefault(path)

    def refuse(self, path: str, error: OSError) -> None:
        """A folder that cannot be read is an error, or stands among the files."""
        if not self.unreadable_as_files:
            raise BadInput(
                f"folder '{path}'",
                expected="a folder that can be read",
                found=uris.reason_of(path, error),
            ) from error
        self.kept.setdefault(path, Listed(path))

    def listing(self) -> Listing:
        files = sorted(self.kept.values(), key=lambda file: file.uri)
        return Listing(tuple(files), tuple(sorted(self.aside)))


def _list_local(path: Path, suffixes: Sequence[str], unreadable_as_files: bool) -> Listing:
    text = str(path)
    found = _Found(suffixes, unreadable_as_files)
    if _kind_of(text) == "folder":
        for entry in _entries(text, found):
            found.meet(entry, _kind_of(entry) == "folder", Listed(entry))
    elif os.path.lexists(text):
        return Listing((Listed(text),))
    elif glob.has_magic(text):
        parts = path.parts
        first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
        base = str(Path(*parts[:first])) if first else "."
        for entry in _globbed(base, parts[first:], found, frozenset()):
            entry = entry if first else entry.removeprefix("./")
            folders, wild = variable_parts(parts[first:], PurePosixPath(entry).parts[first:])
            found.meet(entry, _kind_of(entry) == "folder", Listed(entry, folders, wild))
    elif _kind_of(str(path.parent)) == "folder":
        for entry in _entries(str(path.parent), found):
            if PurePosixPath(entry).name.startswith(path.name):
                found.meet(entry, _kind_of(entry) == "folder", Listed(entry))
    return found.listing()


def _kind_of(path: str) -> str:
    """Return `"folder"`, `"file"`, `""` for nothing, or `"unknown"` where it cannot be told."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - says why not, which Path.is_dir does not
    except (FileNotFoundError, NotADirectoryError):
        return "unknown" if os.path.lexists(path) else ""
    except OSError:
        return "unknown"
    return "folder" if stat.S_ISDIR(mode) else "file"


def _entries(folder: str, found: _Found) -> list[str]:
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 - names as they are, without a Path each
    except OSError as error:
        found.refuse(folder, error)
        return []
    return [name if folder == "." else str(PurePosixPath(folder, name)) for name in names]


def _globbed(
    folder: str, parts: Sequence[str], found: _Found, above: frozenset[str]
) -> Iterator[str]:
    """Yield the paths below a folder that match the parts of a glob.

    Args:
        folder: where to look.
        parts: what is left of the glob.
        found: to which folders that cannot be read are told.
        above: real paths of the folders that `**` went through, which a link may lead back to.
    """
    part, rest = parts[0], parts[1:]
    if not glob.has_magic(part):
        path = str(PurePosixPath(folder, part))
        if not rest and os.path.lexists(path):
            yield path
        elif rest and _is_folder(path, found):
            yield from _globbed(path, rest, found, above)
        return
    crossing = part == "**"
    if crossing and rest:
        yield from _globbed(folder, rest, found, above)
    for path in _entries(folder, found):
        name = PurePosixPath(path).name
        if name.startswith(".") and not part.startswith("."):
            continue
        if crossing:
            real = os.path.realpath(path)
            goes_on = real not in above and not is_zarr(name) and _is_folder(path, found)
            if not rest:
                yield path
            if goes_on:
                yield from _globbed(path, parts, found, above | {real})
        elif fnmatch.fnmatchcase(name, part):
            if not rest:
                yield path
            elif _is_folder(path, found):
                yield from _globbed(path, rest, found, above)


def _is_folder(path: str, found: _Found) -> bool:
    """Whether a glob goes on there; a link to nowhere may be a folder that is missing."""
    kind = _kind_of(path)
    if kind == "unknown" and not PurePosixPath(path).name.lower().endswith(found.suffixes):
        try:
            os.stat(path)  # noqa: PTH116 - for its error
        except OSError as error:
            found.refuse(path, error)
    return kind == "folder"


def _as_objects(listing: Listing) -> Listing:
    """Return paths under the mount of a bucket as its URIs."""

    def uri_of(path: str) -> str:
        return f"gs://{Path(path).relative_to(uris.GCS_MOUNT).as_posix()}"

    files = tuple(Listed(uri_of(f.uri), f.folders, f.wild) for f in listing.files)
    return Listing(files, tuple(map(uri_of, listing.left_aside)))


def _list_remote(pattern: str, suffixes: Sequence[str]) -> Listing:
    filesystem, name = uris.filesystem_of(pattern)
    if uris.asked(filesystem, "isfile", name):
        return Listing((Listed(pattern),))
    parts: tuple[str, ...] = ()
    if uris.asked(filesystem, "isdir", name):
        listed = uris.asked(filesystem, "ls", name, detail=True)
        depth = len(parts_of(name)) + 1
        entries = {e["name"]: e for e in listed if len(parts_of(e["name"])) == depth}
    elif entries := uris.asked(filesystem, "glob", name, detail=True):
        parts = parts_of(name)
    else:
        # A prefix is a glob whose own letters mean themselves.
        entries = uris.asked(filesystem, "glob", f"{glob.escape(name)}*", detail=True)
    found = _Found(suffixes, unreadable_as_files=False)
    first = next((i for i, part in enumerate(parts) if glob.has_magic(part)), 0)
    for path, about in entries.items():
        # Some stores keep an empty object for the folder itself.
        if path.strip("/") == name.strip("/"):
            continue
        uri = filesystem.unstrip_protocol(path)
        folders, wild = variable_parts(parts[first:], parts_of(path)[first:]) if parts else ((), ())
        found.meet(uri, about.get("type") == "directory", Listed(uri, folders, wild))
    return found.listing()
