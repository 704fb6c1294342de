"""Labels and ids are deepcell_toolbox's own, on every kind of map, whatever the parameters.

deepcell_toolbox 0.12.1 runs in a process of its own, on files. Each map meets the reference's
defaults, Mesmer's and CELLMILL_WATERSHED_DRAWS (1) drawn sets of parameters;
CELLMILL_WATERSHED_SEED (0) draws others.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cellmill.datasets.samples import mnfinder, sample_image
from cellmill.labels.numbering import canonical_labels
from cellmill.segmentation.deep_watershed import deep_watershed
from tests.segmentation.maps import edge_distance, like_a_network, made_maps

pytestmark = pytest.mark.deepcell

MESMER = {"maxima_threshold": 0.075, "interior_threshold": 0.2, "interior_smooth": 2, "radius": 2}
MESMER |= {"small_objects_threshold": 15, "fill_holes_threshold": 15}
CHOICES = {
    "radius": (1, 2, 3, 5, 10),
    "maxima_threshold": (0.01, 0.05, 0.1, 0.3, 0.7),
    "interior_threshold": (0.0, 0.01, 0.2, 0.5, 0.7, -2.0),
    "maxima_smooth": (0, 0, 0.5, 1, 2),
    "interior_smooth": (0, 0, 1, 2, 3.3),
    "label_erosion": (0, 0, 0, 1, 2),
    "small_objects_threshold": (0, 1, 15, 40, 1000),
    "fill_holes_threshold": (0, 2, 15, 50),
    "pixel_expansion": (None, None, 0, 1, 3),
    "maxima_algorithm": ("h_maxima", "h_maxima", "peak_local_max"),
    "exclude_border": (False, False, True, 1, 4),
}


def drawn_parameters(seed):
    rng = np.random.default_rng(seed)
    chosen = {name: values[rng.integers(len(values))] for name, values in CHOICES.items()}
    if chosen["maxima_algorithm"] == "peak_local_max":
        chosen["maxima_threshold"] -= 0.1
    return chosen


def real_maps():
    window = np.s_[:250, :300]
    labels = tifffile.imread(sample_image()[1]).astype(np.int32)
    yield "stardist, network-like", *like_a_network(1, labels)
    yield "stardist, edge distance", edge_distance(labels)[window], edge_distance(labels)[window]
    for i, sample in enumerate(mnfinder("training")[::12]):
        labels = tifffile.imread(sample.nuclei)[window]
        yield f"{sample.nuclei.stem}, network-like", *like_a_network(i, labels)
        yield f"{sample.nuclei.stem}, edge distance", edge_distance(labels), edge_distance(labels)


def cases():
    """Give (name, maxima, interior, parameters) of every comparison."""
    seed = int(os.environ.get("CELLMILL_WATERSHED_SEED", "0"))
    draws = int(os.environ.get("CELLMILL_WATERSHED_DRAWS", "1"))
    for i, (name, maxima, interior) in enumerate([*made_maps(), *real_maps()]):
        for parameters in ({}, MESMER, *(drawn_parameters([seed, i, k]) for k in range(draws))):
            if min(maxima.shape) == 1:
                # The reference's hole filling crashes on an image one pixel wide.
                parameters = {**parameters, "fill_holes_threshold": 0}
            yield name, maxima, interior, parameters


@pytest.fixture(scope="module")
def compared(deepcell_python, tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    known = list(cases())
    for number, (_, maxima, interior, parameters) in enumerate(known):
        np.savez(
            folder / f"{number:05d}.npz",
            maxima=maxima,
            interior=interior,
            parameters=json.dumps(parameters),
        )
    script = Path(__file__).with_name("run_reference.py")
    subprocess.run(
        [deepcell_python, script, folder],
        check=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
    )
    return [(*case, np.load(folder / f"{n:05d}.labels.npy")) for n, case in enumerate(known)]


def test_labels_and_ids_are_the_reference_s(compared):
    different = []
    for name, maxima, interior, parameters, expected in compared:
        outputs = [image[np.newaxis, ..., np.newaxis] for image in (maxima, interior)]
        same_ids = deep_watershed(
            outputs, **parameters, numbering="reference", tie_rule="reference"
        )[0, ..., 0]
        if not np.array_equal(canonical_labels(same_ids), canonical_labels(expected)):
            different.append(f"labels: {name} {parameters}")
        elif not np.array_equal(same_ids, expected):
            different.append(f"ids: {name} {parameters}")
    assert not different, f"{len(different)} of {len(compared)}:\n" + "\n".join(different[:10])


def test_the_cases_tell_implementations_apart(compared):
    objects = [int(expected.max(initial=0)) for *_, expected in compared]
    assert sum(count > 1 for count in objects) > len(compared) / 2
    assert sum(count == 0 for count in objects) > 10
    volumes = [expected for *_, expected in compared if expected.ndim == 3]
    assert sum(volume.max() > 1 for volume in volumes) > 20
