"""Places that clients name: only those below what whoever runs the server allows."""

from __future__ import annotations

import posixpath
from pathlib import Path
from urllib.parse import unquote

from cellmill.io.uris import local_path
from serving.refusals import NotAllowed

_FORMS = ("precomputed://", "zarr3://", "zarr://", "n5://")


def check_place(uri: str, allowed: str, setting: str) -> None:
    """Refuse a place that is not allowed.

    Args:
        uri: as a client names it, with or without the form of a volume before it.
        allowed: folders and prefixes of URIs, with spaces between.
        setting: where they are set, for the message.

    Raises:
        NotAllowed: it lies below none of them.
    """
    place, roots = _plain(uri), allowed.split()
    if place is None or not any(_is_below(place, root) for root in map(_plain, roots) if root):
        expected = f"below one of {', '.join(roots)}" if roots else f"none ({setting} is empty)"
        raise NotAllowed("place", expected=expected, found=f"'{uri}'")


def _is_below(place: str, root: str) -> bool:
    return place == root or place.startswith(f"{root.rstrip('/')}/")


def _plain(uri: str) -> str | None:
    """A place without its form, links followed; None where it leads up or asks a server."""
    for form in _FORMS:
        uri = uri.removeprefix(form)
    path = local_path(uri)
    if path is not None:
        return str(Path(path).resolve())
    scheme, _, rest = uri.partition("://")
    plain = unquote(rest)
    if any(sign in plain for sign in ("?", "#", "@", "\\")) or ".." in plain.split("/"):
        return None
    return f"{scheme}://{posixpath.normpath(plain)}"
