"""The stage finds what is best, says so in every form, and what it says can be had again."""

import csv
import dataclasses
import json
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest

from cellmill.arrays.batch_writer import BatchWriter
from cellmill.contract import HTML, Dataset, Metrics, Model, Record
from cellmill.contract.cli import main
from cellmill.errors import BadInput
from cellmill.models.card import ModelCard, known_cards
from cellmill.segmentation.methods import recipes_of
from cellmill.stages.tune_postprocessing import tune_postprocessing
from tests.segmentation.maps import balls, like_a_network

CARD = known_cards()["NuclearSegmentation"]
#: A grid of few points: tests are to end soon.
FEW = {
    "maxima_threshold": [0.03, 0.1, 0.3],
    "maxima_smooth": [0],
    "interior_threshold": "0.05,0.3",
    "interior_smooth": [1],
    "radius": [2],
    "small_objects_fraction": [0, 0.3],
}
OWN = recipes_of(CARD, ("nuclear",))["nuclear"]
AXES = [*FEW, "pixel_expansion"]


def write(folder, names, card=CARD, parts=1, shape=(70, 80), truth=True):
    """Batches as predict and tiff_to_npz leave them, and the model's folder."""
    folder.mkdir(exist_ok=True)
    sources = recipes_of(card, ("nuclear",))["nuclear"].sources
    for part in range(parts):
        attributes = {"model": card.to_dict()}
        with (
            BatchWriter(folder / f"predictions{part}", attributes=attributes) as predictions,
            BatchWriter(folder / f"truth{part}") as true,
        ):
            for i, name in list(enumerate(names))[part::parts]:
                labels = balls(i, shape, 18, 8)
                maxima, interior = like_a_network(i, labels)
                heads = {h.name: np.zeros((*shape, h.channels), np.float32) for h in card.heads}
                heads[sources["maxima"].head][..., sources["maxima"].channel] = maxima
                heads[sources["interior"].head][..., sources["interior"].channel] = interior
                predictions.write(name, heads, axes=dict.fromkeys(heads, "YXC"))
                if truth:
                    true.write(name, {"labels": labels}, axes={"labels": "YX"})
                else:
                    true.annotate(name, truth=False)
    (folder / "base").mkdir(exist_ok=True)
    card.save(folder / "base")
    (folder / "base" / "saved_model.pb").write_bytes(b"a network that is not run")


def tune(folder, parts=1, out="out", axes=FEW, **parameters):
    at = {name: folder / out / name for name in ("model", "results", "surface", "html", "record")}
    (folder / out).mkdir(exist_ok=True)
    record = Record(at["record"])
    tune_postprocessing(
        [Dataset(folder / f"predictions{part}") for part in range(parts)],
        [Dataset(folder / f"truth{part}") for part in range(parts)],
        Model(folder / "base"),
        Model(at["model"]),
        Metrics(at["results"]),
        Dataset(at["surface"]),
        HTML(at["html"]),
        record,
        axes=axes,
        **parameters,
    )
    document = json.loads(at["results"].read_text())
    rows = list(csv.DictReader(at["surface"].read_text().splitlines()))
    return document, rows, at


def test_the_best_of_the_surface_is_on_the_card_and_comes_again(tmp_path):
    write(tmp_path, ["a", "b c", "d"])
    document, rows, at = tune(tmp_path)
    values = [float(row["objective"]) for row in rows]
    assert document["best"]["value"] == max(values)
    assert document["default"]["value"] == values[0]
    assert (
        document["points"] == len(rows) == len({tuple(row.values())[: len(AXES)] for row in rows})
    )
    assert document["parameters"] == document["best"]["parameters"]
    tuned = ModelCard.load(at["model"])
    best = OWN.with_parameters(**document["parameters"])
    assert recipes_of(tuned, ("nuclear",)) == {"nuclear": best}
    assert dataclasses.asdict(best.parameters) == document["whole_parameters"]
    assert tuned.version == f"{CARD.version}+tuned"
    assert tuned.accuracy["tuning"]["best"] == document["best"]["value"]
    # The flags that it gives make the labels that have these scores.
    calls = [
        f"postprocess --predictions '{tmp_path}/predictions0' --labels '{tmp_path}/labels'"
        f" {document['best']['flags']}",
        f"metrics --labels '{tmp_path}/labels' --truth '{tmp_path}/truth0'"
        f" --metrics '{tmp_path}/m.json' --scores '{tmp_path}/scores'",
    ]
    for call in calls:
        assert main(shlex.split(call)) == 0
    pooled = json.loads((tmp_path / "m.json").read_text())["nuclear"]["pooled"]
    scores = document["best"]["scores"]
    assert scores["mean_ap"] == pytest.approx(pooled["mean_average_precision"], abs=1e-5)
    assert scores["panoptic_quality"] == pytest.approx(pooled["panoptic_quality"], abs=1e-5)
    assert document["best"]["predicted"] == pooled["n_predicted"]


def test_images_in_one_batch_or_in_several_are_the_same(tmp_path):
    names = ["x_1", "x_2", "y_1", "y_2"]
    write(tmp_path / "one", names)
    write(tmp_path / "two", names, parts=2)
    one, rows, _ = tune(tmp_path / "one", image_groups="x_*,y_*")
    two, others, _ = tune(tmp_path / "two", parts=2, image_groups="x_*,y_*")
    assert one == two
    assert rows == others
    assert one["groups"].keys() == one["held_out"].keys() == {"x_*", "y_*"}
    mean = np.mean([group["best"] for group in one["groups"].values()])
    assert one["best"]["value"] == pytest.approx(mean, abs=1e-5)


def test_of_equal_points_the_card_s_own_is_taken(tmp_path):
    write(tmp_path, ["a"])
    same = {name: [getattr(OWN.parameters, name)] for name in AXES} | {"maxima_smooth": [0]}
    # Holes and specks apart, a fraction near 0 drops nothing: every point is as good.
    document, _, at = tune(
        tmp_path, axes={**same, "small_objects_fraction": [0.001, 0.0001, 0]}, refinements=0
    )
    assert document["parameters"]["small_objects_fraction"] == 0
    assert ModelCard.load(at["model"]).version == CARD.version
    document, _, _ = tune(
        tmp_path, axes={**same, "small_objects_fraction": [0.001, 0.0001]}, refinements=0
    )
    assert document["parameters"]["small_objects_fraction"] == 0.001


def test_refining_never_makes_it_worse(tmp_path):
    write(tmp_path, ["a", "b"])
    coarse, _, _ = tune(tmp_path, refinements=0)
    fine, rows, _ = tune(tmp_path, out="fine", refinements=3)
    assert fine["best"]["value"] >= coarse["best"]["value"]
    assert fine["points"] > coarse["points"]
    assert {row["refined"] for row in rows} == {"0", "1"}
    assert fine["tried"]["radius"] == sorted({2, OWN.parameters.radius})


def test_images_without_truth_are_left_out_and_told(tmp_path, capsys):
    write(tmp_path, ["a", "b"])
    with BatchWriter(tmp_path / "truth0") as true:
        true.annotate("a", truth=False)
        true.write("b", {"labels": balls(1, (70, 80), 18, 8)}, axes={"labels": "YX"})
    document, _, _ = tune(tmp_path)
    assert document["images"] == 1
    assert "left out, without truth: a\n" in capsys.readouterr().err
    write(tmp_path, ["a", "b"], truth=False)
    with pytest.raises(BadInput, match="truth: expected true labels of at least one image"):
        tune(tmp_path)


def test_the_page_marks_default_and_best_and_asks_nothing_of_the_network(tmp_path):
    write(tmp_path, ["a_1", "b_1"])
    _, _, at = tune(tmp_path, image_groups="a*,b*")
    page = at["html"].read_text()
    assert page.count('class="at best"') >= 1
    assert page.count('class="at default"') == 0, "the card's radius is not on this grid"
    assert page.count("<svg") >= 4
    assert not re.search(r"(src|href)=", page)
    assert "http:" not in page
    assert "https:" not in page
    _, _, at = tune(tmp_path, axes={"interior_smooth": [1]}, refinements=0)
    assert 'class="at default"' in at["html"].read_text()


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"axes": {"radius": "none"}}, "radius: expected whole numbers"),
        ({"axes": {"maxima_threshold": [0]}}, "maxima_threshold: expected more than 0"),
        ({"axes": {"raduis": [2]}}, "axes: expected parameters among .*radius"),
        ({"method": "magic"}, "method: expected one of deep_watershed"),
        ({"refinements": -1}, "refinements: expected 0 to 10"),
        ({"image_groups": "x*"}, "image_groups: expected a pattern that 'a' fits"),
        ({"compartment": "whole-cell"}, "compartment: expected what model"),
        ({"memory_mib": 3}, "memory_mib: expected 64 MiB or more"),
    ],
)
def test_bad_parameters_are_one_line(tmp_path, parameters, says):
    write(tmp_path, ["a"])
    with pytest.raises(BadInput, match=says):
        tune(tmp_path, **parameters)


def test_predictions_of_another_model_and_names_twice_are_refused(tmp_path):
    write(tmp_path, ["a", "b"], parts=2)
    write(tmp_path, ["a"])
    known_cards()["Mesmer"].save(tmp_path / "base")
    with pytest.raises(BadInput, match="expected the heads of model 'Mesmer'"):
        tune(tmp_path, compartment="nuclear")
    write(tmp_path, ["a", "b"], parts=2)
    write(tmp_path / "other", ["a"])
    (tmp_path / "predictions1").rename(tmp_path / "unused")
    (tmp_path / "other" / "predictions0").rename(tmp_path / "predictions1")
    with pytest.raises(BadInput, match="names that no other batch has, found 'a' again"):
        tune(tmp_path, parts=2)


def test_an_image_that_memory_does_not_bear_is_refused(tmp_path):
    write(tmp_path, ["a"], shape=(700, 1400))
    with pytest.raises(BadInput, match=r"image 'a': expected at most 0\.7 Mpx within memory"):
        tune(tmp_path, memory_mib=64)


def test_a_bad_image_fails_or_is_left_out(tmp_path):
    write(tmp_path, ["a", "b"])
    with BatchWriter(tmp_path / "truth0") as true:
        true.write("a", {"labels": np.ones((3, 4), np.int32)}, axes={"labels": "YX"})
        true.write("b", {"labels": balls(1, (70, 80), 18, 8)}, axes={"labels": "YX"})
    with pytest.raises(BadInput, match=r"truth of image 'a': expected \(70, 80\), found \(3, 4\)"):
        tune(tmp_path)
    document, _, _ = tune(tmp_path, on_bad_image="skip")
    assert document["images"] == 1


def test_it_runs_by_hand(tmp_path):
    write(tmp_path, ["it's a", "b"], parts=2)
    command = [sys.executable, "-m", "cellmill", "tune_postprocessing"]
    command += ["--predictions", *(str(tmp_path / f"predictions{i}") for i in range(2))]
    command += ["--truth", *(str(tmp_path / f"truth{i}") for i in range(2))]
    command += ["--base", str(tmp_path / "base"), "--model", str(tmp_path / "model")]
    command += ["--surface", str(tmp_path / "s.csv"), "--html", str(tmp_path / "p.html")]
    command += ["--axes", json.dumps(FEW)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 'best: --parameters \'{"maxima_threshold": ' in done.stderr
    assert ModelCard.load(tmp_path / "model").name == CARD.name
