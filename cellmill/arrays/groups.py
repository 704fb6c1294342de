"""The metadata of a Zarr group: read, of either version, and written whole, of Zarr v3.

Source: Zarr core 3; Zarr storage specification 2.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cellmill.arrays.store import key_values, refused
from cellmill.errors import BadInput


def write_group(uri: str, attributes: Mapping[str, Any]) -> None:
    """Write a group's metadata.

    Raises:
        BadInput: the place cannot be written.
    """
    document = {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}
    try:
        key_values(uri).write("zarr.json", json.dumps(document, indent=1).encode()).result()
    except ValueError as error:
        raise refused(uri, error) from error


def read_group(uri: str) -> dict[str, Any]:
    """Read a group's attributes.

    Raises:
        BadInput: there is no group.
    """
    try:
        found = key_values(uri).read("zarr.json").result()
    except ValueError as error:
        raise refused(uri, error) from error
    try:
        document = json.loads(found.value)
        if document["zarr_format"] != 3 or document["node_type"] != "group":
            raise ValueError("not a group of Zarr v3")
        return dict(document.get("attributes", {}))
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"store '{uri}'",
            expected="a Zarr v3 group",
            found=f"{error}" if found.value else "none",
        ) from error


def read_any_group(uri: str) -> tuple[int, dict[str, Any]]:
    """Read a group's attributes, be it of Zarr v3 or of Zarr 2.

    Returns:
        The version, 3 or 2, and the attributes.

    Raises:
        BadInput: there is no group, or its metadata are damaged.
    """
    try:
        store = key_values(uri)
        if store.read("zarr.json").result().value or not store.read(".zgroup").result().value:
            return 3, read_group(uri)
        attributes = store.read(".zattrs").result().value
    except ValueError as error:
        raise refused(uri, error) from error
    try:
        found = json.loads(attributes or b"{}")
        if not isinstance(found, dict):
            raise ValueError("no attributes by name")
    except ValueError as error:
        raise BadInput(f"store '{uri}'", expected="a Zarr 2 group", found=f"{error}") from error
    return 2, found
