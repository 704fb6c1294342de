"""Labels and their numbers are pyclesperanto's own, by the rule that is named after it.

pyclesperanto 0.25.1 runs in a process of its own, on a CPU's OpenCL device (Debian:
`apt-get install pocl-opencl-icd`). CELLMILL_CLESPERANTO_PYTHON names an interpreter that has it.
"""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cellmill.datasets.samples import mnfinder, sample_image
from cellmill.segmentation.voronoi_otsu.in_memory import segment_image
from cellmill.segmentation.voronoi_otsu.parameters import VoronoiOtsuParameters
from tests.segmentation.maps import SHAPES_2D, SHAPES_3D, balls, quantised, smooth_noise, spiral


def cases():
    """Give (name, image, spot_sigma, outline_sigma): real images, noise, volumes, ties."""
    sample = tifffile.imread(sample_image()[0]).astype(np.float32)
    for sigmas in ((2, 2), (5, 1), (3, 0)):
        yield f"sample {sigmas}", sample, *sigmas
    for image in mnfinder("validation"):
        yield image.image.stem, tifffile.imread(image.image).astype(np.float32), 6, 2
    for seed, shape in enumerate((*SHAPES_2D, *SHAPES_3D)):
        yield f"noise {shape}", smooth_noise(seed, shape, 1.5), 1.2, 0.8
    labels = balls(3, (40, 90, 90), 40, 8)
    noise = np.random.default_rng(1).normal(0, 10, labels.shape)
    yield "balls", (np.where(labels > 0, 100, 10) + noise).astype(np.float32), 3, 1
    yield "spiral", spiral(60), 0, 0
    yield "12 values", quantised(smooth_noise(5, (90, 80), 3), 12), 1, 1


@pytest.fixture(scope="module")
def clesperanto_python() -> Path:
    """Give the interpreter that has pyclesperanto; skips, saying so, where none is named."""
    named = os.environ.get("CELLMILL_CLESPERANTO_PYTHON", "")
    if not named:
        pytest.skip("NOT compared with pyclesperanto: CELLMILL_CLESPERANTO_PYTHON names none")
    return Path(named)


def test_labels_and_numbers_are_the_reference_s(clesperanto_python, tmp_path):
    known = list(cases())
    for number, (_, image, spot, outline) in enumerate(known):
        path = tmp_path / f"{number:03d}.npz"
        np.savez(path, image=image, spot_sigma=spot, outline_sigma=outline)
    script = Path(__file__).with_name("run_clesperanto.py")
    own = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run([clesperanto_python, script, tmp_path], check=True, env=own, cwd=tmp_path)
    different, objects = [], []
    for number, (name, image, spot, outline) in enumerate(known):
        expected = np.load(tmp_path / f"{number:03d}.labels.npy")
        parameters = VoronoiOtsuParameters(spot, outline, rule="clesperanto")
        found = segment_image(image, parameters, numbering="reference")
        if not np.array_equal(found, expected):
            different.append(f"{name}: {(found != expected).sum()} pixels")
        objects.append(int(expected.max()))
    assert not different, "\n".join(different)
    assert sum(count > 10 for count in objects) >= 12, objects
