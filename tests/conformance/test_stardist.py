"""StarDist's post-processing and networks against StarDist's own package, run in its environment.

`make conformance` runs this. StarDist sorts candidates by an unstable sort: it is given ours, by
falling probability and raster. No threshold is 0: then rounding alone decides what touches.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cellmill.arrays.windows import Box
from cellmill.datasets.samples import mnfinder, sample_image
from cellmill.inference.engines import load_network
from cellmill.inference.predictor import Predictor
from cellmill.labels.numbering import canonical_labels
from cellmill.models.card import ModelCard
from cellmill.segmentation.interface import Maps
from cellmill.segmentation.methods import check_card
from cellmill.segmentation.stardist.candidates import Candidates, find_candidates
from cellmill.segmentation.stardist.in_memory import draw_whole, segment_maps
from cellmill.segmentation.stardist.parameters import StarDistParameters
from cellmill.segmentation.stardist.polygons import overlaps, polygons_of
from cellmill.segmentation.stardist.suppression import KEPT, suppress
from tests.segmentation.maps import balls

pytestmark = pytest.mark.stardist

SCRIPT = Path(__file__).with_name("run_stardist.py")
#: How far StarDist's overlaps are from ours, whose areas are exact: its clipping library rounds the
#: points in which edges cross to whole pixels. A part of the smaller area, and square pixels.
ROUNDED, ROUNDED_PX = 0.02, 2


def reference(python, what, folder):
    subprocess.run(
        [str(python), str(SCRIPT), what, str(folder)],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
        check=True,
        capture_output=True,
    )


def label_images():
    """Give real nuclei and synthetic ones, dense and small."""
    yield tifffile.imread(sample_image()[1])
    for sample in mnfinder("training")[:12]:
        yield tifffile.imread(sample.nuclei)
    yield balls(1, (200, 260), 300, 9)
    yield balls(2, (150, 170), 500, 4)


@pytest.fixture(scope="module")
def cases(stardist_python, tmp_path_factory):
    """Maps, and what StarDist made of them."""
    folder = tmp_path_factory.mktemp("maps")
    choices = [(32, 2, 0.5, 0.4), (32, 1, 0.6, 0.3), (16, 4, 0.3, 0.5), (64, 2, 0.4, 0.2)]
    for seed, labels in enumerate(label_images()):
        rays, grid, prob, nms = choices[seed % 4]
        path = folder / f"{seed:02}.npz"
        values = {"rays": rays, "grid": grid, "prob": prob, "nms": nms, "seed": seed}
        np.savez(path, labels=labels.astype(np.int32), **values)
    reference(stardist_python, "maps", folder)
    found = []
    for path in sorted(folder.glob("*.found.npz")):
        given = np.load(path.with_name(path.name.replace(".found", "")))
        found.append((given, np.load(path)))
    return found


def maps_of(given, found):
    shape = given["labels"].shape
    names = {"probability": "probability", "distances": "distances"}
    arrays = {name: found[name] for name in names}
    return Maps(arrays, names, shape, strides=dict.fromkeys(names, int(given["grid"])))


def parameters_of(given):
    return StarDistParameters(float(given["prob"]), float(given["nms"]))


def test_candidates_are_stardist_s(cases):
    for given, found in cases:
        box = Box(0, given["labels"].shape[0], 0, given["labels"].shape[1])
        candidates = find_candidates(maps_of(given, found), parameters_of(given), [box])
        places = np.stack([candidates.y, candidates.x], axis=1)
        np.testing.assert_array_equal(places, found["points"])
        assert len(candidates) > 100


def test_what_stardist_keeps_is_kept_but_where_its_rounding_decides(cases):
    candidates_in_all, kept_otherwise = 0, 0
    for given, found in cases:
        box = Box(0, given["labels"].shape[0], 0, given["labels"].shape[1])
        every = find_candidates(maps_of(given, found), parameters_of(given), [box])
        kept = suppress(every, float(given["nms"])) == KEPT
        differing = np.flatnonzero(kept != found["kept"])
        candidates_in_all += len(every)
        kept_otherwise += len(differing)
        if len(differing):
            # The first that differs had an overlap as near the threshold as rounding reaches.
            first = differing[0]
            shapes, edges = polygons_of(every), np.empty((2, every.rays.shape[1], 5))
            arrays = (*vars(shapes).values(), every.y, every.x)
            nms = float(given["nms"])
            decided = False
            for i in np.flatnonzero(kept[:first]):
                area = min(shapes.areas[i], shapes.areas[first]) / 2
                by = ROUNDED + ROUNDED_PX / area if area else 0
                low, high = (
                    overlaps(i, first, arrays, np.float32(limit), edges)
                    for limit in (nms - by, nms + by)
                )
                decided |= low != high
            assert decided, (first, nms)
    assert candidates_in_all > 20_000
    assert kept_otherwise < candidates_in_all / 1000


def test_labels_are_drawn_as_stardist_draws_them(cases):
    for given, found in cases:
        box = Box(0, given["labels"].shape[0], 0, given["labels"].shape[1])
        every = find_candidates(maps_of(given, found), parameters_of(given), [box])
        labels = np.zeros(given["labels"].shape, np.int32)
        draw_whole(every[found["kept"]], labels)
        np.testing.assert_array_equal(labels, found["labels"])
        if np.array_equal(suppress(every, float(given["nms"])) == KEPT, found["kept"]):
            own = segment_maps(maps_of(given, found), parameters_of(given))
            np.testing.assert_array_equal(own, canonical_labels(found["labels"]))


def test_overlaps_are_stardist_s_up_to_its_rounding(stardist_python, tmp_path):
    rng = np.random.default_rng(4)
    lengths = rng.uniform(6, 14, (150, 2, 1)) * rng.uniform(0.8, 1.2, (150, 2, 32))
    points = 300 + rng.integers(-6, 7, (150, 2, 2))
    np.savez(tmp_path / "pairs.npz", rays=lengths.astype(np.float32), points=points)
    reference(stardist_python, "overlap", tmp_path)
    edges = np.empty((2, 32, 5))
    for rays, places, part in zip(lengths, points, np.load(tmp_path / "overlaps.npy"), strict=True):
        pair = Candidates(places[:, 0], places[:, 1], np.ones(2, np.float32), rays.astype("f4"))
        arrays = (*vars(polygons_of(pair)).values(), pair.y, pair.x)
        assert overlaps(0, 1, arrays, np.float32(part - ROUNDED), edges)
        assert not overlaps(0, 1, arrays, np.float32(part + ROUNDED), edges)


def imported(python, kind, folder):
    """Have StarDist write a network, and bring it in."""
    source, out = folder / "mine", folder / "model"
    source.mkdir()
    reference(python, kind, source)
    command = ["-m", "cellmill", "import_model", "--source", str(source), "--mpp", "0.5"]
    subprocess.run(
        [str(python), *command, "--model", str(out), "--record", f"{out}.json"],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
        check=True,
        capture_output=True,
    )
    return source, out


def test_a_network_comes_in_and_gives_what_stardist_gives(stardist_python, tmp_path):
    source, out = imported(stardist_python, "network", tmp_path)
    card = ModelCard.load(out)
    check_card(card)
    assert card.imported.largest_difference <= 1e-5
    assert (card.name, card.input.mpp, card.alignment) == ("mine", 0.5, 2)
    assert card.postprocessing["nuclear"]["method"] == "stardist"
    with np.load(source / "predicted.npz") as predicted:
        network = load_network(out, card, engine="tensorflow", device="cpu")
        probability, distances = network(predicted["image"][None, ..., None])
        np.testing.assert_allclose(probability[0, ..., 0], predicted["probability"], atol=1e-6)
        wanted = predicted["distances"]
        np.testing.assert_allclose(np.maximum(distances[0], 1e-3), wanted, atol=1e-5)


def test_a_network_of_volumes_gives_by_blocks_what_stardist_gives(stardist_python, tmp_path):
    source, out = imported(stardist_python, "volumes", tmp_path)
    card = ModelCard.load(out)
    check_card(card)
    assert card.imported.largest_difference <= 1e-5
    assert card.input.sees_volumes
    assert card.heads[1].strides(3) == (1, 2, 2)
    assert card.postprocessing["nuclear"]["anisotropy_z"] == 2
    with np.load(source / "predicted.npz") as predicted:
        volume = predicted["image"][..., None]
        predictor = Predictor(out, card, card.heads, device="cpu")
        assert predictor.block_count(volume.shape[:3]) > 3
        outputs = [np.full(head.shape_over(volume.shape[:3]), np.nan, "f4") for head in card.heads]
        predictor.predict_volume(volume, outputs)
        np.testing.assert_allclose(outputs[0][..., 0], predicted["probability"], atol=1e-5)
        wanted = predicted["distances"]
        np.testing.assert_allclose(np.maximum(outputs[1], 1e-3), wanted, atol=1e-4)
