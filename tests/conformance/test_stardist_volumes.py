"""StarDist's post-processing of volumes against StarDist's own, run in its environment.

StarDist sorts candidates by an unstable sort: it is given ours, by falling probability and raster.
Its threads add up the anisotropy of all candidates in any order: it is run with one.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from cellmill.labels.numbering import canonical_labels
from cellmill.segmentation.interface import Maps
from cellmill.segmentation.stardist.parameters import StarDistParameters
from cellmill.segmentation.stardist.polyhedra import polyhedra_of
from cellmill.segmentation.stardist.rays import golden_spiral
from cellmill.segmentation.stardist.suppression import KEPT
from cellmill.segmentation.stardist.volume_candidates import find_volume_candidates
from cellmill.segmentation.stardist.volume_drawing import draw_volume
from cellmill.segmentation.stardist.volume_suppression import suppress_volumes
from cellmill.segmentation.stardist.volumes import segment_volume
from tests.segmentation.maps import balls

pytestmark = pytest.mark.stardist

#: Shape, balls and their radius; rays, anisotropy, stride; thresholds of probability and overlap.
CASES = (
    ((26, 60, 64), 45, 8, 96, (1, 1, 1), 2, 0.5, 0.4),
    ((20, 50, 55), 60, 6, 64, (1, 1, 1), 1, 0.6, 0.3),
    ((18, 64, 60), 40, 8, 96, (2, 1, 1), 2, 0.4, 0.3),
    ((30, 40, 44), 30, 9, 32, (1.5, 1, 1), 2, 0.3, 0.5),
    ((24, 44, 48), 80, 5, 48, (1, 1, 1), 1, 0.5, 0.2),
    ((40, 70, 150), 60, 11, 96, (1, 1, 1), 4, 0.3, 0.3),
    ((22, 40, 44), 40, 7, 12, (1, 1, 1), 1, 0.6, 0.4),
    ((16, 60, 64), 30, 9, 70, (3, 1, 1), 2, 0.4, 0.45),
)
NOISES = (0.1, 0.25)


def squeezed(seed, shape, count, radius, anisotropy):
    """Balls in voxels of that anisotropy."""
    tall = (round(shape[0] * anisotropy[0]), *shape[1:])
    labels = balls(seed, tall, count, radius)
    rows = (np.arange(shape[0]) * anisotropy[0]).astype(int)
    return canonical_labels(labels[rows])


@pytest.fixture(scope="module")
def cases(stardist_python, tmp_path_factory):
    """Maps, and what StarDist made of them."""
    folder = tmp_path_factory.mktemp("volumes")
    for k in range(len(CASES) * len(NOISES)):
        shape, count, radius, rays, anisotropy, grid, prob, nms = CASES[k % len(CASES)]
        np.savez(
            folder / f"{k:02}.npz",
            labels=squeezed(k, shape, count, radius, anisotropy),
            rays=rays,
            anisotropy=np.array(anisotropy, float),
            grid=grid,
            seed=k,
            noise=NOISES[k // len(CASES)],
            prob=prob,
            nms=nms,
        )
    script = Path(__file__).with_name("run_stardist_volumes.py")
    variables = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "OMP_NUM_THREADS": "1"}
    command = [str(stardist_python), str(script), str(folder)]
    subprocess.run(command, env={**os.environ, **variables}, check=True, capture_output=True)
    return [
        (np.load(path.with_name(path.name.replace(".found", ""))), np.load(path))
        for path in sorted(folder.glob("*.found.npz"))
    ]


def maps_of(given, found):
    names = {"probability": "probability", "distances": "distances"}
    arrays = {name: found[name] for name in names}
    strides = dict.fromkeys(names, int(given["grid"]))
    return Maps(arrays, names, given["labels"].shape, strides=strides)


def parameters_of(given):
    return StarDistParameters(
        float(given["prob"]), float(given["nms"]), 2, *given["anisotropy"].tolist()
    )


def test_rays_and_their_faces_are_stardist_s(cases):
    for given, found in cases:
        rays = golden_spiral(int(given["rays"]), tuple(given["anisotropy"].tolist()))
        np.testing.assert_array_equal(rays.vertices, found["vertices"])
        np.testing.assert_array_equal(rays.faces, found["faces"])


def test_what_is_kept_and_drawn_is_stardist_s(cases, agreement):
    candidates = objects = otherwise = voxels = 0
    for given, found in cases:
        parameters = parameters_of(given)
        every = find_volume_candidates(maps_of(given, found), parameters)
        np.testing.assert_array_equal(every.points, found["points"])
        rays = golden_spiral(int(given["rays"]), parameters.anisotropy)
        polyhedra = polyhedra_of(every.points, every.rays, rays)
        kept = suppress_volumes(polyhedra, parameters.nms_threshold) == KEPT
        candidates += len(every)
        objects += int(kept.sum())
        otherwise += int((kept != found["kept"]).sum())
        left = every[found["kept"]]
        drawn = np.zeros(given["labels"].shape, np.int32)
        draw_volume(polyhedra_of(left.points, left.rays, rays), left.score, drawn)
        voxels += int((drawn != found["labels"]).sum())
        if (kept == found["kept"]).all():
            labels = segment_volume(maps_of(given, found), parameters)
            np.testing.assert_array_equal(labels, canonical_labels(drawn))
    agreement(
        f"StarDist, {len(cases)} volumes, {candidates} candidates, {objects} objects: "
        f"{otherwise} kept otherwise, {voxels} voxels drawn otherwise"
    )
    assert objects > 300
    assert otherwise == 0
    assert voxels == 0
