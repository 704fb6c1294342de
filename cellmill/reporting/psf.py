"""Point spread functions as people look at them: cuts through the point, widths, warnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cellmill.reporting.page import render
from cellmill.reporting.pictures import encode_png, uri_of
from cellmill.reporting.text import number
from cellmill.restoration.psf import PsfFacts
from cellmill.version import __version__

#: Pixels that a picture's longer side has at least, and the greatest factor.
_SIDE, _MOST = 180, 12
#: What is darker than this part of the peak is black; brightness is logarithmic above.
_DARKEST = 1e-3


@dataclass(frozen=True)
class ShownPsf:
    """A point spread function and what is said of it.

    Attributes:
        name: of its entry.
        values: `(Z, Y, X)` or `(Y, X)` float32.
        voxel_um: µm per voxel, an axis each; None where unknown.
        mpp_source: where that came from.
        facts: what was read off it; None where the voxel size is unknown.
        warnings: a line each.
        about: where it came from: a microscope, beads or a file.
    """

    name: str
    values: np.ndarray
    voxel_um: tuple[float, ...] | None
    mpp_source: str
    facts: PsfFacts | None
    warnings: tuple[str, ...]
    about: Mapping[str, Any]

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            **self.about,
            "shape": [*self.values.shape],
            "voxel_um": [*self.voxel_um] if self.voxel_um else None,
            "facts": asdict(self.facts) if self.facts else None,
            "warnings": [*self.warnings],
        }


def psf_section(psf: ShownPsf) -> dict[str, Any]:
    """What a page shows of one: pictures, facts in words, warnings."""
    return {
        "name": psf.name,
        "pictures": _pictures(psf),
        "rows": _rows(psf),
        "warnings": [*psf.warnings],
    }


def render_psfs(psfs: Sequence[ShownPsf]) -> str:
    """Write a page on point spread functions.

    Returns:
        HTML that asks nothing of the network.
    """
    page = {"version": __version__, "psfs": [psf_section(each) for each in psfs]}
    return render("psf.html.jinja", page)


def _rows(psf: ShownPsf) -> list[tuple[str, str]]:
    axes = "zyx"[-psf.values.ndim :]
    rows = [("voxels", _by_axis(axes, psf.values.shape))]
    if psf.voxel_um:
        rows.append(("voxel size, µm", _by_axis(axes, psf.voxel_um)))
    if psf.facts:
        rows += [
            ("full width at half maximum, µm", _by_axis(axes, psf.facts.fwhm_um)),
            ("point beside the middle, voxels", _by_axis(axes, psf.facts.centre_offset_px)),
            ("sum", number(psf.facts.total, 6)),
            ("brightest at the rim, of the peak", f"{psf.facts.at_rim:.2%}"),
        ]
    microscope = psf.about.get("microscope")
    if microscope:
        rows.append(
            (
                "microscope",
                f"{str(microscope['kind']).replace('_', ' ')}, "
                f"{microscope.get('model', 'scalar')} model, NA "
                f"{microscope['numerical_aperture']:g}, {microscope['emission_nm']:g} nm, "
                f"immersion {microscope['immersion_index']:g}, sample "
                f"{microscope['sample_index'] or microscope['immersion_index']:g}, "
                f"{microscope['depth_um']:g} µm deep",
            )
        )
    if "beads_used" in psf.about:
        found = f"{psf.about['beads_used']} of {len(psf.about['beads'])} found"
        rows.append(("beads in the mean", found))
    if "file" in psf.about:
        rows.append(("file", str(psf.about["file"])))
    return rows


def _by_axis(axes: str, values: Sequence[float]) -> str:
    return ", ".join(
        f"{axis} {number(value) if np.isfinite(value) else 'unknown'}"
        for axis, value in zip(axes, values, strict=True)
    )


def _pictures(psf: ShownPsf) -> list[dict[str, str]]:
    """Cuts through the brightest voxel, of voxels as large as they are."""
    values = psf.values
    peak = np.unravel_index(int(values.argmax()), values.shape)
    sizes = psf.voxel_um or (1.0,) * values.ndim
    if values.ndim == 2:
        return [_picture(values, sizes, "x across, y down")]
    z, y, x = (int(p) for p in peak)
    return [
        _picture(values[z], (sizes[1], sizes[2]), "plane in focus: x across, y down"),
        _picture(values[:, y], (sizes[0], sizes[2]), "side view: x across, z down"),
        _picture(values[:, :, x], (sizes[0], sizes[1]), "side view: y across, z down"),
    ]


def _picture(plane: np.ndarray, sizes: Sequence[float], caption: str) -> dict[str, str]:
    bright = np.log10(np.maximum(plane / plane.max(), _DARKEST)) / -np.log10(_DARKEST) + 1
    grey = np.rint(255 * bright).astype(np.uint8)
    return {"uri": uri_of(encode_png(in_proportion(grey, sizes)), "png"), "caption": caption}


def in_proportion(plane: np.ndarray, sizes: Sequence[float], side: int = _SIDE) -> np.ndarray:
    """Repeat pixels so that lengths are the same along both axes, and a picture is large enough.

    Args:
        plane: `(Y, X)`, or `(Y, X, 3)`.
        sizes: µm per pixel (y, x).
        side: pixels of the longer side, at least, by whole factors up to 12.
    """
    lengths = [n * size for n, size in zip(plane.shape[:2], sizes, strict=True)]
    fine = min(sizes)
    factor = min(_MOST, max(1, -(-side * fine // max(lengths))))
    rows, columns = (
        (np.arange(round(length / fine * factor)) * n // max(round(length / fine * factor), 1))
        for length, n in zip(lengths, plane.shape[:2], strict=True)
    )
    found: np.ndarray = plane[rows.astype(int)][:, columns.astype(int)]
    return found
