"""Light as a vector: what polarisation and stratified media do to a pupil.

B. Richards and E. Wolf, Proc. R. Soc. Lond. A 253 (1959) 358; through layers of other refractive
indices P. Török and P. Varga, Appl. Opt. 36 (1997) 2305; for fluorescence, whose molecules turn
freely, O. Haeberlé et al., Opt. Express 11 (2003) 2964. Averaged over all polarisations the
intensity is |I₀|² + 2 |I₁|² + |I₂|², where Iₙ is the integral over the pupil with the Bessel
function of order n and, for n = 0, 1, 2, with

    tₛ + tₚ cos θ,   tₚ sin θ,   tₛ - tₚ cos θ,

each divided by √cos θᵢ, which the sine condition asks for. θ is the angle in the sample, θᵢ in the
immersion medium; tₛ and tₚ are Fresnel's coefficients from there through the cover slip into the
sample. By reciprocity the same holds for light that a molecule sends out.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cellmill.restoration.microscope import Microscope


@dataclass(frozen=True)
class Term:
    """One integral over the pupil.

    Attributes:
        order: of its Bessel function.
        weight: of its square in the intensity.
        amplitude: `(rho,)` across the pupil.
    """

    order: int
    weight: float
    amplitude: np.ndarray


def pupil_terms(microscope: Microscope, rho: np.ndarray) -> tuple[Term, ...]:
    """The integrals whose squares are the intensity: one for light without direction, or three.

    Args:
        microscope: whose `model` says which.
        rho: radii in the pupil, as a part of the aperture.
    """
    if microscope.model == "scalar":
        return (Term(0, 1.0, np.ones_like(rho)),)
    s = microscope.numerical_aperture * rho
    indices = (
        microscope.immersion_index,
        microscope.cover_slip_index,
        microscope.index_in_sample,
    )
    across, along = transmission(s, indices)
    sine = s / microscope.index_in_sample
    cosine, before = _cosine(s, indices[2]), _cosine(s, indices[0])
    scale = 0.5 / np.sqrt(before)
    return (
        Term(0, 1.0, scale * (across + along * cosine)),
        Term(1, 2.0, scale * along * sine),
        Term(2, 1.0, scale * (across - along * cosine)),
    )


def transmission(s: np.ndarray, indices: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Fresnel's coefficients of amplitude through layers, reflections between them left out.

    Args:
        s: sine of the angle times the refractive index, the same in all layers.
        indices: refractive indices of the layers, as light passes them.

    Returns:
        For light polarised across the plane of incidence, and for light polarised in it.
    """
    across, along = np.ones_like(s), np.ones_like(s)
    for first, second in itertools.pairwise(indices):
        before, after = _cosine(s, first), _cosine(s, second)
        across = across * 2 * first * before / (first * before + second * after)
        along = along * 2 * first * before / (second * before + first * after)
    return across, along


def _cosine(s: np.ndarray, index: float) -> np.ndarray:
    """Of the angle in a medium."""
    found: np.ndarray = np.sqrt(np.maximum(1 - (s / index) ** 2, 1e-12))
    return found
