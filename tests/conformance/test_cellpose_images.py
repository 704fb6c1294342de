"""From image to masks: a network of Cellpose that was brought in, against cellpose's own `eval`.

The network is a narrow one that cellpose teaches on fields of real nuclei in an environment of its
own, from `images/cellpose3`; the images are others, of sizes below, at and above a tile's.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import cellmill
from cellmill.arrays.batch import Batch
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.commands import COMMANDS
from cellmill.contract import cli
from cellmill.datasets.samples import mnfinder, sample_image
from cellmill.errors import BadInput, CellmillError
from cellmill.labels.numbering import canonical_labels
from cellmill.models.card import ModelCard
from cellmill.models.fetch import copy_model, fetch_model
from cellmill.models.size_model import FILE_NAME, SizeModel
from cellmill.stages.shared import scaling
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
    larger = [np.kron(field, np.ones((2, 2), field.dtype)) for field in sized[:2]]
    empty = np.full((70, 81), 3, np.uint16)
    empty[0, 0] = 9
    np.savez(folder / "zoomed.npz", *larger, empty)
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
        # How a network is taught, and so where an object is on the edge of being none, depends on
        # the machine; after one such the reference's rule takes others for small ones.
        assert object_f1(own, ours, threshold=0.95) >= 0.9
        objects += int(own.max())
        pixels += own.size
        differ += int(((ours > 0) != (own > 0)).sum())
    agreement(
        f"cellpose 3.1.1.3, {len(SIZES)} images, {objects} objects, a network brought in: masks "
        f"differ from its eval's in {differ} of {pixels} pixels"
    )
    assert objects > 50
    # Engines round maps as they like, to the seventh digit.
    assert differ <= 1e-2 * pixels


def test_masks_of_a_volume_are_those_of_its_eval(
    made: Path, cellpose_python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELLMILL_CELLPOSE3_PYTHON", str(cellpose_python))
    ((ours, own),) = masks(made, volumes=True, z="all", orientations=3)
    assert own.max() > 3
    assert object_f1(own, ours, threshold=0.95) >= 0.9


@pytest.fixture(scope="module")
def said(made: Path) -> list[tuple[np.ndarray, float, float]]:
    """Images, and of each the diameter that cellpose's size model says, and that by style alone."""
    found = []
    with np.load(made / "diameters.npz") as diameters:
        for file in ("images.npz", "zoomed.npz"):
            with np.load(made / file) as images:
                names = [name for name in images if f"{file} {name}" in diameters]
                found += [(images[name], *diameters[f"{file} {name}"]) for name in names]
    return found


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_diameters_are_those_of_its_size_model(
    made: Path,
    said: list[tuple[np.ndarray, float, float]],
    engine: str,
    agreement: Callable[[str], None],
) -> None:
    segmenter = cellmill.Segmenter(str(made / "model"), engine=engine)
    objects = 0
    away, by_style_away = [], []
    for image, diameter, by_style in said:
        chosen = segmenter(image, diameter="auto").facts.scaling
        assert chosen["by"] == "auto"
        found = chosen["estimate"]
        away.append(abs(found["diameter"] / diameter - 1))
        # An image without any contrast is stretched otherwise.
        by_style_away.append(abs(found["by_style"] / by_style - 1) if found["objects"] else 0)
        objects += found["objects"]
    agreement(
        f"cellpose 3.1.1.3, {len(said)} images, {objects} objects, {engine}: diameters differ from "
        f"its size model's by {max(away):.1g} at most, those by style alone by "
        f"{max(by_style_away):.1g}"
    )
    assert objects > 50
    assert len({round(by_style, 3) for _, _, by_style in said}) > 5
    assert max(by_style_away) <= 1e-4
    # Engines round maps as they like: now and then a speck is an object by one and none by another,
    # after which the reference's rule takes others for small ones.
    assert sorted(away)[2 * len(away) // 3] <= 1e-3
    assert max(away) <= 0.2


def test_the_size_model_comes_in_with_the_network_and_goes_where_that_goes(
    made: Path, tmp_path: Path
) -> None:
    card = ModelCard.load(made / "model")
    assert card.size_model
    assert card.imported is not None
    assert card.imported.largest_difference <= 1e-5
    # The style is no head: prediction has nothing more to write.
    assert [head.name for head in card.heads] == ["flows", "probability"]
    own = SizeModel.load(made / "model")
    assert (own.diameter, len(own.weights)) == (DIAMETER, 64)
    assert own.shown_diameter != DIAMETER
    copy_model(fetch_model(str(made / "model")), tmp_path)
    assert SizeModel.load(tmp_path) == own


def test_a_volume_s_diameter_is_that_of_the_plane_in_its_middle(
    made: Path, said: list[tuple[np.ndarray, float, float]]
) -> None:
    image = said[0][0]
    segmenter = cellmill.Segmenter(str(made / "model"), engine="onnxruntime")
    stack = np.stack([image // 2, image, image // 3])
    found = segmenter(stack, diameter="auto", z="all", mpp=(1, 1, 1)).facts.scaling
    assert found["estimate"] == segmenter(image, diameter="auto").facts.scaling["estimate"]


def test_cellpose_s_command_estimates_with_diameter_0(
    made: Path,
    said: list[tuple[np.ndarray, float, float]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    image = said[1][0]
    own = cellmill.segment(image, model=str(made / "model"), diameter="auto").facts.scaling
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="minisblack")
    flags = ["--image_path", tmp_path / "a.tif", "--pretrained_model", made / "model"]
    told = ["cellpose", *map(str, flags), "--diameter", "0", "--verbose"]
    assert cli.main(told, COMMANDS) == 0
    log = capsys.readouterr().err
    assert "by the model's size model" in log
    (shown,) = re.findall(r">>>> diameter ([\d.]+) estimated", log)
    assert shown == f"{own['diameter']:.2f}"


def test_without_a_size_model_the_diameter_is_estimated_from_pixels(
    made: Path, said: list[tuple[np.ndarray, float, float]], tmp_path: Path
) -> None:
    shutil.copytree(made / "model", tmp_path / "model")
    (tmp_path / "model" / FILE_NAME).unlink()
    with pytest.raises(BadInput, match=r"^size model of 'network': expected size_model.json"):
        cellmill.Segmenter(str(tmp_path / "model"))
    card = ModelCard.load(tmp_path / "model")
    replace(card, size_model=False).save(tmp_path / "model")
    segmenter = cellmill.Segmenter(str(tmp_path / "model"))
    found = segmenter(said[0][0], diameter="auto").facts.scaling
    assert {"voting", "agreeing"} <= {*found["estimate"]}


def test_a_size_model_of_another_network_is_refused_and_nothing_written(
    made: Path, cellpose_python: Path, tmp_path: Path
) -> None:
    source = shutil.copy(made / "network", tmp_path / "network")
    shutil.copy(made / "wide_size.npy", tmp_path / "network_size.npy")
    out = ("--model", tmp_path / "model", "--record", tmp_path / "record.json")
    says = r"network_size.npy': expected A of shape \(64,\), for the style of its network"
    with pytest.raises(CellmillError, match=says):
        run(cellpose_python, "-m", "cellmill", "import_model", "--source", source, *out)
    assert not (tmp_path / "model").exists()


def test_preprocess_asks_it_where_an_engine_is_there(
    made: Path,
    said: list[tuple[np.ndarray, float, float]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = said[0][0]
    own = cellmill.segment(image, model=str(made / "model"), diameter="auto").facts.scaling
    with BatchWriter(tmp_path / "images") as batch:
        batch.write("a", {"image": image[..., np.newaxis]}, axes={"image": "YXC"})

    def estimate(out: str) -> dict[str, Any]:
        told = {"images": tmp_path / "images", "model": made / "model"}
        told |= {"preprocessed": tmp_path / out, "record": tmp_path / f"{out}.json"}
        flags = [part for name, place in told.items() for part in (f"--{name}", str(place))]
        assert cli.main(["preprocess", *flags, "--diameter", "auto"]) == 0
        (entry,) = Batch.open(tmp_path / out).entries
        found: dict[str, Any] = entry.attributes["scaling"]["estimate"]
        return found

    assert estimate("asked") == own["estimate"]
    monkeypatch.setattr(scaling, "ENGINES", {})
    assert "voting" in estimate("not-asked")
    assert "the size model of 'network' is not asked: no engine is inst" in capsys.readouterr().err
