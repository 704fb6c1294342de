"""Point spread functions from a microscope's description, by the model of Gibson and Lanni.

S. F. Gibson and F. Lanni, J. Opt. Soc. Am. A 9 (1992) 154: a scalar model (`vectorial` for one that
knows of polarisation), whose pupil function
holds what a sample, a cover slip and an immersion medium other than the design's do to the phase.
The intensity at a radius r and a focus z is |∫ J₀(k NA r ρ) exp(i k W(ρ, z)) ρ dρ|²; the integral
is a sum over Gauss-Legendre nodes, so that all radii and planes are one matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse, special

from cellmill.errors import BadInput
from cellmill.restoration.light import bright_centre, checked_psf
from cellmill.restoration.microscope import Microscope
from cellmill.restoration.vectorial import pupil_terms

#: Radii at which the intensity is computed, a pixel; between them it is interpolated.
_RADII_A_PIXEL = 24
#: Points in a pixel along an axis over which a camera's pixel is integrated.
_POINTS_A_PIXEL = 5
#: Nodes of a part of the pupil, over which phase and Bessel function turn a few times.
_NODES = 32
#: Where no shape is asked for: the longest side, and the part of the peak that is too little.
_LONGEST, _FAINT = 129, 1e-3


@dataclass(frozen=True)
class PsfFacts:
    """What can be read off a point spread function.

    Attributes:
        fwhm_um: full width at half maximum through the peak, µm, an axis each; NaN where half of
            the peak is not reached within the array.
        centre_offset_px: how far the centre of mass of what is above half the peak lies from the
            array's middle, pixels, an axis each.
        total: sum of all values.
        at_rim: the largest value on the array's faces, as a part of the peak: much of it says that
            the array cuts the function off.
    """

    fwhm_um: tuple[float, ...]
    centre_offset_px: tuple[float, ...]
    total: float
    at_rim: float


def make_psf(
    microscope: Microscope, spacing: Sequence[float], shape: Sequence[int] | None = None
) -> np.ndarray:
    """Compute the image of a point, as the microscope makes it.

    For a camera (`widefield`, `light_sheet`) the light is integrated over each pixel; a scanned
    image (`confocal`) is sampled at points. The middle of the array is where the point is at its
    brightest: what is out of place by a mismatch of refractive indices is focus, not position.

    Args:
        microscope: what the function follows from.
        spacing: µm per voxel `(z, y, x)`, or per pixel `(y, x)` for the plane in focus.
        shape: odd numbers, as many as `spacing` has; None is the smallest beyond which nothing is
            brighter than 0.1 % of the peak, at most 129 along each axis.

    Returns:
        float32 of that shape, sum 1.

    Raises:
        BadInput: a spacing or a shape is impossible.

    Example:
        >>> oil = Microscope(numerical_aperture=1.3, emission_nm=520)
        >>> psf = make_psf(oil, spacing=(0.2, 0.1, 0.1), shape=(31, 31, 31))
        >>> tuple(round(width, 2) for width in describe_psf(psf, (0.2, 0.1, 0.1)).fwhm_um)
        (0.64, 0.22, 0.22)
    """
    step = _checked_spacing(spacing)
    if shape is None:
        return _cut_to_support(microscope, step)
    size = tuple(int(side) for side in shape)
    if len(size) != len(step) or any(side < 1 or side % 2 == 0 for side in size):
        raise BadInput(
            "shape of a PSF", expected=f"{len(step)} odd numbers above 0", found=f"{tuple(shape)}"
        )
    planes, dz = (size[0], step[0]) if len(size) == 3 else (1, 1.0)
    z = (np.arange(planes) - planes // 2) * dz
    radii = _radii(size[-2:], step[-2:], microscope)
    seen = _intensity(microscope, radii, z, microscope.emission_nm)
    points = _POINTS_A_PIXEL
    if microscope.kind == "confocal":
        excitation = microscope.excitation_nm or microscope.emission_nm
        lit = _intensity(microscope, radii, z, excitation)
        seen, points = lit * _through_pinhole(microscope, radii, seen), 1
    elif microscope.kind == "light_sheet":
        seen = seen * np.exp(-4 * math.log(2) * (z / microscope.sheet_um) ** 2)
    volume = (_onto_pixels(size[-2:], step[-2:], radii, points) @ seen).T.reshape(
        planes, *size[-2:]
    )
    psf: np.ndarray = (volume / volume.sum()).astype(np.float32).reshape(size)
    return psf


def describe_psf(psf: np.ndarray, spacing: Sequence[float]) -> PsfFacts:
    """Read widths, centre and support off a point spread function.

    Args:
        psf: `(Z, Y, X)` or `(Y, X)`, not negative.
        spacing: µm per voxel, an axis each.

    Raises:
        BadInput: it has no light, or other axes than the spacing.
    """
    step = _checked_spacing(spacing)
    values = checked_psf(psf, len(step)).astype(np.float64)
    peak = np.unravel_index(int(values.argmax()), values.shape)
    widths, rims = [], []
    for axis, each in enumerate(step):
        line = values[tuple(slice(None) if a == axis else peak[a] for a in range(values.ndim))]
        widths.append(_width(line, int(peak[axis])) * each)
        if values.shape[axis] > 1:
            rims.append(float(values.take([0, -1], axis).max()))
    offsets = bright_centre(values) - (np.array(values.shape) - 1) / 2
    return PsfFacts(
        fwhm_um=tuple(widths),
        centre_offset_px=tuple(float(offset) for offset in offsets),
        total=float(values.sum()),
        at_rim=max(rims, default=0.0) / float(values.max()),
    )


def _checked_spacing(spacing: Sequence[float]) -> tuple[float, ...]:
    step = tuple(float(each) for each in spacing)
    if len(step) not in (2, 3) or not all(0 < each < math.inf for each in step):
        raise BadInput("spacing", expected="2 or 3 sizes in µm above 0", found=f"{step}")
    return step


def _cut_to_support(microscope: Microscope, step: tuple[float, ...]) -> np.ndarray:
    """What is left of a large array when faces of next to no light are cut off."""
    wide = make_psf(microscope, step, [_LONGEST] * len(step))
    kept = []
    for axis in range(wide.ndim):
        brightest = wide.max(axis=tuple(a for a in range(wide.ndim) if a != axis))
        lit = np.flatnonzero(brightest >= _FAINT * wide.max())
        radius = max(int(np.abs(lit - _LONGEST // 2).max()), 2)
        kept.append(slice(_LONGEST // 2 - radius, _LONGEST // 2 + radius + 1))
    held = wide[tuple(kept)]
    return held / held.sum()


def _radii(size: Sequence[int], step: Sequence[float], microscope: Microscope) -> np.ndarray:
    """Distances from the axis, µm, evenly spaced, beyond an array's corner."""
    corner = math.hypot(*((side // 2 + 1) * each for side, each in zip(size, step, strict=True)))
    if microscope.kind == "confocal":
        corner += _pinhole_um(microscope)
    fine = min(step) / _RADII_A_PIXEL
    return np.arange(math.ceil(corner / fine) + 2) * fine


def _intensity(
    microscope: Microscope, radii: np.ndarray, z: np.ndarray, wavelength_nm: float
) -> np.ndarray:
    """`(radii, planes)`: intensity around the plane in which the axis is at its brightest."""
    number = 2 * math.pi / (wavelength_nm / 1000)
    aperture, limit = microscope.numerical_aperture, microscope.pupil_radius
    # The phase's and the Bessel function's turns across the pupil say how many nodes it takes.
    steep = microscope.immersion_index - math.sqrt(
        max(microscope.immersion_index**2 - (aperture * limit) ** 2, 0)
    )
    mismatch = microscope.depth_um + microscope.cover_slip_um / 50
    reach = np.abs(z).max() + mismatch if z.size else mismatch
    turns = number * (aperture * radii[-1] + 4 * steep * reach) / (2 * math.pi)
    nodes, weights = _nodes(min(4000, 64 + math.ceil(8 * turns)))
    rho = (nodes + 1) * limit / 2
    weighted = weights * rho

    # On the axis all but the first Bessel function are 0.
    first, *others = pupil_terms(microscope, rho)

    def along_axis(places: np.ndarray) -> np.ndarray:
        line = (weighted * first.amplitude) @ _pupil(microscope, rho, places, number)
        found: np.ndarray = np.abs(line) ** 2
        return found

    pupil = _pupil(microscope, rho, z + _focus(along_axis, reach), number)
    angles = number * aperture * np.outer(radii, rho)
    found = np.zeros((len(radii), len(z)))
    for term in (first, *others):
        field = (_bessel(term.order, angles) * (weighted * term.amplitude)) @ pupil
        found += term.weight * (field.real**2 + field.imag**2)
    return found


def _nodes(count: int) -> tuple[np.ndarray, np.ndarray]:
    """At least so many nodes from -1 to 1 and their weights, of Gauss and Legendre part by part.

    The roots of one polynomial of a high degree are the eigenvalues of a matrix of that side.
    """
    own, weights = np.polynomial.legendre.leggauss(_NODES)
    parts = -(-count // _NODES)
    starts = np.arange(parts)[:, None] * 2 - parts + 1
    return ((starts + own) / parts).ravel(), np.tile(weights / parts, parts)


def _bessel(order: int, angles: np.ndarray) -> np.ndarray:
    """Bessel functions of the first kind, of order 0, 1 or 2: J₂ = 2 J₁ / x - J₀."""
    if order < 2:
        found: np.ndarray = special.j1(angles) if order else special.j0(angles)
        return found
    small = np.maximum(angles, 1e-9)
    second: np.ndarray = 2 * special.j1(small) / small - special.j0(small)
    return second


def _pupil(microscope: Microscope, rho: np.ndarray, z: np.ndarray, number: float) -> np.ndarray:
    """`(rho, z)`: the pupil function's phase, as complex numbers of modulus 1."""
    m = microscope
    s2 = (m.numerical_aperture * rho) ** 2

    def path(index: float) -> np.ndarray:
        return np.sqrt(np.maximum(index**2 - s2, 0))

    design_immersion = m.design_immersion_index or m.immersion_index
    design_slip = m.design_cover_slip_index or m.cover_slip_index
    design_slip_um = m.design_cover_slip_um or m.cover_slip_um
    slip = m.cover_slip_um
    immersion_um = m.immersion_index * (
        design_slip_um / design_slip
        + m.working_distance_um / design_immersion
        - slip / m.cover_slip_index
        - m.depth_um / m.index_in_sample
    )
    still = (
        m.depth_um * path(m.index_in_sample)
        + immersion_um * path(m.immersion_index)
        - m.working_distance_um * path(design_immersion)
        + slip * path(m.cover_slip_index)
        - design_slip_um * path(design_slip)
    )
    way = still[:, None] - path(m.immersion_index)[:, None] * z[None, :]
    found: np.ndarray = np.exp(1j * number * way)
    return found


def _focus(along_axis: Callable[[np.ndarray], np.ndarray], reach: float) -> float:
    """Where the axis is at its brightest, µm, to a thousandth of a µm."""
    centre, half = 0.0, max(2 * reach, 2.0)
    while half > 5e-4:
        places = centre + np.linspace(-half, half, 401)
        centre = float(places[int(along_axis(places).argmax())])
        half /= 100
    return centre


def _onto_pixels(
    size: Sequence[int], step: Sequence[float], radii: np.ndarray, points: int
) -> sparse.csr_matrix:
    """`(pixels, radii)`: the weights by which values at radii give the mean over each pixel."""
    inside = (np.arange(points) - (points - 1) / 2) / points
    y, x = (
        ((np.arange(side) - side // 2)[:, None] + inside).ravel() * each
        for side, each in zip(size, step, strict=True)
    )
    distance = np.hypot(y[:, None], x[None, :]).ravel()
    rows = (np.arange(len(y)) // points)[:, None] * size[1] + np.arange(len(x)) // points
    return _interpolation(distance, radii, rows.ravel(), size[0] * size[1], 1 / points**2)


def _pinhole_um(microscope: Microscope) -> float:
    """Radius of the pinhole, seen in the sample, µm."""
    airy = 1.22 * microscope.emission_nm / 1000 / microscope.numerical_aperture
    return microscope.pinhole_airy * airy / 2


def _through_pinhole(microscope: Microscope, radii: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """`(radii, planes)`: the mean of what is seen over a disc around each radius.

    Of a circle of radius s around the axis, the part within a disc of radius R at a distance r is
    the arc whose cosine is (r² + s² - R²) / 2rs.
    """
    hole, fine = _pinhole_um(microscope), radii[1]
    if hole < 2 * fine:
        return seen
    r, s = radii[:, None], radii[None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = (r**2 + s**2 - hole**2) / (2 * r * s)
    # On the axis a circle is within the disc whole or not at all.
    cosine = np.where(r * s > 0, cosine, np.where(r + s <= hole, -1.0, 1.0))
    arc = 2 * np.arccos(np.clip(cosine, -1, 1))
    found: np.ndarray = (arc * radii) @ seen * fine / (math.pi * hole**2)
    return found


def _interpolation(
    distance: np.ndarray, radii: np.ndarray, rows: np.ndarray, count: int, weight: float
) -> sparse.csr_matrix:
    at = np.minimum(distance / radii[1], len(radii) - 1.001)
    left = at.astype(np.int64)
    right = at - left
    values = np.concatenate([(1 - right) * weight, right * weight])
    columns = np.concatenate([left, left + 1])
    return sparse.csr_matrix(
        (values, (np.concatenate([rows, rows]), columns)), shape=(count, len(radii))
    )


def _width(line: np.ndarray, peak: int) -> float:
    """Full width at half maximum around a peak, samples, linearly interpolated; NaN if open."""
    half, sides = line[peak] / 2, 0.0
    for way in (line[peak::-1], line[peak:]):
        below = np.flatnonzero(way < half)
        if not below.size:
            return math.nan
        k = int(below[0])
        sides += k - 1 + (way[k - 1] - half) / (way[k - 1] - way[k])
    return float(sides)
