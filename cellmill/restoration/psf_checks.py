"""Whether a point spread function is what deconvolution needs: centred, whole, finely sampled."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cellmill.errors import BadInput
from cellmill.restoration.light import bright_centre, checked_psf
from cellmill.restoration.psf import PsfFacts

#: Voxels that the point may lie beside the middle.
_OFF_CENTRE = 0.5
#: Of the peak, that light at the array's rim may be.
_AT_RIM = 0.05
#: Voxels in a full width at half maximum, at least, for the width to be known by the samples.
_SAMPLES = 2.0
#: Of a voxel's size, that the image's voxels may differ from the function's.
_SIZE_TOLERANCE = 0.02


def psf_warnings(facts: PsfFacts, spacing: Sequence[float]) -> tuple[str, ...]:
    """Say what may be wrong with a point spread function, a line each.

    Args:
        facts: what `describe_psf` read off it.
        spacing: µm per voxel, an axis each.
    """
    found = []
    axes = "zyx"[-len(spacing) :]
    off = [abs(offset) > _OFF_CENTRE for offset in facts.centre_offset_px]
    if any(off):
        offsets = ", ".join(f"{offset:.1f}" for offset in facts.centre_offset_px)
        found.append(f"the point lies beside the middle by {offsets} voxels: all will be shifted")
    if facts.at_rim > _AT_RIM:
        found.append(
            f"at the rim there is still {facts.at_rim:.0%} of the peak: the function is cut off, "
            "or lies on a background"
        )
    for axis, width, size in zip(axes, facts.fwhm_um, spacing, strict=True):
        if math.isnan(width):
            found.append(f"along {axis} it does not fall to half of its peak: it is cut off")
        elif width < _SAMPLES * size:
            found.append(
                f"along {axis} it is {width:.3g} µm wide at voxels of {size:.3g} µm: fewer than "
                f"{_SAMPLES:g} samples, so detail is lost before deconvolution"
            )
    return tuple(found)


def centred_psf(psf: np.ndarray) -> np.ndarray:
    """Cut a point spread function so that its point is the voxel in the middle.

    The point is the centre of mass of what is above half the peak, to the next voxel.

    Args:
        psf: `(Y, X)` or `(Z, Y, X)`, not negative.

    Returns:
        float32, odd sides, sum 1; as large as it can be around its point.
    """
    values = checked_psf(psf, np.ndim(psf))
    centre = np.rint(bright_centre(values)).astype(int)
    radii = [min(c, n - 1 - c) for c, n in zip(centre, values.shape, strict=True)]
    cut = values[tuple(slice(c - r, c + r + 1) for c, r in zip(centre, radii, strict=True))]
    return (cut / cut.sum(dtype=np.float64)).astype(np.float32)


def check_voxel_size(what: str, image: Sequence[float], psf: Sequence[float]) -> None:
    """Refuse a point spread function that was made for other voxels.

    Args:
        what: the image's name in the message.
        image: µm per voxel of the image, an axis each.
        psf: of the function; of a volume's function for an image the last two count.

    Raises:
        BadInput: a size differs by more than 2 %.
    """
    sizes = psf[-len(image) :]
    if len(sizes) != len(image) or any(
        abs(a - b) > _SIZE_TOLERANCE * max(a, b) for a, b in zip(image, sizes, strict=True)
    ):
        raise BadInput(
            f"PSF for {what}",
            expected=f"one for its voxels of {_size(image)}",
            found=f"one for voxels of {_size(psf)}",
        )


def _size(sizes: Sequence[float]) -> str:
    return " × ".join(f"{size:.4g}" for size in sizes) + " µm"
