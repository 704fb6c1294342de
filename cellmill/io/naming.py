"""What images are called: after their files, no two alike, in names that files can bear."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Sequence

from cellmill.arrays.entries import RESERVED
from cellmill.io.listing import parts_of
from cellmill.io.suffixes import is_zarr, name_in_zarr, stem_of

#: Bytes of a name, of a file's usual 255: suffixes still fit. Names that are longer begin alike
#: more often than they end alike, so what is left out is the middle.
_LONGEST = 150
_KEPT_AT_END = 60


def name_of(uri: str) -> str:
    """Return what an image is called: its file's name without folder, `.ome` and suffix.

    A field of a plate takes the plate's name, and those of row and column.
    """
    if is_zarr(uri):
        return name_in_zarr(parts_of(uri)) or "image"
    return stem_of(_last(uri)) or "image"


def unique_names(uris: Sequence[str], taken: Collection[str] = ()) -> list[str]:
    """Return a name per URI such that no two are alike, even where case is not told apart.

    Images of one name take their folders' names before it, as many as tell them apart. What no
    folder tells apart (`a.tif` beside `a.ome.tif`) keeps its suffix; what that does not either is
    numbered.

    Args:
        uris: of the images.
        taken: names that no image may have: those of files and folders of the run's own.
    """
    reserved = {_key(name) for name in (*RESERVED, *taken)}
    stems = [name_of(uri) for uri in uris]
    names = [_as_file_name(stem) for stem in stems]
    groups: dict[str, list[int]] = defaultdict(list)
    for i, name in enumerate(names):
        groups[_key(name)].append(i)
    for key, group in groups.items():
        if len(group) > 1 or key in reserved:
            for i, name in zip(group, _told_apart([uris[i] for i in group], reserved), strict=True):
                names[i] = name
    used = set(reserved)
    for i, name in enumerate(names):
        number, candidate = 2, name
        while _key(candidate) in used:
            candidate, number = f"{name}-{number}", number + 1
        names[i] = candidate
        used.add(_key(candidate))
    return names


def _told_apart(uris: Sequence[str], reserved: Collection[str]) -> list[str]:
    """Return names of files whose stems are alike, or reserved, as different as paths make them."""
    folders = [[part for part in parts_of(uri)[:-1] if part not in (".", "..")] for uri in uris]
    deepest = max(map(len, folders))
    names: list[str] = []
    stems, wholes = [name_of(uri) for uri in uris], [_last(uri) for uri in uris]
    for ends in (stems, wholes) if len(uris) > 1 else (wholes,):
        for depth in range(deepest + 1):
            names = [
                _as_file_name("_".join([*above[max(0, len(above) - depth) :], end]))
                for above, end in zip(folders, ends, strict=True)
            ]
            keys = {_key(name) for name in names}
            if len(keys) == len(names) and not keys & set(reserved):
                return names
    return names


def _last(uri: str) -> str:
    """Return the last part of a path; Windows' separators are read, too."""
    return parts_of(uri)[-1].replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] or "image"


def _as_file_name(name: str) -> str:
    cleaned = re.sub(r"[/\0\n\r]", "_", name).lstrip(".") or "image"
    encoded = cleaned.encode(errors="replace")
    if len(encoded) <= _LONGEST:
        return encoded.decode()
    end = encoded[-_KEPT_AT_END:].decode(errors="ignore")
    room = _LONGEST - len(end.encode()) - len("…".encode())
    return f"{encoded[:room].decode(errors='ignore')}…{end}"


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
