"""Images by URI, of either kind: a TIFF, which is a file, or an OME-Zarr, which is a folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

from cellmill import uris
from cellmill.arrays.windows import WritableWindowed
from cellmill.tiff.layout import TiffImage, open_image
from cellmill.tiff.read import read_channels

if TYPE_CHECKING:
    from cellmill.arrays.store import Ledger
    from cellmill.zarr_images import ZarrImage


@contextlib.contextmanager
def open_image_at(
    uri: str, file: IO[bytes] | None, **choice: Any
) -> Iterator[TiffImage | ZarrImage]:
    """Open an image.

    Args:
        uri: of a TIFF, or of an OME-Zarr.
        file: the open TIFF; None of an OME-Zarr.
        **choice: which image, level, Z and T, as for ``cellmill.tiff.layout.open_image``.

    Raises:
        BadInput: it is neither, it is damaged, or which image is meant is not said.
    """
    if file is None:
        from cellmill.zarr_images import open_zarr_image

        yield open_zarr_image(uri, **choice)
        return
    with open_image(file, uri, **choice) as image:
        yield image


@contextlib.contextmanager
def open_file(uri: str) -> Iterator[IO[bytes] | None]:
    """Open the file of an image; None for an OME-Zarr, which has none."""
    if uris.is_zarr(uri):
        yield None
        return
    with uris.open_uri(uri) as file:
        yield file


def read_pixels(
    image: TiffImage | ZarrImage,
    channels: Sequence[int],
    out: WritableWindowed,
    *,
    memory_mib: int = 1024,
    ledger: Ledger | None = None,
) -> None:
    """Read channels into an array; see ``cellmill.tiff.read.read_channels``."""
    if isinstance(image, TiffImage):
        read_channels(image, channels, out, memory_mib=memory_mib, ledger=ledger)
        return
    from cellmill.zarr_images import copy_channels

    copy_channels(image, channels, out, memory_mib=memory_mib, ledger=ledger)
