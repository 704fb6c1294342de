"""Widths of point spread functions by the vectorial model, for those of the scalar one.

`python -m bench.psf`
"""

from __future__ import annotations

import sys
from dataclasses import replace

from cellmill.restoration import Microscope, describe_psf, make_psf

#: Numerical aperture and refractive index of the immersion medium.
OBJECTIVES = ((0.3, 1.0), (0.6, 1.0), (0.8, 1.0), (1.0, 1.515), (1.2, 1.33), (1.4, 1.515))
SPACING, SHAPE = (0.2, 0.025, 0.025), (129, 65, 65)


def main() -> int:
    """Print a row for each objective: across and along z."""
    print("| NA | immersion | across | along z |\n|---|---|---|---|")
    for aperture, index in OBJECTIVES:
        scalar = Microscope(aperture, 520, immersion_index=index)
        vectorial = replace(scalar, model="vectorial")
        (deep, wide), (other_deep, other_wide) = widths(scalar), widths(vectorial)
        print(f"| {aperture} | {index} | {other_wide / wide:.2f} | {other_deep / deep:.2f} |")
    return 0


def widths(microscope: Microscope) -> tuple[float, float]:
    """Full widths at half maximum along z and x, µm."""
    found = describe_psf(make_psf(microscope, SPACING, SHAPE), SPACING).fwhm_um
    return found[0], found[-1]


if __name__ == "__main__":
    sys.exit(main())
