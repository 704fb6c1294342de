"""Deconvolve by torch on processors and by kernels, in an environment that has both; print errors.

`python devices_program.py`: a JSON object, by case the largest difference as a part of the largest
value, and that of the curves; and how much memory torch took, for what was estimated.
"""

import itertools
import json
import sys

import numpy as np

from cellmill.compute.memory import peak_rss
from cellmill.errors import BadInput
from cellmill.restoration import deconvolve, torch_device
from cellmill.restoration.deconvolution import device_bytes_for

PSF = np.exp(-(np.add.outer(np.arange(-2, 3) ** 2, np.arange(-4, 5) ** 2)) / 6.0)
PSF = PSF[:, :, None] * np.exp(-((np.arange(-3, 4) - 0.5) ** 2) / 4)


def field():
    """A volume with background, a bright block, and voxels that are saturated."""
    image = np.random.default_rng(1).poisson(40, (12, 40, 37)).astype(np.float32)
    image[4:8, 10:20, 20:30] += 300
    image[5, 12, 22:24] = 5000
    image[9, 30:34, 5:9] = 0
    return image


def main() -> None:
    """Compare all ways that can be combined, whole and cut into slabs."""
    found = {}
    ways = itertools.product(("valid", "circulant", "same"), (0.0, 2e-3), (False, True), (0, 1))
    cases = [(field(), PSF, *way) for way in ways]
    cases += [(field()[5], PSF[2] / PSF[2].sum(), "valid", 2e-3, True, 1)]
    for image, psf, edges, variation, accelerate, consensus in cases:
        torch_device._AT_ONCE = 1 << 24 if accelerate else 3 * 41 * 50
        given = {"edges": edges, "total_variation": variation, "accelerate": accelerate}
        given |= {"consensus": bool(consensus), "iterations": 6, "background": 5.0}
        given |= {"spacing": (0.3, 0.15, 0.2)[-image.ndim :], "saturation": 4000}
        mine, its = (
            deconvolve(image, psf, device=d, residual=True, **given) for d in ("cpu", "torch")
        )
        name = f"{image.ndim} {edges} {variation:g} {accelerate}{' consensus' * consensus}"
        errors = [np.abs(mine.image - its.image).max() / mine.image.max()]
        errors += [np.abs(mine.residual - its.residual).max() / image.max()]
        for one, other in zip(mine.curve, its.curve, strict=True):
            errors.append(abs(one.divergence / other.divergence - 1))
            errors.append(abs(one.change / other.change - 1))
        found[name] = float(max(errors))
    try:
        deconvolve(field(), PSF, device="cuda")
        no_gpu = ""
    except BadInput as bad:
        no_gpu = str(bad)
    auto = deconvolve(field(), PSF, device="auto", iterations=2).image
    same = np.array_equal(auto, deconvolve(field(), PSF, iterations=2).image)
    image = np.random.default_rng(0).poisson(40, (64, 160, 160)).astype(np.float32)
    before = peak_rss()
    torch_device._AT_ONCE = 1 << 20
    deconvolve(image, PSF, device="torch", iterations=3, total_variation=1e-3)
    taken = peak_rss() - before
    memory = {"taken": taken, "estimated": device_bytes_for(image.shape, PSF.shape)}
    json.dump({"errors": found, "no_gpu": no_gpu, "auto": same, "memory": memory}, sys.stdout)


if __name__ == "__main__":
    main()
