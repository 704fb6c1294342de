"""From image to masks: a network of Cellpose that was brought in, against cellpose's own `eval`.

The network is a narrow one that cellpose teaches on fields of real nuclei in an environment of its
own, from `images/cellpose3`; the images are others, of sizes below, at and above a tile's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import cellmill
from cellmill.datasets.samples import mnfinder, sample_image
from cellmill.labels.numbering import canonical_labels
from tests.conformance.agreement import object_f1
from tests.conformance.conformance_model import run
from tests.segmentation.maps import balls

pytestmark = pytest.mark.cellpose

DIAMETER = 17.0
#: Training images that are lessons, those behind them are segmented; every third pixel of them.
LESSONS, EVERY = 8, (slice(0, None, 3), slice(0, None, 3))
SIZES = ((97, 180), (224, 224), (230, 209), (256, 289), (150, 90), (512, 512))
#: Of balls: seed, shape, how many, radius.
VOLUME = (3, (14, 60, 52), 14, 7)


@pytest.fixture(scope="module")
def made(cellpose_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Have cellpose teach a network and segment images, and bring the network in."""
    folder = tmp_path_factory.mktemp("images")
    taught = mnfinder("training")
    lessons = taught[:LESSONS]
    np.savez(
        folder / "lessons.npz",
        images=[tifffile.imread(each.image)[EVERY] for each in lessons],
        labels=[canonical_labels(tifffile.imread(each.nuclei)[EVERY]) for each in lessons],
    )
    fields = [tifffile.imread(each.image)[EVERY] for each in taught[LESSONS:]]
    fields = [*fields[: len(SIZES) - 1], tifffile.imread(sample_image()[0])]
    sized = [field[:high, :wide] for field, (high, wide) in zip(fields, SIZES, strict=True)]
    truth = balls(*VOLUME)
    light = 100 + 900 * (truth > 0) + np.random.default_rng(0).normal(0, 30, truth.shape)
    np.savez(folder / "images.npz", *sized, volume=light.astype(np.uint16))
    run(cellpose_python, Path(__file__).with_name("run_cellpose_images.py"), folder)
    out = ("--model", folder / "model", "--record", folder / "record.json")
    told = ("--source", folder / "network", "--compartment", "nuclear")
    run(cellpose_python, "-m", "cellmill", "import_model", *told, *out)
    return folder


def masks(made: Path, volumes: bool, **how: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Segment the images, or the volume; beside each what cellpose found."""
    with np.load(made / "images.npz") as images, np.load(made / "masks.npz") as found:
        for name in (each for each in images if (each == "volume") is volumes):
            segmentation = cellmill.segment(
                images[name],
                model=str(made / "model"),
                diameter=DIAMETER,
                parameters={"rule": "reference"},
                **how,
            )
            yield segmentation.label_image, canonical_labels(found[name])


def test_masks_of_images_are_those_of_its_eval(
    made: Path, agreement: Callable[[str], None]
) -> None:
    objects = pixels = differ = 0
    for ours, own in masks(made, volumes=False):
        assert object_f1(own, ours, threshold=0.95) == 1
        objects += int(own.max())
        pixels += own.size
        differ += int((ours != own).sum())
    agreement(
        f"cellpose 3.1.1.3, {len(SIZES)} images, {objects} objects, a network brought in: masks "
        f"differ from its eval's in {differ} of {pixels} pixels"
    )
    assert objects > 50
    # Engines round maps as they like, to the seventh digit.
    assert differ <= 1e-4 * pixels


def test_masks_of_a_volume_are_those_of_its_eval(
    made: Path, cellpose_python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELLMILL_CELLPOSE3_PYTHON", str(cellpose_python))
    ((ours, own),) = masks(made, volumes=True, z="all", orientations=3)
    assert own.max() > 3
    assert object_f1(own, ours, threshold=0.95) == 1
