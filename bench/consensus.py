"""Gradient consensus on simulated spheres: the error after so many iterations, with and without.

`python -m bench.consensus [--seed 1]`
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence

import numpy as np

from cellmill.datasets.phantoms import spheres
from cellmill.restoration import Camera, Microscope, blur, deconvolve, expose, make_psf

PHOTONS = (30, 300, 1000)
COUNTS = (10, 20, 50, 100, 300)
SPACING = (0.4, 0.2, 0.2)


def main(argv: Sequence[str] | None = None) -> int:
    """Print a row for each number of photons and each way."""
    parser = argparse.ArgumentParser(prog="python -m bench.consensus", description=main.__doc__)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(argv)
    counts = " | ".join(map(str, COUNTS))
    print(f"| photons | accelerated | {counts} | with consensus | ended after |")
    print("|---" * (len(COUNTS) + 4) + "|")
    for photons in PHOTONS:
        for accelerate in (False, True):
            print(row(photons, accelerate, given.seed))
    return 0


def row(photons: int, accelerate: bool, seed: int) -> str:
    """One line of the table: errors as a part of the objects' root mean square."""
    psf = make_psf(Microscope(0.8, 520, immersion_index=1.33), SPACING, (9, 9, 9))
    objects, _ = spheres((12, 36, 36), SPACING, count=4, radius_um=(0.7, 1.5), seed=seed)
    blurred = blur(objects.astype(np.float32), psf)
    seen = expose(blurred, Camera(photons=photons, background_photons=5), seed=seed)
    true = objects * (photons / blurred.max())
    whole = math.sqrt(np.mean(true**2))

    def run(iterations: int, consensus: bool) -> tuple[str, int]:
        found = deconvolve(
            seen,
            psf,
            iterations=iterations,
            accelerate=accelerate,
            consensus=consensus,
            background=5,
        )
        error = math.sqrt(np.mean((found.image - true) ** 2)) / whole
        return f"{error:.3f}", len(found.curve)

    plain = " | ".join(run(count, False)[0] for count in COUNTS)
    error, ended = run(max(COUNTS), True)
    return f"| {photons} | {'yes' if accelerate else 'no'} | {plain} | {error} | {ended} |"


if __name__ == "__main__":
    sys.exit(main())
