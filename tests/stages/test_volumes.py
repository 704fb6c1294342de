"""Volumes through the stages: from a file to labels, measurements, scores and a report."""

import json
from dataclasses import asdict

import numpy as np
import pyarrow.parquet
import pytest
import tifffile
from PIL import Image

from cellmill.arrays.batch import Batch
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.arrays.ome import read_image as read_group
from cellmill.arrays.zarr import open_zarr
from cellmill.contract import HTML, Dataset, Metrics, Model, Record, Reports
from cellmill.contract.cli import main
from cellmill.datasets import samples
from cellmill.datasets.phantoms import spheres
from cellmill.errors import BadInput
from cellmill.io.images import read_image
from cellmill.models.card import (
    Head,
    InputChannel,
    ModelCard,
    ModelInput,
    Tiling,
    known_cards,
)
from cellmill.segmentation.methods import recipes_of
from cellmill.stages.export_labels import export_labels
from cellmill.stages.fetch_model import fetch_model
from cellmill.stages.measure import measure
from cellmill.stages.metrics import metrics
from cellmill.stages.postprocess import postprocess
from cellmill.stages.predict import predict
from cellmill.stages.preprocess import preprocess
from cellmill.stages.report import report
from cellmill.stages.tiff_to_npz import tiff_to_npz
from tests.io.test_volumes import LAST, MPP, WRITERS, write_ome
from tests.segmentation.examples import EXAMPLES

RNG = np.random.default_rng(5)


def convert(folder, items, **parameters):
    images, truth = Dataset(folder / "images"), Dataset(folder / "truth")
    tiff_to_npz(images, truth, Record(folder / "record.json"), items, **parameters)
    return Batch.open(images.path), Batch.open(truth.path)


@pytest.mark.parametrize("container", ["npz", "zarr"])
@pytest.mark.parametrize("writer", WRITERS)
def test_a_volume_becomes_an_entry_with_z(writer, container, tmp_path):
    path = WRITERS[writer](tmp_path)
    images, truth = convert(
        tmp_path, [str(path)], z="all", channels="1", measure_channels="0", container=container
    )
    (entry,) = images.entries
    assert entry.arrays["image"].axes == "ZYXC"
    assert entry.mpp == pytest.approx(MPP)
    assert np.array_equal(images.read(entry, "image"), LAST[..., ::-1])
    assert not truth.entries[0].arrays


def test_a_distance_of_planes_is_given_where_the_file_has_none(tmp_path):
    path = write_ome(tmp_path / "a.ome.tif", PhysicalSizeZ=0)
    images, _ = convert(tmp_path, [str(path)], z="all", channels="0")
    (entry,) = images.entries
    assert (entry.mpp, entry.mpp_source) == (None, "unknown")
    assert any("z_step" in remark for remark in entry.attributes["remarks"])
    images, _ = convert(tmp_path, [str(path)], z="all", channels="0", z_step=4.0)
    assert images.entries[0].mpp == pytest.approx((4.0, *MPP[1:]))


def boxes(shape=(5, 36, 40)):
    labels = np.zeros(shape, np.uint16)
    labels[1:3, 4:10, 4:10] = 1
    labels[2:5, 20:30, 18:33] = 7
    return labels


@pytest.mark.parametrize("suffix", ["tif", "npy"])
@pytest.mark.parametrize(
    ("kind", "made", "objects"),
    [
        ("", boxes(), {1: 72, 7: 450}),
        ("", (boxes() > 0).astype(np.uint8) * 255, {1: 72, 2: 450}),
        ("mask", boxes(), {1: 72, 2: 450}),
        ("labels", boxes(), {1: 72, 7: 450}),
    ],
)
def test_true_labels_of_a_volume(suffix, kind, made, objects, tmp_path):
    image = write_ome(tmp_path / "a.ome.tif")
    path = tmp_path / f"truth.{suffix}"
    if suffix == "npy":
        np.save(path, made)
    else:
        tifffile.imwrite(path, made, photometric="minisblack")
    item = {"image": str(image), "truth": str(path)}
    _, truth = convert(tmp_path, [item], z="all", channels="0", truth_kind=kind)
    (entry,) = truth.entries
    assert entry.arrays["labels"].axes == "ZYX"
    labels = truth.read(entry, "labels")
    found = dict(zip(*np.unique(labels, return_counts=True), strict=True))
    assert {k: v for k, v in found.items() if k} == objects


def test_truth_of_another_depth_is_refused(tmp_path):
    image = write_ome(tmp_path / "a.ome.tif")
    tifffile.imwrite(tmp_path / "t.tif", boxes()[:4], photometric="minisblack")
    item = {"image": str(image), "truth": str(tmp_path / "t.tif")}
    with pytest.raises(BadInput, match=r"expected shape \(5, 36, 40\).*found shape \(4, 36, 40\)"):
        convert(tmp_path, [item], z="all", channels="0")


def chain(folder, items, model="voronoi_otsu", predicting=None, segmenting=None, **converting):
    """Labels, measurements, scores and files of a batch, by the stages of `make run`."""
    names = ("model", "ready", "heads", "labels", "table", "scores", "files")
    at = {name: Dataset(folder / name) for name in names}
    record = Record(folder / "record.json")
    convert(folder, items, **converting)
    images, truth = Dataset(folder / "images"), Dataset(folder / "truth")
    fetch_model(Model(at["model"].path), record, source=model)
    preprocess(images, Model(at["model"].path), at["ready"], record)
    predict(at["ready"], Model(at["model"].path), at["heads"], record, **(predicting or {}))
    postprocess(at["heads"], at["labels"], record, **(segmenting or {}))
    measure(images, at["labels"], at["table"], record)
    metrics(at["labels"], truth, Metrics(folder / "metrics.json"), at["scores"], record)
    export_labels(at["labels"], at["files"], record, ome_zarr=True)
    return {name: Batch.open(each.path) for name, each in at.items() if name != "model"}


PHANTOM = (2.0, 0.62, 0.62)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    """Spheres of the size of nuclei, with noise, and what is true of them, as files."""
    folder = tmp_path_factory.mktemp("phantom")
    light, labels = spheres(
        (22, 110, 120), PHANTOM, count=8, radius_um=(6.0, 9.0), gap_um=1.5, seed=3
    )
    pixels = RNG.poisson(20 + 400 * light).astype(np.uint16)
    sizes = {f"PhysicalSize{axis}": size for axis, size in zip("ZYX", PHANTOM, strict=True)}
    about = {"axes": "ZYX", **sizes}
    tifffile.imwrite(folder / "a.ome.tif", pixels, ome=True, metadata=about)
    tifffile.imwrite(folder / "a_truth.tif", labels, photometric="minisblack")
    return {"image": str(folder / "a.ome.tif"), "truth": str(folder / "a_truth.tif"), "name": "a"}


@pytest.fixture(scope="module")
def segmented(phantom, tmp_path_factory):
    return chain(tmp_path_factory.mktemp("chain"), [phantom], z="all")


def test_spheres_are_found_measured_and_scored(phantom, segmented):
    truth = tifffile.imread(phantom["truth"])
    (entry,) = segmented["labels"].entries
    assert entry.arrays["nuclear"].axes == "ZYX"
    assert entry.mpp == pytest.approx(PHANTOM)
    table = pyarrow.parquet.read_table(
        segmented["table"].file(segmented["table"].entries[0], "parquet")
    )
    (scored,) = segmented["scores"].entries
    scores = json.loads(segmented["scores"].file(scored, "json").read_text())["nuclear"]
    assert scores["n_truth"] == truth.max() == len(table)
    assert scores["matching"][0]["f1"] == 1
    true = np.sort(np.bincount(truth.ravel())[1:]) * np.prod(PHANTOM)
    assert np.allclose(np.sort(table["volume_um3"].to_numpy()), true, rtol=0.35)


def test_labels_are_a_volume_in_every_file(segmented):
    labels = segmented["labels"].read(segmented["labels"].entries[0], "nuclear")
    (entry,) = segmented["files"].entries
    path = segmented["files"].file(entry, "tif")
    assert np.array_equal(tifffile.imread(path), labels)
    back = read_image(path, z="all")
    assert np.array_equal(back.pixels[..., 0], labels)
    assert back.mpp == pytest.approx(PHANTOM)
    group = read_group(f"{segmented['files'].file(entry, 'ome.zarr')}/labels/nuclear")
    assert (group.axes, group.levels[0].z_step) == ("zyx", 2.0)
    assert np.array_equal(open_zarr(group.levels[0].uri, "ZYX")[...], labels)


@pytest.mark.parametrize(("container", "memory_mib"), [("npz", 1), ("zarr", 1), ("zarr", 1024)])
def test_a_store_and_little_memory_give_the_same_labels(
    phantom, segmented, container, memory_mib, tmp_path
):
    found = chain(
        tmp_path, [phantom], z="all", container=container, segmenting={"memory_mib": memory_mib}
    )["labels"]
    (entry,), (whole,) = found.entries, segmented["labels"].entries
    assert np.array_equal(found.read(entry, "nuclear"), segmented["labels"].read(whole, "nuclear"))
    assert entry.mpp == whole.mpp
    said = ("objects", "vanished", "median_diameter_px")
    assert [entry.attributes[key] for key in said] == [whole.attributes[key] for key in said]
    assert ("tiles" in entry.attributes) == (memory_mib == 1)


@pytest.mark.parametrize("numbering", ["canonical", "reference"])
def test_a_network_s_heads_and_little_memory_give_the_same_labels(numbering, tmp_path):
    card = known_cards()["Mesmer"]
    recipe = recipes_of(card, ("nuclear",), parameters={"small_objects_fraction": 0.2})["nuclear"]
    card = card.with_postprocessing({"nuclear": recipe.plain()})
    shape = (20, 75, 70)
    heads = {head.name: np.zeros((*shape, head.channels), np.float32) for head in card.heads}
    for role, values in EXAMPLES["deep_watershed"].maps(2, shape).items():
        source = recipe.sources[role]
        heads[source.head][..., source.channel] = values
    assert_little_memory_gives_the_same(tmp_path, card, heads, (20, 101, 93), numbering)


@pytest.mark.parametrize("numbering", ["canonical", "reference"])
def test_polyhedra_and_little_memory_give_the_same_labels(numbering, tmp_path):
    parameters = EXAMPLES["stardist"].parameters[0]
    heads = EXAMPLES["stardist"].maps(2, (20, 75, 70))
    heads = {name: maps.reshape(*maps.shape[:3], -1) for name, maps in heads.items()}
    roles = {f"{name}_head": name for name in heads}
    card = ModelCard(
        name="polyhedra",
        version="1",
        input=ModelInput((InputChannel("nuclear"),), tile=(16, 64, 64)),
        heads=tuple(
            Head(name, "nuclear", kind, heads[name].shape[-1], placement="cropped")
            for name, kind in (("probability", "pixelwise"), ("distances", "ray_distances"))
        ),
        postprocessing={"nuclear": {"method": "stardist", **asdict(parameters), **roles}},
        default_compartment="nuclear",
        tiling=Tiling("reflect", 0.25),
    )
    assert_little_memory_gives_the_same(tmp_path, card, heads, (20, 101, 93), numbering)


def assert_little_memory_gives_the_same(folder, card, heads, shape, numbering):
    """Postprocess heads of a volume of a shape within two budgets; one has it done by blocks."""
    with BatchWriter(folder / "heads", attributes={"model": card.to_dict()}) as out:
        attributes = {"source_shape": list(shape)}
        out.write("a", heads, axes=dict.fromkeys(heads, "ZYXC"), attributes=attributes)
    found = []
    for memory_mib in (4096, 1):
        labels = Dataset(folder / f"labels-{memory_mib}")
        given = {"compartment": "nuclear", "memory_mib": memory_mib, "numbering": numbering}
        postprocess(Dataset(folder / "heads"), labels, Record(folder / "record.json"), **given)
        batch = Batch.open(labels.path)
        (entry,) = batch.entries
        assert ("tiles" in entry.attributes) == (memory_mib == 1)
        found.append((batch.read(entry, "nuclear"), entry.attributes["objects"]))
    assert found[0][0].max() > 50
    np.testing.assert_array_equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


@pytest.mark.parametrize("model", ["voronoi_otsu", "cellmill-nuclei"])
def test_a_volume_of_one_plane_has_the_labels_of_its_image(model, tmp_path):
    pixels = tifffile.imread(samples.sample_image()[0])[:250, :230]
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    (tmp_path / "volume").mkdir()
    (tmp_path / "plane").mkdir()
    item = str(tmp_path / "a.tif")
    volume = chain(tmp_path / "volume", [item], model, z="all", mpp=0.6, z_step=2.0)["labels"]
    plane = chain(tmp_path / "plane", [item], model, mpp=0.6)["labels"]
    found, expected = (batch.read(batch.entries[0], "nuclear") for batch in (volume, plane))
    assert expected.max() > 10
    assert np.array_equal(found[0], expected)


def test_planes_that_a_network_sees_one_by_one_are_stitched(phantom, tmp_path):
    found = chain(tmp_path, [phantom], "cellmill-nuclei", z="all")
    (entry,) = found["labels"].entries
    assert entry.attributes["plane_by_plane"] is True
    labels = found["labels"].read(entry, "nuclear")
    (scored,) = found["scores"].entries
    scores = json.loads(found["scores"].file(scored, "json").read_text())["nuclear"]
    assert scores["matching"][0]["tp"] >= 0.7 * scores["n_truth"]
    apart = chain(
        tmp_path, [phantom], "cellmill-nuclei", z="all", segmenting={"stitch_threshold": 1.0}
    )
    assert apart["labels"].read(entry, "nuclear").max() > labels.max()


def test_a_diameter_is_that_within_a_plane(phantom, tmp_path):
    item = {**phantom, "truth": ""}
    names = ("images", "model", "ready")
    at = {name: Dataset(tmp_path / name) for name in names}
    convert(tmp_path, [item], z="all")
    record = Record(tmp_path / "record.json")
    fetch_model(Model(at["model"].path), record, source="voronoi_otsu")
    preprocess(at["images"], Model(at["model"].path), at["ready"], record, diameter="54.4")
    (entry,) = Batch.open(at["ready"].path).entries
    assert entry.arrays["image"].shape == (22, 55, 60, 1)
    assert entry.mpp == pytest.approx((2.0, 1.24, 1.24))


@pytest.fixture(scope="module")
def page(phantom, tmp_path_factory):
    """The report of a volume, with the subject's entry in the batch of reports."""
    folder = tmp_path_factory.mktemp("page")
    chain(folder, [phantom], z="all")
    at = {name: Dataset(folder / name) for name in ("images", "labels", "table", "scores", "truth")}
    made = Reports(folder / "reports")
    report(
        at["images"],
        at["labels"],
        at["table"],
        made,
        HTML(folder / "page.html"),
        Record(folder / "report.json"),
        scores=at["scores"],
        truth=at["truth"],
    )
    return Batch.open(made.path), (folder / "page.html").read_text()


def test_a_report_shows_the_volume_along_z_in_cuts_and_plane_by_plane(phantom, page):
    batch, text = page
    (entry,) = batch.entries
    overlay = np.asarray(Image.open(batch.file(entry, "png")))
    assert overlay.shape == (110, 120, 3)
    assert "voxel size 0.62 × 0.62 × 2 µm" in text
    assert "Median nucleus volume" in text
    assert text.count('data-place="') == 22
    assert "Through the centre: plane 11, row 55, column 60" in text
    assert "8 numbers, an object each (TIFF, minisblack, 22 planes)" in text
    assert "Voxel Dice" in text
    assert "z-score of log volume" in text
    assert "Measurements are of the original voxels" in text
    assert len(text) < 3_000_000
    kept = entry.attributes["summary"]["compartments"]["nuclear"]
    assert (kept["count"], kept["median_area_px"]) == (8, None)
    assert 'src="http' not in text


def test_polygons_of_a_volume_are_refused_in_one_line(phantom, tmp_path, capsys):
    chain(tmp_path, [phantom], z="all")
    given = ["--labels", f"{tmp_path}/labels", "--measurements", f"{tmp_path}/table"]
    assert main(["export_geojson", *given, "--annotations", f"{tmp_path}/polygons"]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "expected an array (Y, X), found the shape (22, 110, 120)" in line
    assert not (tmp_path / "polygons" / "manifest.json").exists()
