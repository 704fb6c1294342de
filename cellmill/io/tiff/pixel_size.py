"""What a pixel size is, and lengths in any unit as microns."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

#: Microns per unit. Keys are as `_key` makes them: NFKC turns both encodings of the micro
#: sign (U+00B5 and U+03BC) into the Greek letter.
MICRONS_PER_UNIT: Mapping[str, float] = {
    "μm": 1.0,
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometers": 1.0,
    "micrometre": 1.0,
    "micrometres": 1.0,
    "pm": 1e-6,
    "å": 1e-4,
    "angstrom": 1e-4,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "nanometers": 1e-3,
    "nanometre": 1e-3,
    "mm": 1e3,
    "millimeter": 1e3,
    "millimeters": 1e3,
    "millimetre": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "centimetre": 1e4,
    "dm": 1e5,
    "m": 1e6,
    "meter": 1e6,
    "metre": 1e6,
    "in": 25400.0,
    "inch": 25400.0,
    "inches": 25400.0,
    '"': 25400.0,
    "thou": 25.4,
    "li": 25400.0 / 12,
    "pt": 25400.0 / 72,
    "ft": 304800.0,
}


@dataclass(frozen=True)
class PixelSize:
    """Pixel size of an image at full resolution.

    Attributes:
        mpp: microns per pixel (y, x), or None where the file does not say.
        source: who says so: `"OME-XML"`, `"ImageJ"`, `"Aperio"`, `"TIFF resolution"`, …;
            `"parameter"` or `"unknown"`.
        remark: what a user should know of it, such as why the file was not believed; else empty.
        z_step: microns between focal planes, None where the file does not say.
    """

    mpp: tuple[float, float] | None
    source: str
    remark: str = ""
    z_step: float | None = None

    def of_level(
        self,
        full: tuple[int, int],
        shape: tuple[int, int],
        remarks: list[str],
        *,
        volume: bool = False,
    ) -> tuple[float, ...] | None:
        """The pixel size of a pyramid's level, (y, x), or (z, y, x) of a volume; None if unknown.

        Args:
            full: (Y, X) of the first level.
            shape: of the level at hand.
            remarks: to which is added what a user should know.
            volume: whether it is one of a volume.
        """
        if self.mpp is None:
            return None
        plane = self.mpp[0] * full[0] / shape[0], self.mpp[1] * full[1] / shape[1]
        return volume_mpp(plane, self.z_step, remarks) if volume else plane


UNKNOWN = PixelSize(None, "unknown")


def microns_per(unit: str) -> float | None:
    r"""Return the microns in a unit of length, however it is spelled; None of an unknown one.

    Example:
        >>> [microns_per(unit) for unit in ("nm", "\\u03BCm", "Âµm", "furlong")]
        [0.001, 1.0, 1.0, None]
    """
    return MICRONS_PER_UNIT.get(_key(unescaped(unit)))


def unescaped(unit: str) -> str:
    r"""Return a text with letters that ImageJ wrote as ASCII, such as `\u00B5`, as themselves."""
    return re.sub(r"\\[uU]([0-9a-fA-F]{4})", lambda code: chr(int(code[1], 16)), unit)


def number(text: str) -> float:
    """Return the number that a text is, NaN where it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def checked_size(
    y: float, x: float, source: str, remark: str = "", z: float = math.nan
) -> PixelSize:
    """Return a pixel size in microns, unknown where it is no positive number; so of `z`."""
    if not all(math.isfinite(v) and v > 0 for v in (y, x)):
        return PixelSize(None, "unknown", f"{source} gives the pixel size {y:g} × {x:g}")
    return PixelSize((y, x), source, remark, z if math.isfinite(z) and z > 0 else None)


def volume_mpp(
    plane: tuple[float, ...], z_step: float | None, remarks: list[str]
) -> tuple[float, ...] | None:
    """Return a volume's pixel size (z, y, x); None, with a remark, where the z step is unknown.

    Args:
        plane: pixel size (y, x) in microns.
        z_step: microns between focal planes, None where unknown.
        remarks: is added to.
    """
    if z_step is None:
        remarks.append("the distance between its focal planes is unknown: z_step=… says it")
        return None
    return (z_step, *plane)


def _key(unit: str) -> str:
    """Return a unit in one spelling: both micro signs become one letter, mojibake is undone."""
    return unicodedata.normalize("NFKC", unit.replace("Â", "").strip()).casefold()
