"""Reads label images made by others, of any kind, into memory.

Read are TIFF, OME-Zarr, PNG, `.npy` and `.npz` files that hold

- integers `(Y, X)`, 0 for background and a number per object, kept as they are;
- two of those, `(Y, X, 2)` or `(2, Y, X)`: whole cells, then nuclei; in an `.npz` also as the
  arrays `whole_cell` and `nuclear`; in a TIFF or an OME-Zarr in channels of these names, among
  others;
- colours, one an object, as in mnfinder's masks: an object is a connected piece of one colour;
- a mask of yes and no, `bool` or of two values: an object is a connected piece.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from typing import IO

import numpy as np

from cellmill.errors import BadInput
from cellmill.io.images import read_pixels
from cellmill.io.pictures import GREY_ALPHA, RGB_ALPHA, decode_png, png_header
from cellmill.io.tiff.codestreams import JPEG_MAGIC, PNG_MAGIC
from cellmill.io.tiff.damage import damage_is_bad_input
from cellmill.io.truth.kinds import Facts, TruthKind, layout_of
from cellmill.io.truth.labels import Truth, labels_of
from cellmill.io.truth.opened import facts_of, open_truth

#: Is given (Y, X), or (Z, Y, X), as a file declares it, and raises where no pixel needs to be read.
CheckShape = Callable[[tuple[int, ...]], None]
#: Pixels `(Y, X, P)`, what alpha does not hide, and what the file says.
_Read = tuple[np.ndarray, np.ndarray | None, Facts]


def read_truth(
    file: IO[bytes] | None,
    name: str,
    kind: TruthKind = "",
    *,
    volume: bool = False,
    t: int = -1,
    memory_mib: int = 1024,
    check_shape: CheckShape = lambda _: None,
) -> Truth:
    """Read label images.

    Args:
        file: a seekable binary file; None of an OME-Zarr.
        name: what messages call it, of an OME-Zarr where it is: a path or URI.
        kind: what it is; empty: what it is taken for (`cellmill.io.truth.kinds`).
        volume: whether it is one of a volume: a TIFF or an OME-Zarr of focal planes, or an array
            `(Z, Y, X)`.
        t: of a series, which time point; -1: the only one.
        memory_mib: what reading may take beside the pixels.
        check_shape: is given (Y, X), or (Z, Y, X), before any pixel is decoded.

    Raises:
        BadInput: the file is damaged, of another kind, or holds no label images.
    """
    label = f"truth '{name}'"
    head = b""
    if file is not None:
        file.seek(0)
        head = file.read(16)
        file.seek(0)
        if not head:
            raise BadInput(label, expected="a label image", found="an empty file")
        if head.startswith(JPEG_MAGIC):
            raise BadInput(
                label, expected="a TIFF, PNG, .npy or .npz", found="a JPEG, which keeps no labels"
            )
    if file is None or head[:2] in (b"II", b"MM"):
        return _read_image(file, name, kind, volume, t, memory_mib, check_shape)
    if t >= 0:
        raise BadInput(label, expected="a TIFF or OME-Zarr with time points", found="one image")
    for magic, reader in _READERS.items():
        if head.startswith(magic):
            with damage_is_bad_input(label, "a whole, readable file"):
                pixels, visible, facts = reader(file, label, check_shape, volume)
            layout = layout_of(facts, kind)
            return labels_of(facts, layout, pixels[..., list(layout.planes)], visible, kind)
    raise BadInput(
        label,
        expected="a TIFF, PNG, .npy or .npz",
        found=f"a file that begins with {head[:8]!r}",
    )


def _read_image(
    file: IO[bytes] | None,
    name: str,
    kind: TruthKind,
    volume: bool,
    t: int,
    memory_mib: int,
    check_shape: CheckShape,
) -> Truth:
    """Read a TIFF or an OME-Zarr; only the planes that are looked at."""
    with open_truth(name, file, "all" if volume else -1, t) as image:
        check_shape(image.shape)
        facts, channels, alpha = facts_of(image, f"truth '{name}'")
        layout = layout_of(facts, kind)
        wanted = [channels[plane] for plane in layout.planes]
        read = [*wanted, alpha] if alpha is not None else wanted
        pixels = np.empty((*image.shape, len(read)), image.stored_dtype)
        read_pixels(image, read, pixels, memory_mib=memory_mib)
    visible = None if alpha is None else pixels[..., -1] != 0
    return labels_of(facts, layout, pixels[..., : len(wanted)], visible, kind)


def _read_png(file: IO[bytes], label: str, check_shape: CheckShape, volume: bool) -> _Read:
    data = file.read()
    rows, columns, _, colour_type = png_header(data)
    check_shape((rows, columns))
    # The indices of a palette are the labels.
    pixels = decode_png(data, indices=True)
    pixels = pixels if pixels.ndim == 3 else pixels[..., np.newaxis]
    visible = None
    if colour_type in (GREY_ALPHA, RGB_ALPHA):
        pixels, visible = pixels[..., :-1], pixels[..., -1] != 0
    said = {0: "grey", 2: "RGB", 3: "palette", 4: "grey and alpha", 6: "RGB and alpha"}
    facts = Facts(
        label,
        pixels.shape[-1],
        pixels.dtype,
        colour=colour_type in (2, 6),
        said=f"PNG, {said.get(colour_type, 'unknown')}",
    )
    return pixels, visible, facts


def _read_npy(file: IO[bytes], label: str, check_shape: CheckShape, volume: bool) -> _Read:
    _check_header(file, label, check_shape, volume)
    file.seek(0)
    return _array(np.lib.format.read_array(file, allow_pickle=False), label, volume)


def _read_npz(file: IO[bytes], label: str, check_shape: CheckShape, volume: bool) -> _Read:
    if not zipfile.is_zipfile(file):
        raise BadInput(label, expected="an .npz", found="a damaged ZIP archive")
    file.seek(0)
    with zipfile.ZipFile(file) as archive:
        keys = [name.removesuffix(".npy") for name in archive.namelist()]
        both = {"whole_cell", "nuclear"} <= set(keys)
        key = "labels" if "labels" in keys else keys[0] if len(keys) == 1 else ""
        if not both and not key:
            raise BadInput(
                label,
                expected="an array 'labels', arrays 'whole_cell' and 'nuclear', or one array",
                found=", ".join(keys[:8]) or "no arrays",
            )
        arrays = []
        for name in ("whole_cell", "nuclear") if both else (key,):
            with archive.open(f"{name}.npy") as member:
                _check_header(member, label, check_shape, volume)
            with archive.open(f"{name}.npy") as member:
                arrays.append(np.lib.format.read_array(member, allow_pickle=False))
    if not both:
        return _array(arrays[0], label, volume)
    if arrays[0].shape != arrays[1].shape:
        found = f"shapes {arrays[0].shape} and {arrays[1].shape}"
        raise BadInput(label, expected="whole_cell and nuclear alike", found=found)
    return _array(np.stack(arrays, axis=-1), label, volume)


def _check_header(file: IO[bytes], label: str, check_shape: CheckShape, volume: bool) -> None:
    """Look at the shape that an `.npy` declares, before its pixels are read."""
    version = np.lib.format.read_magic(file)
    first = version == (1, 0)
    read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
    declared = read(file)[0]
    if volume:
        check_shape(declared[:3])
        return
    shape, planes_first = _squeezed(declared, label)
    height, width = shape[1:] if planes_first else shape[:2]
    check_shape((height, width))


def _squeezed(shape: tuple[int, ...], label: str) -> tuple[tuple[int, ...], bool]:
    """Return a shape without axes of one, `(Y, X)`, `(Y, X, P)` or `(P, Y, X)`; whether P is first.

    Raises:
        BadInput: it is that of no truth.
    """
    found = shape
    while len(found) > 2 and found[0] == 1:
        found = found[1:]
    while len(found) > 2 and found[-1] == 1:
        found = found[:-1]
    planes = (2, 3, 4)
    first = len(found) == 3 and found[-1] not in planes and found[0] in planes
    if 0 in shape:
        raise BadInput(label, expected="pixels", found=f"shape {shape}")
    if len(found) != 2 and not (len(found) == 3 and (first or found[-1] in planes)):
        raise BadInput(
            label,
            expected="a label image (Y, X), or two (Y, X, 2), or colours (Y, X, 3 or 4)",
            found=f"shape {shape}",
        )
    return found, first


def _array(pixels: np.ndarray, label: str, volume: bool) -> _Read:
    """Find the planes of an array, of which nothing is known but its shape and dtype."""
    if volume:
        stack = pixels if pixels.ndim == 4 else pixels[..., np.newaxis]
        return stack, None, Facts(label, stack.shape[-1], stack.dtype, said="an array")
    shape, first = _squeezed(pixels.shape, label)
    pixels = pixels.reshape(shape)
    pixels = np.moveaxis(pixels, 0, -1) if first else pixels
    pixels = pixels if pixels.ndim == 3 else pixels[..., np.newaxis]
    count, visible = pixels.shape[-1], None
    # Programs keep primaries last and in 8 or 16 bits; what is otherwise is no picture.
    colour = count > 2 and not first and pixels.dtype in (np.uint8, np.uint16)
    if colour and count == 4:
        pixels, visible = pixels[..., :3], pixels[..., 3] != 0
    said = f"an array of {pixels.dtype}, {count} {'colours' if colour else 'planes'}"
    facts = Facts(
        label, pixels.shape[-1], pixels.dtype, colour=colour, said=said if count > 1 else ""
    )
    return pixels, visible, facts


_READERS: dict[bytes, Callable[[IO[bytes], str, CheckShape, bool], _Read]] = {
    PNG_MAGIC: _read_png,
    b"\x93NUMPY": _read_npy,
    b"PK": _read_npz,
}
