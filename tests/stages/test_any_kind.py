"""Stages know no list of kinds: what a card names is segmented, measured, scored and shown."""

import dataclasses
import json

import numpy as np
import pyarrow.parquet
import pytest
import tifffile

from cellmill.arrays.batch import Batch
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.contract.cli import main
from cellmill.contract.spec import StageSpec, stage_names
from cellmill.models.card import ModelCard, known_cards
from cellmill.segmentation.methods import segment
from tests.segmentation.maps import card_heads, watershed_of

MESMER = known_cards()["Mesmer"]
DROPLETS = "lipid_droplet"
#: Mesmer's heads, and droplets that are found in those of nuclei.
CARD = dataclasses.replace(
    MESMER,
    postprocessing={
        DROPLETS: watershed_of("nuclear_inner_distance", "nuclear_pixelwise", interior_channel=2),
        **MESMER.postprocessing,
    },
)
SHAPE = (80, 90)


def run(stage, **flags):
    given = [stage]
    for name, value in flags.items():
        text = json.dumps(value) if isinstance(value, dict) else str(value)
        given += [f"--{name.replace('_', '-')}", text]
    return main(given)


@pytest.fixture(scope="module")
def heads():
    """Heads in which each kind has objects of its own."""
    made = card_heads(MESMER, SHAPE)
    made["nuclear_pixelwise"][..., 2] = made["whole_cell_pixelwise"][..., 1]
    return made


@pytest.fixture
def folder(tmp_path, heads):
    """Predictions of one image, the image, and truth of droplets."""
    axes = dict.fromkeys(heads, "YXC")
    with BatchWriter(tmp_path / "predictions", attributes={"model": CARD.to_dict()}) as out:
        out.write("a", heads, axes=axes, mpp=(0.5, 0.5))
    with BatchWriter(tmp_path / "images") as out:
        image = np.arange(80 * 90 * 2, dtype=np.uint16).reshape(*SHAPE, 2)
        out.write("a", {"image": image}, axes={"image": "YXC"}, mpp=(0.5, 0.5))
    truth = segment(CARD, heads, DROPLETS)[DROPLETS]
    with BatchWriter(tmp_path / "truth") as out:
        out.write("a", {DROPLETS: truth}, axes={DROPLETS: "YX"})
    return tmp_path


def segmented(folder, compartment):
    places = {"predictions": folder / "predictions", "labels": folder / "labels"}
    assert not run("postprocess", **places, compartment=compartment)
    batch = Batch.open(folder / "labels")
    return {name: batch.read(batch.entries[0], name) for name in batch.entries[0].arrays}


NAMED = [
    ("lipid-droplet", {DROPLETS}),
    ("lipid_droplet, nuclei", {DROPLETS, "nuclear"}),
    ("both", {"whole_cell", "nuclear"}),
    ("all", {"whole_cell", "nuclear", DROPLETS}),
]


def test_no_stage_has_a_list_of_kinds():
    for name in stage_names():
        for parameter in StageSpec.load(name).parameters:
            assert "compartment" not in parameter.name or not parameter.choices, name


@pytest.mark.parametrize("typed", [typed for typed, _ in NAMED])
def test_images_are_prepared_for_what_a_user_names(folder, typed):
    CARD.save(folder / "model")
    places = {name: folder / name for name in ("images", "model", "preprocessed")}
    assert not run("preprocess", **places, compartment=typed)


@pytest.mark.parametrize(("typed", "kinds"), NAMED)
def test_what_a_user_names_is_segmented(folder, heads, typed, kinds):
    found = segmented(folder, typed)
    assert {*found} == kinds
    for name, labels in found.items():
        np.testing.assert_array_equal(labels, segment(CARD, heads, name)[name])


def test_what_a_model_has_not_is_said_with_what_it_has(folder, capsys):
    places = {"predictions": folder / "predictions", "labels": folder / "labels"}
    assert run("postprocess", **places, compartment="mitochondria") == 2
    expected = "what model 'Mesmer' has: whole-cell or nuclear or lipid-droplet"
    assert f"compartment: expected {expected}, found 'mitochondria'" in capsys.readouterr().err


def test_three_kinds_are_measured_scored_exported_and_reported(folder):
    found = segmented(folder, "all")
    at = {name: folder / name for name in ("images", "labels", "truth")}
    made = {name: folder / name for name in ("measurements", "scores", "reports")}
    images, labels, truth = at["images"], at["labels"], at["truth"]
    assert not run("measure", images=images, labels=labels, measurements=made["measurements"])
    table = pyarrow.parquet.read_table(made["measurements"] / "a.parquet")
    kinds = table["compartment"].to_pylist()
    assert [*dict.fromkeys(kinds)] == ["whole_cell", "nuclear", DROPLETS]
    assert {kind: kinds.count(kind) for kind in found} == {k: v.max() for k, v in found.items()}
    # Nuclei lie in cells; of other kinds nothing is said.
    rows = table.to_pylist()
    assert any(row["cell_label"] for row in rows if row["compartment"] == "nuclear")
    for key in ("cell_label", "nucleus_count", "nucleus_cell_area_ratio"):
        assert not any(row[key] for row in rows if row["compartment"] == DROPLETS)
    assert not run("metrics", labels=labels, truth=truth, scores=made["scores"])
    scores = json.loads((made["scores"] / "a.json").read_text())
    assert scores[DROPLETS]["n_predicted"] == scores[DROPLETS]["n_truth"] == found[DROPLETS].max()
    assert "nuclear" not in scores
    page = folder / "report.html"
    assert not run("report", images=images, labels=labels, truth=truth, **made, html=page)
    text = page.read_text()
    for words in ("cells, segmented", "nuclei, segmented", "lipid droplet, segmented"):
        assert words in text.lower()
    summary = {"summary": folder / "summary.html", "table": folder / "summary.csv"}
    assert not run("summarize", reports=made["reports"], **summary)
    assert f"{DROPLETS}_" in (folder / "summary.csv").read_text()
    assert not run("export_labels", labels=labels, label_images=folder / "exported")
    with tifffile.TiffFile(folder / "exported" / "a.tif") as file:
        assert file.series[0].shape[0] == 3
        np.testing.assert_array_equal(file.asarray()[2], found[DROPLETS])


def test_truth_of_two_planes_is_of_cells_and_nuclei_alone(folder, capsys):
    found = segmented(folder, "all")
    planes = np.stack([found["whole_cell"], found["nuclear"]], axis=-1)
    with BatchWriter(folder / "truth") as out:
        out.write("a", {"labels": planes}, axes={"labels": "YXC"})
    places = {"truth": folder / "truth", "scores": folder / "scores"}
    assert not run("metrics", labels=folder / "labels", **places)
    scores = json.loads((folder / "scores" / "a.json").read_text())
    assert DROPLETS not in scores
    for kind in ("whole_cell", "nuclear"):
        assert scores[kind]["n_truth"] == scores[kind]["matching"][0]["tp"] == found[kind].max()
    segmented(folder, "lipid-droplet")
    assert run("metrics", labels=folder / "labels", **places) == 2
    assert "expected one plane, of lipid droplet, found two: " in capsys.readouterr().err


def test_any_kind_is_tuned(folder):
    (folder / "base").mkdir()
    CARD.save(folder / "base")
    (folder / "base" / "saved_model.pb").write_bytes(b"a network that is not run")
    names = ("predictions", "truth", "base", "model", "results", "surface", "html")
    places = {name: folder / name for name in names}
    axes = {"maxima_threshold": [0.1, 0.3], "interior_threshold": [0.2]}
    axes |= {"maxima_smooth": [0], "interior_smooth": [2], "small_objects_fraction": [0]}
    flags = {"compartment": "lipid-droplet", "axes": axes, "refinements": 0}
    assert not run("tune_postprocessing", **places, **flags)
    document = json.loads((folder / "results").read_text())
    assert document["compartment"] == DROPLETS
    assert document["best"]["value"] == 1
    tuned = ModelCard.load(folder / "model")
    assert [*tuned.postprocessing] == [*CARD.postprocessing]


def test_one_kind_is_tuned_at_a_time(folder, capsys):
    (folder / "base").mkdir()
    CARD.save(folder / "base")
    names = ("predictions", "truth", "base", "model", "results", "surface", "html")
    places = {name: folder / name for name in names}
    assert run("tune_postprocessing", **places, compartment="both") == 2
    assert "compartment: expected one kind of object, found 'both'" in capsys.readouterr().err
