"""Small files in microscopes' own formats, written from the formats' descriptions.

CZI is written by Zeiss's own library; OIF is TIFFs and text. LIF and ND2 have no free writer, so
the few structures that a reader needs are put together here.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import tifffile


def write_czi(path: Path, scenes: Sequence[np.ndarray], mpp: float, names: Sequence[str]) -> None:
    """Write scenes `(C, Z, T, Y, X)`, each as two tiles side by side."""
    from pylibCZIrw import czi

    with czi.create_czi(str(path)) as file:
        for number, pixels in enumerate(scenes):
            for c, z, t in np.ndindex(pixels.shape[:3]):
                plane = {"C": c, "Z": z, "T": t}
                half = pixels.shape[4] // 2
                left = 10 + 1000 * number
                for at, part in ((0, np.s_[:, :half]), (half, np.s_[:, half:])):
                    tile = np.ascontiguousarray(pixels[c, z, t][part])[..., None]
                    file.write(tile, plane=plane, location=(left + at, 20), scene=number)
        named = dict(enumerate(names))
        scale = {"scale_x": mpp * 1e-6, "scale_y": mpp * 1e-6, "scale_z": 4 * mpp * 1e-6}
        file.write_metadata(channel_names=named, **scale)


def write_colour_czi(path: Path, pixels: np.ndarray) -> None:
    """Write a colour picture `(Y, X, 3)` uint8."""
    from pylibCZIrw import czi

    with czi.create_czi(str(path)) as file:
        file.write(np.ascontiguousarray(pixels[..., ::-1]), plane={"C": 0, "Z": 0, "T": 0})


def write_lif(
    path: Path, images: Mapping[str, np.ndarray], mpp: float, dyes: Sequence[str]
) -> None:
    """Write images `(C, Z, T, Y, X)` by their names, channels one behind the other."""
    elements, blocks = [], []
    for number, (name, pixels) in enumerate(images.items()):
        pixels = np.ascontiguousarray(pixels.transpose(2, 1, 0, 3, 4))  # as stored: T, Z, C, Y, X
        times, depth, channels, height, width = pixels.shape
        size = pixels.dtype.itemsize
        plane = height * width * size
        described = "".join(
            f'<ChannelDescription DataType="0" ChannelTag="0" Resolution="{8 * size}"'
            f' NameOfMeasuredQuantity="" Min="0" Max="1" Unit="" LUTName="Gray" IsLUTInverted="0"'
            f' BytesInc="{c * plane}" BitInc="0"><ChannelProperty><Key>DyeName</Key>'
            f"<Value>{dyes[c]}</Value></ChannelProperty></ChannelDescription>"
            for c in range(channels)
        )
        steps = [
            (1, width, size, mpp),
            (2, height, width * size, mpp),
            (3, depth, plane * channels, 4 * mpp),
            (4, times, plane * channels * depth, 1.0),
        ]
        dimensions = "".join(
            f'<DimensionDescription DimID="{n}" NumberOfElements="{length}" Origin="0"'
            f' Length="{(length - 1) * step * 1e-6!r}" Unit="{"s" if n == 4 else "m"}"'
            f' BitInc="0" BytesInc="{stride}"/>'
            for n, length, stride, step in steps
            if length > 1 or n < 3
        )
        elements.append(
            f'<Element Name={quoteattr(name)} UniqueID="u{number}"><Data><Image><ImageDescription>'
            f"<Channels>{described}</Channels><Dimensions>{dimensions}</Dimensions>"
            f"</ImageDescription></Image></Data>"
            f'<Memory Size="{pixels.nbytes}" MemoryBlockID="MemBlock_{number}"/></Element>'
        )
        identity = f"MemBlock_{number}".encode("utf-16-le")
        head = struct.pack("<BQBI", 0x2A, pixels.nbytes, 0x2A, len(identity) // 2) + identity
        blocks.append(struct.pack("<II", 0x70, len(head)) + head + pixels.tobytes())
    xml = (
        '<LMSDataContainerHeader Version="2"><Element Name="project"><Data/>'
        f"<Children>{''.join(elements)}</Children></Element></LMSDataContainerHeader>"
    ).encode("utf-16-le")
    head = struct.pack("<IIBI", 0x70, 5 + len(xml), 0x2A, len(xml) // 2)
    path.write_bytes(head + xml + b"".join(blocks))


def write_oif(path: Path, pixels: np.ndarray, mpp: float, dyes: Sequence[str]) -> None:
    """Write an image `(C, Z, T, Y, X)`: a text and a folder of TIFFs beside it."""
    channels, depth, times, height, width = pixels.shape
    folder = path.with_name(f"{path.name}.files")
    folder.mkdir()
    stem = path.stem
    sizes = {"X": width, "Y": height, "C": channels, "Z": depth, "T": times}
    used = "".join(axis for axis, length in sizes.items() if length > 1)
    text = ["[ProfileSaveInfo]\nName=x\nVersion=1.0"]
    for number, (axis, length) in enumerate(sizes.items()):
        end = (length - 1) * 4 * mpp * 1000 if axis == "Z" else length
        unit = "nm" if axis == "Z" else "um"
        said = f"MaxSize={length}\nStartPosition=0.0\nEndPosition={end}\nPixUnit={unit!r}"
        text.append(f"[Axis {number} Parameters Common]\nAxisCode={axis!r}\n{said}")
    text.append(f"[Axis Parameter Common]\nAxisCount={len(used)}\nAxisOrder={used!r}")
    text.append(
        f"[Reference Image Parameter]\nHeightConvertValue={mpp}\nHeightUnit='um'\n"
        f"WidthConvertValue={mpp}\nWidthUnit='um'"
    )
    for number, dye in enumerate(dyes, 1):
        text.append(f"[Channel {number} Parameters]\nDyeName={dye!r}\nCH Name='CH{number}'")
    path.write_text("\r\n".join("\n".join(text).split("\n")), "utf-16")
    for c, z, t in np.ndindex(channels, depth, times):
        parts = [("C", c, channels), ("Z", z, depth), ("T", t, times)]
        name = "".join(f"{axis}{at + 1:03d}" for axis, at, length in parts if length > 1)
        tifffile.imwrite(folder / f"{stem}_{name}.tif", pixels[c, z, t])


_ND2_MAGIC, _ND2_RESERVED = 0x0ABECEDA, 4072


def write_nd2(
    path: Path, pixels: np.ndarray, mpp: float, names: Sequence[str], z_step: float = 0.0
) -> None:
    """Write an image `(T, P, Z, C, Y, X)`: chunks with a name each, and their map at the end."""
    times, positions, depth, channels, height, width = pixels.shape
    bits = 8 * pixels.dtype.itemsize
    attributes = {
        "uiWidth": width,
        "uiWidthBytes": width * channels * pixels.dtype.itemsize,
        "uiHeight": height,
        "uiComp": channels,
        "uiBpcInMemory": bits,
        "uiBpcSignificant": bits,
        "uiSequenceCount": times * positions * depth,
        "eCompression": 2,
    }
    planes = {
        f"a{n}": {
            "sDescription": name,
            "uiCompCount": 1,
            "uiSampleIndex": n,
            "uiColor": 0,
            "pFluorescentProbe": {"uiColor": 0},
        }
        for n, name in enumerate(names)
    }
    metadata = {
        "bCalibrated": True,
        "dCalibration": mpp,
        "sPicturePlanes": {"uiCount": channels, "sPlaneNew": planes},
    }
    loop: dict[str, Any] = {}
    if depth > 1:
        about = {"uiCount": depth, "dZStep": z_step, "dZLow": 0.0, "dZHigh": z_step * (depth - 1)}
        loop = {"eType": 4, "uLoopPars": about, "uiNextLevelCount": 0}
    if positions > 1:
        points = {f"i{n:010}": {"dPosX": float(n), "dPosY": 0.0} for n in range(positions)}
        about = {"uiCount": positions, "Points": points}
        loop = {"eType": 2, "uLoopPars": about, **_within(loop)}
    if times > 1:
        about = {"uiCount": times, "dStart": 0.0, "dPeriod": 1.0, "dDuration": 1.0}
        loop = {"eType": 1, "uLoopPars": about, **_within(loop)}
    chunks = [("ImageAttributesLV!", _levels({"SLxImageAttributes": attributes}))]
    chunks.append(("ImageMetadataSeqLV|0!", _levels({"SLxPictureMetadata": metadata})))
    if loop:
        chunks.append(("ImageMetadataLV!", _levels({"SLxExperiment": loop})))
    frames = pixels.reshape(-1, channels, height, width)
    for number, frame in enumerate(frames):
        data = bytes(8) + np.ascontiguousarray(frame.transpose(1, 2, 0)).tobytes()
        chunks.append((f"ImageDataSeq|{number}!", data))
    data = struct.pack(
        "<IIQ32s64s", _ND2_MAGIC, 32, 64, b"ND2 FILE SIGNATURE CHUNK NAME01!", b"Ver3.0"
    )
    places = b""
    for name, content in chunks:
        # The name's field is as long as what the chunk's data is aligned to asks for.
        places += name.encode() + struct.pack("<QQ", len(data), len(content))
        field = name.encode().ljust(_ND2_RESERVED, b"\0")
        data += struct.pack("<IIQ", _ND2_MAGIC, len(field), len(content)) + field + content
    end = b"ND2 CHUNK MAP SIGNATURE 0000001!"
    table = places + end + struct.pack("<Q", len(data))
    name = b"ND2 FILEMAP SIGNATURE NAME 0001!"
    data += struct.pack("<IIQ", _ND2_MAGIC, len(name), len(table)) + name + table
    path.write_bytes(data)


def _within(loop: Mapping[str, Any]) -> dict[str, Any]:
    if not loop:
        return {"uiNextLevelCount": 0}
    return {"uiNextLevelCount": 1, "ppNextLevelEx": {"i0000000000": loop}}


def _levels(content: Mapping[str, Any]) -> bytes:
    """Encode names and values as ND2's "lite variants": a type, a name, a value each."""
    data = b""
    for name, value in content.items():
        text = (name + "\0").encode("utf-16-le")
        kind = {bool: 1, int: 3, float: 6, str: 8}.get(type(value), 11)
        head = struct.pack("<BB", kind, len(text) // 2) + text
        if kind == 11:
            inner = _levels(value)
            offsets = bytes(8 * len(value))
            data += head + struct.pack("<IQ", len(value), len(head) + 12 + len(inner))
            data += inner + offsets
        elif kind == 8:
            data += head + (value + "\0").encode("utf-16-le")
        else:
            data += head + struct.pack({1: "<B", 3: "<I", 6: "<d"}[kind], value)
    return data
